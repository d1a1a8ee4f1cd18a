import math

import pytest
import torch

from resnet_sweep.training.metrics import Meter

CPU = torch.device("cpu")


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def logits_of(classes: list[int]) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), 3).float()


def test_means_are_over_images_not_batches():
    meter = Meter(CPU, every_s=1)
    meter.update(torch.tensor(1.0), logits_of([0, 1, 2, 0]), torch.tensor([0, 1, 2, 1]))
    meter.update(torch.tensor(4.0), logits_of([0, 1]), torch.tensor([1, 1]))
    reading = meter.read()
    assert (reading.loss, reading.num_images) == (2.0, 6)
    assert reading.accuracy == pytest.approx(4 / 6)


def test_poll_reads_at_most_once_in_every_s():
    clock = Clock()
    meter = Meter(CPU, every_s=1.0, clock=clock)
    found = []
    for tenth in range(35):
        clock.now_s = tenth / 10
        meter.update(torch.tensor(float(tenth)), logits_of([0]), torch.tensor([0]))
        found.append(meter.poll())
    readings = [reading for reading in found if reading is not None]
    # Copies start at 1.0, 2.0 and 3.0 s and are handed out one call later.
    assert [reading.num_images for reading in readings] == [11, 21, 31]
    assert readings[0].loss == pytest.approx(sum(range(11)) / 11)


def test_poll_hands_out_nothing_before_the_copy_has_arrived(monkeypatch):
    """A device that is slow to copy is asked, never waited for."""
    clock, arrived = Clock(), [False]
    meter = Meter(CPU, every_s=1.0, clock=clock)
    monkeypatch.setattr(meter, "_has_arrived", lambda: arrived[0])
    meter.update(torch.tensor(2.0), logits_of([0]), torch.tensor([0]))
    clock.now_s = 1.0
    assert meter.poll() is None  # starts the copy
    meter.update(torch.tensor(8.0), logits_of([0]), torch.tensor([0]))
    clock.now_s = 5.0
    assert meter.poll() is None  # still on its way, and no second one is started
    arrived[0] = True
    reading = meter.poll()
    assert reading is not None
    assert (reading.loss, reading.num_images) == (2.0, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_loss_is_never_forgotten(bad):
    meter = Meter(CPU, every_s=1)
    for loss in (1.0, bad, 1.0):
        meter.update(torch.tensor(loss), logits_of([0]), torch.tensor([0]))
    assert not meter.read().is_finite


def test_it_counts_exactly_beyond_what_float32_can():
    meter = Meter(CPU, every_s=1)
    meter._sums[:] = torch.tensor([0.0, 2.0**24], dtype=torch.float64)
    meter._num_images = 2**24
    meter.update(torch.tensor(0.0), logits_of([0]), torch.tensor([0]))
    assert meter.read().accuracy == 1.0
