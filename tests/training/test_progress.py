import io
import logging

import pytest
from rich.console import Console

from resnet_sweep.training.metrics import Reading
from resnet_sweep.training.progress import ProgressView

ROW = {
    "epoch": 2,
    "train_loss": 0.25,
    "train_accuracy": 0.9,
    "val_loss": 0.5,
    "val_accuracy": 0.8,
    "lr": 1e-3,
    "seconds": 3.0,
    "images_per_s": 100.0,
}


def test_a_log_gets_one_line_an_epoch(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    view = ProgressView(num_epochs=3, num_steps=5, first_epoch=1, console=None)
    view.epoch_starts(2)
    for step in range(5):
        view.step_done(2, step + 1, Reading(0.3, 0.5, 10), 100.0)
    view.epoch_done(ROW)
    assert caplog.messages == [
        "epoch 2/3  train loss 0.2500 acc 0.9000  val loss 0.5000 acc 0.8000  "
        "lr 0.001  100 img/s  3.0 s"
    ]


def test_a_terminal_gets_a_bar_with_epoch_step_loss_accuracy_and_rate():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    view = ProgressView(num_epochs=3, num_steps=5, first_epoch=2, console=console)
    view.epoch_starts(2)
    view.step_done(2, 4, Reading(0.3, 0.5, 10), 123.0)
    view.close()
    text = screen.getvalue()
    assert "epoch 2/3" in text
    assert "9/15" in text
    assert "loss 0.3000 acc 0.500 123 img/s" in text
