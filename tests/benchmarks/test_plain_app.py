"""The plain application of the sweep benchmark: what it trains, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from benchmarks import plain_app
from benchmarks.stamping import STAMPS_VARIABLE
from benchmarks.stamps import read_stamps
from resnet_sweep.config import Config
from resnet_sweep.data.config import CatsDogsConfig


@pytest.mark.parametrize(
    ("name", "depth", "plain"), [("resnet18", 18, False), ("plain50", 50, True)]
)
def test_its_settings_are_those_of_our_run(name: str, depth: int, plain: bool) -> None:
    cfg = OmegaConf.structured(plain_app.Settings(model=name, data=CatsDogsConfig(root="pets")))
    cfg.optimizer.momentum = 0.5
    config = plain_app.config_of(cfg)
    assert (config.model.depth, config.model.plain) == (depth, plain)
    ours = Config(config.model, CatsDogsConfig(root="pets"), scheduler=config.scheduler)
    assert (config.data, config.trainer) == (ours.data, ours.trainer)
    assert config.optimizer.momentum == 0.5  # type: ignore[attr-defined]


def test_a_pass_trains_only_with_an_optimizer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    labels = torch.tensor([0, 1, 1, 0])
    batch = (torch.randn(4, 3, 2, 2) + labels.view(-1, 1, 1, 1), labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    device = torch.device("cpu")
    first = plain_app.run_pass(model, [batch], device)
    assert (first.loss, first.num_images) == (plain_app.run_pass(model, [batch], device).loss, 4)
    for _ in range(50):
        plain_app.run_pass(model, [batch, batch], device, optimizer)
    last = plain_app.run_pass(model, [batch], device)
    assert (last.loss < first.loss, last.accuracy) == (True, 1.0)


def test_a_trial_stamps_its_first_step_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STAMPS_VARIABLE, str(tmp_path / "stamps"))
    batches = [(torch.zeros(1), torch.zeros(1))] * 3
    assert len(list(plain_app.stamped(batches))) == 3
    assert [one.event for one in read_stamps(tmp_path / "stamps")] == ["step"]
