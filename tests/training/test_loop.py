import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from resnet_sweep.data import ImageData, open_data
from resnet_sweep.data.config import AugmentConfig, DigitsConfig
from resnet_sweep.faults import DataError
from resnet_sweep.training.config import (
    ConstantConfig,
    ObjectiveConfig,
    Recipe,
    SgdConfig,
    TrainerConfig,
)
from resnet_sweep.training.failures import CheckpointError, NonFiniteLossError, Stopped
from resnet_sweep.training.folder import RunFolder
from resnet_sweep.training.loop import Trainer
from resnet_sweep.training.result import FitResult

MEASURED = ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"]


@pytest.fixture(scope="module")
def data(cache_dir: Path) -> ImageData:
    return open_data(
        DigitsConfig(
            image_size=32, num_train=200, num_val=50, num_test=40, cache_dir=str(cache_dir)
        )
    )


@pytest.fixture(autouse=True)
def _deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def never_stops() -> None:
    """What a run asks that nobody stops."""


class Listener:
    """A reporter that remembers, and raises after some epoch."""

    def __init__(self, raise_after: int | None = None) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.raise_after = raise_after

    def report(self, epoch: int, metrics: Any) -> None:
        self.rows.append((epoch, dict(metrics)))
        if epoch == self.raise_after:
            raise LookupError("enough")


def trainer_of(
    data: ImageData,
    path: Path,
    *,
    lr: float = 0.05,
    objective: ObjectiveConfig | None = None,
    augment: AugmentConfig | None = None,
    **changes: Any,
) -> Trainer:
    config = TrainerConfig(epochs=4, batch_size=20, checkpoint_every_s=0, seed=3)
    config = dataclasses.replace(config, **changes)
    recipe = Recipe(SgdConfig(lr=lr), ConstantConfig(), config, objective or ObjectiveConfig())
    device = torch.device(config.device if config.device != "auto" else "cpu")
    torch.manual_seed(config.seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=4),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(8 * 49, 10),
    )
    return Trainer(
        model=model,
        data=data,
        recipe=recipe,
        augment=augment or AugmentConfig(random_crop=2),
        folder=RunFolder(path),
        device=device,
        precision="fp32",
        settings={"trainer": dataclasses.asdict(config), "optimizer": {"lr": lr}},
    )


def fit(trainer: Trainer) -> FitResult:
    return trainer.fit(Listener(), never_stops)


def metrics_of(path: Path) -> pd.DataFrame:
    return pd.read_csv(path / "metrics.csv")[MEASURED]


def test_it_learns_and_leaves_its_files(data, tmp_path):
    result = fit(trainer_of(data, tmp_path))
    assert result.objective > 0.6
    # The checkpoint goes when the caller has written the result.
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.pt",
        "last.pt",
        "metrics.csv",
        "predictions.npz",
    ]
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["epoch"].tolist() == [1, 2, 3, 4]
    assert result.objective == table["val_accuracy"].max() == result.best["val_accuracy"]
    assert result.last == table.iloc[-1].to_dict()


def test_predictions_are_those_of_the_metrics(data, tmp_path):
    result = fit(trainer_of(data, tmp_path))
    with np.load(tmp_path / "predictions.npz") as stored:
        for row, name in ((result.best, "best"), (result.last, "last")):
            assert (stored[name] == stored["label"]).mean() == row["val_accuracy"]
        assert stored["name"].tolist() == list(data.val.names)
        assert result.test is not None
        assert (stored["test"] == stored["test_label"]).mean() == result.test["test_accuracy"]
        assert stored["test_name"].tolist() == list(data.test.names)


def test_best_weights_give_the_best_epochs_accuracy(data, tmp_path):
    trainer = trainer_of(data, tmp_path)
    result = fit(trainer)
    stored = torch.load(tmp_path / "best.pt", weights_only=True)
    assert stored["classes"] == list(data.classes)
    # Without the images nobody could know them, nor use the weights.
    assert (stored["mean"], stored["std"]) == (data.mean.tolist(), data.std.tolist())
    trainer.model.load_state_dict(stored["model"])
    trainer.model.eval()
    correct = sum(
        (trainer.model(images).argmax(1) == labels).sum().item()
        for images, labels in trainer.val_batches
    )
    assert correct / len(data.val) == result.best["val_accuracy"]


