import pytest

from resnet_sweep.sweep.config import published_faults


def test_published_values_may_leave_out_what_was_not_published():
    assert published_faults(None) == []
    assert published_faults([{"when": {"lr": 0.1}}, {"when": {}, "objective": 0.5}]) == []


@pytest.mark.parametrize(
    ("published", "keys"),
    [
        ({"when": {}}, ["hydra.sweeper.published"]),
        ([3], ["hydra.sweeper.published[0]"]),
        ([{"objective": 1.0}], ["hydra.sweeper.published[0]"]),
        ([{"when": {}, "value": 1}], ["hydra.sweeper.published[0].value"]),
        (
            [{"when": {}, "objective": "high", "learned": 1}],
            ["hydra.sweeper.published[0].objective", "hydra.sweeper.published[0].learned"],
        ),
    ],
)
def test_what_is_wrong_with_them_is_told_at_once(published, keys):
    assert [fault.key for fault in published_faults(published)] == keys
