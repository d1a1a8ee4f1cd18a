import pytest

from resnet_sweep.data.agreement import ChangedDataError
from resnet_sweep.faults import ConfigError, DataError, Fault
from resnet_sweep.run_end import kind_of
from resnet_sweep.sweep.trial import CurrentTrial, running

IMAGES = Fault("data.root", "images", "is empty")
BATCH = Fault("trainer.batch_size", 64, "is too large")


@pytest.mark.parametrize(
    ("error", "swept", "kind"),
    [
        # Every other trial of the study would fail with it, too.
        (DataError([IMAGES]), {"optimizer.lr"}, "data"),
        # Another trial may have other images, or a smaller batch.
        (DataError([IMAGES]), {"optimizer.lr", "data.root"}, "config"),
        (DataError([IMAGES]), {"data"}, "config"),
        (DataError([IMAGES, BATCH]), {"optimizer.lr"}, "config"),
        (ChangedDataError([IMAGES]), {"data.root"}, "data_changed"),
        (ConfigError([BATCH]), set(), "config"),
        (ZeroDivisionError(), set(), "exception"),
    ],
)
def test_data_that_a_trial_has_chosen_are_its_own_fault(
    error: Exception, swept: set[str], kind: str
) -> None:
    trial = CurrentTrial()
    trial.swept = frozenset(swept)
    with running(trial):
        assert kind_of(error) == kind
