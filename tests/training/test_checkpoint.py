import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from resnet_sweep.models.weights import read_tensors
from resnet_sweep.training.checkpoint import Checkpoint, save_tensors, snapshot
from resnet_sweep.training.failures import CheckpointError


def checkpoint_of(network: nn.Module, optimizer: torch.optim.Optimizer) -> Checkpoint:
    return Checkpoint(
        config={"optimizer": {"lr": 0.1}},
        data="abc",
        epoch=2,
        model=snapshot(network.state_dict()),
        optimizer=snapshot(optimizer.state_dict()),
        rows=[{"epoch": 1, "val_accuracy": 0.5}, {"epoch": 2, "val_accuracy": 0.7}],
        predictions=torch.tensor([0, 1]),
        best={
            "row": {"epoch": 2, "val_accuracy": 0.7},
            "model": snapshot(network.state_dict()),
            "predictions": torch.tensor([0, 1]),
        },
        seconds=1.5,
    )


@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.Adam])
def test_what_is_read_trains_on_like_what_was_written(tmp_path, optimizer_class):
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = optimizer_class(network.parameters(), lr=0.1)

    def step(model: nn.Module, stepper: torch.optim.Optimizer) -> None:
        model(torch.ones(1, 3, 5, 5)).square().sum().backward()
        stepper.step()
        stepper.zero_grad()

    step(network, optimizer)
    save_tensors(checkpoint_of(network, optimizer).contents(), tmp_path / "last.pt")
    loaded = Checkpoint.load(tmp_path / "last.pt")
    assert loaded.rows[1]["val_accuracy"] == 0.7
    other = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    other_optimizer = optimizer_class(other.parameters(), lr=0.9)
    other.load_state_dict(loaded.model)
    other_optimizer.load_state_dict(loaded.optimizer)
    step(network, optimizer)
    step(other, other_optimizer)
    assert torch.equal(network.weight, other.weight)
    assert other.weight.is_contiguous(memory_format=torch.channels_last)


def test_it_is_a_copy_that_later_steps_do_not_change():
    network = nn.Linear(2, 2)
    kept = snapshot({"nested": [network.state_dict()]})
    with torch.no_grad():
        network.weight += 1
    assert not torch.equal(kept["nested"][0]["weight"], network.weight)


class Evil:
    """What a stranger could put into a file."""

    def __reduce__(self):
        return (pytest.fail, ("code of the file was run",))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps(Evil())])
def test_a_file_that_is_no_checkpoint_is_refused_by_name(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.pt: cannot be read .*trainer\.resume=never"):
        Checkpoint.load(path)


def test_a_truncated_checkpoint_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    network = nn.Linear(20, 20)
    save_tensors(checkpoint_of(network, torch.optim.SGD(network.parameters())).contents(), path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Checkpoint.load(path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    torch.save({"version": 1, "model": Evil()}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        Checkpoint.load(path)


@pytest.fixture
def saved(tmp_path) -> Path:
    network = nn.Linear(20, 20)
    optimizer = torch.optim.SGD(network.parameters(), momentum=0.9)
    save_tensors(checkpoint_of(network, optimizer).contents(), tmp_path / "last.pt")
    return tmp_path / "last.pt"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 99},
        {"rows": [{"epoch": 1, "val_accuracy": 0.5}]},
        {"rows": "none"},
        {"epoch": "2"},
        {"best": {}},
        {"model": torch.zeros(3)},
        {"more": 1},
    ],
    ids=str,
)
def test_another_version_or_what_is_none_of_ours_is_refused(saved, changes):
    save_tensors(read_tensors(saved) | changes, saved)
    with pytest.raises(CheckpointError, match="no checkpoint of version 2"):
        Checkpoint.load(saved)


def test_a_checkpoint_that_is_gone_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot be read .*No such file"):
        Checkpoint.load(tmp_path / "last.pt")


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_a_bit_that_has_flipped_is_noticed_or_is_in_no_value(saved):
    """Torch itself reads other weights without a word."""
    whole, content = Checkpoint.load(saved).contents(), saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        directory = archive.start_dir
    at_random = random.Random(0)
    flips = [(at_random.randrange(len(content)), at_random.randrange(8)) for _ in range(150)]
    # All of one entry in the table of contents; where its attributes are, torch would read
    # nothing at all of it and return what was in memory.
    flips += [(directory + i, bit) for i in range(60) for bit in (0, 4)]
    num_refused = 0
    for position, bit in flips:
        damaged = bytearray(content)
        damaged[position] ^= 1 << bit
        saved.write_bytes(damaged)
        try:
            read = Checkpoint.load(saved).contents()
        except CheckpointError:
            num_refused += 1
        else:
            assert same(read, whole), (position, bit)
    assert num_refused > len(flips) / 3