@pytest.mark.parametrize(
    ("metric", "epoch"),
    [("val_accuracy", "last"), ("val_loss", "best"), ("train_loss", "best")],
)
def test_the_objective_is_what_was_asked_for(data, tmp_path, metric, epoch):
    objective = ObjectiveConfig(metric=metric, epoch=epoch)
    result = fit(trainer_of(data, tmp_path, objective=objective))
    column = pd.read_csv(tmp_path / "metrics.csv")[metric]
    expected = column.iloc[-1] if epoch == "last" else column.min()
    assert result.objective == expected


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(data, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        fit(trainer_of(data, tmp_path / name, seed=seed))
    pd.testing.assert_frame_equal(
        metrics_of(tmp_path / "a"), metrics_of(tmp_path / "b"), check_exact=True
    )
    assert not metrics_of(tmp_path / "a").equals(metrics_of(tmp_path / "c"))


def test_a_run_goes_on_to_the_same_numbers_bit_for_bit(data, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = fit(trainer_of(data, whole))
    with pytest.raises(LookupError):
        trainer_of(data, broken).fit(Listener(raise_after=3), never_stops)
    # The third epoch has a row but no checkpoint: it belongs to the lost attempt.
    assert len(metrics_of(broken)) == 3
    listener = Listener()
    result = trainer_of(data, broken).fit(listener, never_stops)
    assert [epoch for epoch, _ in listener.rows] == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(metrics_of(whole), metrics_of(broken), check_exact=True)
    assert result.objective == expected.objective
    one, other = (torch.load(path / "best.pt", weights_only=True) for path in (whole, broken))
    assert all(torch.equal(value, other["model"][key]) for key, value in one["model"].items())
    with (
        np.load(whole / "predictions.npz") as first,
        np.load(broken / "predictions.npz") as second,
    ):
        assert all((first[key] == second[key]).all() for key in first)


def test_what_was_taken_up_is_known_before_it_trains_and_taken_up_once(data, tmp_path):
    assert trainer_of(data, tmp_path).take_up() == 0
    with pytest.raises(LookupError):
        trainer_of(data, tmp_path).fit(Listener(raise_after=3), never_stops)
    trainer = trainer_of(data, tmp_path)
    assert trainer.take_up() == 2
    # fit asks once more.
    (tmp_path / "last.pt").write_bytes(b"")
    fit(trainer)
    assert len(metrics_of(tmp_path)) == 4


@pytest.mark.parametrize("epoch", ["best", "last"])
def test_a_run_that_was_given_up_has_a_result_so_far(data, tmp_path, epoch):
    trainer = trainer_of(data, tmp_path, objective=ObjectiveConfig(epoch=epoch))
    with pytest.raises(LookupError):
        trainer.fit(Listener(raise_after=3), never_stops)
    result = trainer.result()
    accuracies = metrics_of(tmp_path)["val_accuracy"]
    assert len(accuracies) == 3
    assert result.objective == (accuracies.max() if epoch == "best" else accuracies.iloc[-1])
    assert (result.last["epoch"], result.test) == (3, None)
    assert result.images_per_s > 0


def test_resume_never_starts_anew(data, tmp_path, caplog):
    caplog.set_level("INFO")
    with pytest.raises(LookupError):
        trainer_of(data, tmp_path).fit(Listener(raise_after=3), never_stops)
    listener = Listener(raise_after=1)
    with pytest.raises(LookupError):
        trainer_of(data, tmp_path, resume="never").fit(listener, never_stops)
    assert "trainer.resume=never, so it starts at epoch 1" in caplog.text
    assert len(metrics_of(tmp_path)) == 1


def test_a_checkpoint_of_another_configuration_is_refused(data, tmp_path):
    with pytest.raises(LookupError):
        trainer_of(data, tmp_path).fit(Listener(raise_after=3), never_stops)
    with pytest.raises(
        CheckpointError, match=r"the unfinished run has optimizer\.lr=0\.05"
    ) as error:
        fit(trainer_of(data, tmp_path, lr=0.1, threads=7))
    assert [fault.key for fault in error.value.faults] == ["optimizer.lr"]


def test_a_network_that_has_changed_since_is_refused(data, tmp_path):
    with pytest.raises(LookupError):
        trainer_of(data, tmp_path).fit(Listener(raise_after=3), never_stops)
    trainer = trainer_of(data, tmp_path)
    trainer.model.append(nn.Linear(10, 10))
    with pytest.raises(CheckpointError, match=r"does not fit the network any more.*resume=never"):
        fit(trainer)


def test_images_that_have_changed_since_are_refused(data, tmp_path):
    with pytest.raises(LookupError):
        trainer_of(data, tmp_path).fit(Listener(raise_after=3), never_stops)
    with pytest.raises(CheckpointError, match="the images have changed"):
        fit(trainer_of(dataclasses.replace(data, content="other"), tmp_path))


def test_a_fresh_start_leaves_nothing_of_an_earlier_run(data, tmp_path):
    fit(trainer_of(data, tmp_path, tensorboard=True))
    with pytest.raises(NonFiniteLossError):
        fit(trainer_of(data, tmp_path, lr=1e30, resume="never"))
    assert list(tmp_path.iterdir()) == []


def test_validation_can_be_stopped(data, tmp_path):
    trainer = trainer_of(data, tmp_path)
    num_asked = 0

    def stop_in_the_first_validation() -> None:
        nonlocal num_asked
        num_asked += 1
        if num_asked > len(trainer.train_batches):
            raise Stopped(15)

    with pytest.raises(Stopped):
        trainer.fit(Listener(), stop_in_the_first_validation)
    assert not (tmp_path / "metrics.csv").exists()


def test_a_stop_in_the_test_split_is_gone_on_from(data, tmp_path):
    expected = fit(trainer_of(data, tmp_path / "whole"))
    trainer = trainer_of(data, tmp_path / "broken")

    def stop_after_the_last_epoch() -> None:
        if len(trainer.state.rows) == 4:
            raise Stopped(15)

    with pytest.raises(Stopped):
        trainer.fit(Listener(), stop_after_the_last_epoch)
    result = fit(trainer_of(data, tmp_path / "broken"))
    assert (result.objective, result.test) == (expected.objective, expected.test)
    with (
        np.load(tmp_path / "whole" / "predictions.npz") as first,
        np.load(tmp_path / "broken" / "predictions.npz") as second,
    ):
        assert all((first[key] == second[key]).all() for key in first)


def test_checkpoints_are_no_more_often_than_asked(data, tmp_path):
    with pytest.raises(LookupError):
        trainer_of(data, tmp_path, checkpoint_every_s=3600).fit(
            Listener(raise_after=3), never_stops
        )
    assert not (tmp_path / "last.pt").exists()


def test_a_stop_saves_the_last_finished_epoch_whatever_the_interval(data, tmp_path):
    num_steps = 0

    def stop_in_the_third_epoch() -> None:
        nonlocal num_steps
        num_steps += 1
        if num_steps == 27:
            raise Stopped(15)

    trainer = trainer_of(data, tmp_path, checkpoint_every_s=3600)
    with pytest.raises(Stopped):
        trainer.fit(Listener(), stop_in_the_third_epoch)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 2
    expected = fit(trainer_of(data, tmp_path / "whole"))
    assert fit(trainer_of(data, tmp_path)).last["val_loss"] == expected.last["val_loss"]


def test_a_loss_that_is_not_finite_ends_the_run_before_its_checkpoint(data, tmp_path):
    trainer = trainer_of(data, tmp_path, lr=1e30)
    with pytest.raises(NonFiniteLossError, match="not finite in epoch 1") as error:
        fit(trainer)
    assert error.value.kind == "non_finite"
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_ends_the_epoch_early(data, tmp_path):
    trainer = trainer_of(data, tmp_path, lr=1e30, readback_every_s=0)
    num_steps = 0

    def count() -> None:
        nonlocal num_steps
        num_steps += 1

    with pytest.raises(NonFiniteLossError, match="training"):
        trainer.fit(Listener(), count)
    assert num_steps < len(trainer.train_batches)


def test_the_test_split_is_measured_once_with_the_weights_that_are_judged(
    data, tmp_path, monkeypatch
):
    trainer = trainer_of(data, tmp_path)
    seen = []
    eval_batches = trainer._eval_batches
    monkeypatch.setattr(
        trainer, "_eval_batches", lambda split: seen.append(split) or eval_batches(split)
    )
    result = fit(trainer)
    assert seen == [data.test]
    assert result.test is not None
    trainer.model.load_state_dict(torch.load(tmp_path / "best.pt", weights_only=True)["model"])
    trainer.model.eval()
    correct = sum(
        (trainer.model(images).argmax(1) == labels).sum().item()
        for images, labels in eval_batches(data.test)
    )
    assert result.test["test_accuracy"] == correct / len(data.test)


def test_without_a_test_split_there_is_no_test(data, tmp_path):
    result = fit(trainer_of(dataclasses.replace(data, test=None), tmp_path))
    assert result.test is None


def test_a_batch_larger_than_the_data_is_refused(data, tmp_path):
    with pytest.raises(DataError, match=r"trainer\.batch_size=201"):
        trainer_of(data, tmp_path, batch_size=201)


def test_tensorboard_files_hold_the_metrics(data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(trainer_of(data, tmp_path, tensorboard=True))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    table = pd.read_csv(tmp_path / "metrics.csv")
    tags = set(events.Tags()["scalars"])
    assert tags >= set(table) - {"epoch"}
    assert tags >= {"objective", "best_epoch", "best_val_accuracy", "test_accuracy"}
    values = [event.value for event in events.Scalars("val_accuracy")]
    assert values == pytest.approx(table["val_accuracy"].tolist())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_learns_is_read_while_it_runs_and_goes_on(data, tmp_path):
    torch.use_deterministic_algorithms(False)
    gpu: dict[str, Any] = {"device": "cuda:0", "readback_every_s": 0}
    whole = fit(trainer_of(data, tmp_path / "whole", **gpu))
    assert whole.objective > 0.6
    with pytest.raises(LookupError):
        trainer_of(data, tmp_path / "broken", **gpu).fit(Listener(raise_after=3), never_stops)
    result = fit(trainer_of(data, tmp_path / "broken", **gpu))
    assert result.last["val_loss"] == pytest.approx(whole.last["val_loss"], rel=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpus_loss_that_is_not_finite_is_noticed(data, tmp_path):
    torch.use_deterministic_algorithms(False)
    with pytest.raises(NonFiniteLossError):
        fit(trainer_of(data, tmp_path, lr=1e30, device="cuda:0", readback_every_s=0))


def test_json_of_a_result_is_what_the_loop_gave(data, tmp_path):
    folder = RunFolder(tmp_path)
    result = fit(trainer_of(data, tmp_path))
    folder.write_result(dataclasses.asdict(result))
    assert json.loads(folder.result_json.read_text())["objective"] == result.objective
