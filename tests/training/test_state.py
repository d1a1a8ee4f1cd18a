import errno
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gates import Gate
from torch import Tensor, nn

from resnet_sweep.models.weights import read_tensors
from resnet_sweep.training.config import ObjectiveConfig
from resnet_sweep.training.failures import Stopped
from resnet_sweep.training.folder import RunFolder
from resnet_sweep.training.state import RunState


class Momentum:
    """An optimizer that has nothing but what is kept of it, and changes it in place."""

    def __init__(self, network: nn.Module) -> None:
        self.momentum = [torch.zeros_like(value) for value in network.parameters()]

    def state_dict(self) -> dict[str, list[Tensor]]:
        return {"momentum": self.momentum}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        for own, other in zip(self.momentum, state["momentum"], strict=True):
            own.copy_(other)


class Training:
    """Two layers, an optimizer and the state of a run of which every number is its epoch."""

    def __init__(self, folder: RunFolder, **settings: Any) -> None:
        self.folder = folder
        conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.network = nn.Sequential(conv, nn.BatchNorm2d(4))
        self.optimizer = Momentum(self.network)
        self.state = RunState(folder, ObjectiveConfig(), settings, "data")

    def epoch(self, epoch: int, accuracy: float | None = None) -> None:
        with torch.no_grad():
            for tensor in (*self.network.state_dict().values(), *self.optimizer.momentum):
                tensor.fill_(epoch)
        row = {"epoch": epoch, "val_accuracy": epoch / 10 if accuracy is None else accuracy}
        self.state.record(row, torch.tensor([epoch]), self.network, self.optimizer)

    def saved(self) -> int:
        """Epoch of last.pt, all of which is of that epoch."""
        read = read_tensors(self.folder.last_checkpoint)
        tensors = [*read["model"].values(), *read["optimizer"]["momentum"], read["predictions"]]
        assert all((tensor == read["epoch"]).all() for tensor in tensors)
        assert [row["epoch"] for row in read["rows"]] == list(range(1, read["epoch"] + 1))
        return read["epoch"]


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    training = Training(RunFolder(tmp_path))
    yield training
    training.state.close()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[Training, Gate]]:
    """A training whose writes are held up."""
    gate = Gate()
    training = Training(RunFolder(tmp_path), gate=gate)
    yield training, gate
    gate.opened.set()
    training.state.close()


def test_training_goes_on_while_an_epoch_is_written(slow):
    training, gate = slow
    training.epoch(1)
    training.state.save_if_due(1e-9)
    assert gate.reached.wait(60)
    # Its turn comes at the end of an epoch at which nothing is in flight.
    for epoch in (2, 3):
        training.epoch(epoch)
        training.state.save_if_due(1e-9)
    assert not training.folder.last_checkpoint.exists()
    gate.opened.set()
    training.state.close()
    assert training.saved() == 1
    training.epoch(4)
    training.state.save_if_due(1e-9)
    training.state.close()
    assert training.saved() == 4


def test_with_no_seconds_every_epoch_is_on_disk_before_the_next_begins(training):
    for epoch in range(1, 4):
        training.epoch(epoch)
        training.state.save_if_due(0)
        assert training.saved() == epoch


def test_an_epoch_is_not_written_before_it_is_due(training):
    training.epoch(1)
    training.state.save_if_due(3600)
    training.state.close()
    assert not training.folder.last_checkpoint.exists()


def test_a_snapshot_is_one_copy_with_the_memory_format_of_the_network(training):
    training.epoch(1)
    best, newest = training.state.best["model"], training.state._newest
    assert best["0.weight"].is_contiguous(memory_format=torch.channels_last)
    training.epoch(2, accuracy=0.05)
    assert newest.model is best is training.state.best["model"]
    assert (best["0.weight"] == 1).all()


