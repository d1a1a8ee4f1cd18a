import pytest
import torch
from torch import nn

from resnet_sweep.training.config import SgdConfig
from resnet_sweep.training.microbatch import fitting_microbatch, part_sizes
from resnet_sweep.training.optimizers import build_optimizer
from resnet_sweep.training.step import TrainStep


class Memory:
    """Has room for so many images."""

    def __init__(self, room):
        self.room, self.tried, self.num_freed = room, [], 0

    def step(self, num):
        self.tried.append(num)
        if num > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def free(self):
        self.num_freed += 1


@pytest.mark.parametrize(
    ("room", "found"),
    [(64, 64), (1000, 64), (63, 32), (33, 32), (31, 22), (16, 16), (3, 3), (2, 2)],
)
def test_the_fewest_parts_that_fit_and_as_equal_as_they_can_be(room, found):
    memory = Memory(room)
    assert fitting_microbatch(64, memory.step, memory.free) == found
    assert memory.num_freed == sum(num > room for num in memory.tried)
    assert len(memory.tried) <= 8


@pytest.mark.parametrize(
    ("batch_size", "microbatch", "sizes"),
    [
        (32, 16, [16, 16]),
        (33, 16, [11, 11, 11]),
        (10, 4, [4, 3, 3]),
        (5, 2, [3, 2]),
        (3, 2, [3]),
        (8, 100, [8]),
    ],
)
def test_parts_are_few_equal_and_never_a_single_image(batch_size, microbatch, sizes):
    assert part_sizes(batch_size, microbatch) == sizes


def test_nothing_fits():
    memory = Memory(1)
    with pytest.raises(torch.OutOfMemoryError):
        fitting_microbatch(64, memory.step, memory.free)


def test_another_failure_is_not_taken_for_a_lack_of_memory():
    def broken(num):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        fitting_microbatch(64, broken, lambda: None)


@pytest.mark.parametrize("microbatch", [2, 4, 5, 12, 100])
def test_parts_add_up_to_the_gradient_of_the_batch(microbatch):
    """Without batch norm, which sees each part by itself, they are the same numbers."""
    torch.manual_seed(0)
    images, labels = torch.randn(12, 3, 4, 4), torch.randint(5, (12,))
    found = []
    for size in (None, microbatch):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5))
        optimizer = build_optimizer(SgdConfig(lr=0.1), network.parameters())
        step = TrainStep(network, optimizer, precision="fp32", label_smoothing=0.1, microbatch=size)
        loss, logits = step(images, labels)
        found.append([loss, logits, *(p.detach() for p in network.parameters())])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