def test_the_best_epoch_is_written_with_the_last_and_taken_up(training, tmp_path):
    for epoch, accuracy in ((1, 0.3), (2, 0.9), (3, 0.5)):
        training.epoch(epoch, accuracy)
    training.state.save()
    other = Training(training.folder)
    (tmp_path / ".last.pt.123-abc.tmp").touch()
    other.state.resume(other.network, other.optimizer)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert other.state.rows == training.state.rows
    assert other.state.best["row"] == {"epoch": 2, "val_accuracy": 0.9}
    assert (other.network[0].weight == 3).all()
    assert all((tensor == 3).all() for tensor in other.optimizer.momentum)
    other.state.write_best({"classes": ["cat", "dog"]})
    other.state.close()
    best = read_tensors(training.folder.best_checkpoint)
    assert best["classes"] == ["cat", "dog"]
    assert (best["model"]["0.weight"] == 2).all()


def test_a_stop_saves_the_last_epoch_after_the_write_in_flight(slow):
    training, gate = slow

    def stop_in_the_third_epoch() -> None:
        with training.state:
            training.epoch(1)
            training.state.save_if_due(1e-9)
            assert gate.reached.wait(60)
            training.epoch(2)
            threading.Timer(0.1, gate.opened.set).start()
            raise Stopped(15)

    with pytest.raises(Stopped, match="SIGTERM"):
        stop_in_the_third_epoch()
    assert training.saved() == 1
    training.state.save()
    assert training.saved() == 2
    training.folder.last_checkpoint.unlink()
    # It has been there.
    training.state.save()
    assert not training.folder.last_checkpoint.exists()


@pytest.fixture
def failed(training, tmp_path) -> Training:
    """A training of which a write has failed."""
    training.epoch(1)
    training.folder.path = tmp_path / "gone"
    training.state.save_if_due(1e-9)
    while training.state._writer.is_busy:
        pass
    training.folder.path = tmp_path
    return training


def test_a_failed_checkpoint_is_told_and_another_is_written_when_it_is_due(failed, caplog):
    failed.epoch(2)
    assert "could not be written and is tried again later: [Errno 2]" in caplog.text
    failed.state.save_if_due(3600)
    failed.state.close()
    assert not failed.folder.last_checkpoint.exists()
    failed.state.save_if_due(1e-9)
    failed.state.close()
    assert failed.saved() == 2


def test_a_failed_checkpoint_is_due_again_without_another_epoch(failed):
    failed.state.save_if_due(1e-9)
    failed.state.close()
    assert failed.saved() == 1


def test_a_failed_checkpoint_is_no_matter_when_the_run_has_come_to_its_end(failed):
    with failed.state:
        failed.state.write_best({"classes": ["cat", "dog"]})
    assert failed.folder.best_checkpoint.exists()


def test_best_weights_that_cannot_be_written_end_the_run(training, tmp_path):
    training.epoch(1)
    training.folder.path = tmp_path / "gone"
    with pytest.raises(FileNotFoundError, match=r"gone/best\.pt"), training.state:
        training.state.write_best({"classes": ["cat", "dog"]})


def test_metrics_that_cannot_be_written_are_written_with_the_next_epoch(training, caplog):
    def full(rows: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "metrics.csv")

    write, training.folder.write_metrics = training.folder.write_metrics, full
    training.epoch(1)
    assert "the training goes on, but a file could not be written: [Errno 28]" in caplog.text
    with pytest.raises(OSError, match="No space left on device"):
        training.state.write_metrics()
    training.folder.write_metrics = write
    training.epoch(2)
    assert len(training.folder.metrics_csv.read_text().splitlines()) == 3


def test_a_failed_write_does_not_hide_why_a_run_ended(failed, caplog):
    with pytest.raises(LookupError, match="enough"), failed.state:
        raise LookupError("enough")
    assert "gone/last.pt" in caplog.text


def test_a_failed_write_is_tried_again_when_the_run_is_stopped(failed, caplog):
    caplog.set_level(logging.WARNING)
    failed.state.save()
    assert failed.saved() == 1
    assert "is tried again" in caplog.text


def test_a_device_without_room_for_a_snapshot_has_it_on_the_host(training, monkeypatch):
    def no_room(tensor: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Tensor, "clone", no_room)
    training.epoch(1)
    monkeypatch.undo()
    training.network[0].weight.data.fill_(9)
    training.state.save()
    assert training.saved() == 1
