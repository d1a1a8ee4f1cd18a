from functools import partial

import pytest
import torch
from recording import record_operations
from torch import nn

from resnet_sweep.training.capture import CapturedStep, recorder_for
from resnet_sweep.training.config import (
    AdamConfig,
    AdamWConfig,
    OptimizerConfig,
    RmspropConfig,
    SgdConfig,
)
from resnet_sweep.training.metrics import Meter
from resnet_sweep.training.optimizers import build_optimizer
from resnet_sweep.training.step import TrainStep

CPU = torch.device("cpu")
CONFIGS = (
    SgdConfig(lr=0.1, weight_decay=0.01),
    AdamConfig(lr=0.01),
    AdamWConfig(lr=0.01),
    RmspropConfig(lr=0.01, momentum=0.5),
)


def feeds(num):
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "images": torch.randn(6, 3, 8, 8, generator=generator),
            "labels": torch.randint(4, (6,), generator=generator),
        }
        for _ in range(num)
    ]


def trained(config: OptimizerConfig, *, captured, microbatch=None, fused=True, precision="bf16"):
    """Weights, buffers and sums after steps with learning rates of their own."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
    )
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    # A learning rate in a tensor is rounded to float32, in both ways.
    optimizer = build_optimizer(config, network.parameters(), fused=fused, captured=True)
    step = TrainStep(network, optimizer, precision=precision, grad_clip=1.0, microbatch=microbatch)
    meter = Meter(CPU, every_s=1)

    def run(feed):
        meter.add(*step(feed["images"], feed["labels"]), feed["labels"])

    if captured:
        first, run = feeds(1)[0], CapturedStep(run, record_operations)
        run.record(first)
        network.load_state_dict(start)
        optimizer.reset()
        meter.reset()
    for i, feed in enumerate(feeds(4)):
        optimizer.set_lr(config.lr * (i + 1))
        run(feed)
    meter.count(4 * 6)
    return [*network.state_dict().values()], meter.read()


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        *((config, {}) for config in CONFIGS),
        (CONFIGS[0], {"fused": False}),
        (CONFIGS[1], {"fused": False}),
        (CONFIGS[0], {"microbatch": 4, "precision": "fp32"}),
    ],
    ids=lambda value: value.name if isinstance(value, OptimizerConfig) else "-".join(value),
)
def test_a_replayed_step_is_the_step(config, settings):
    """All that differs between steps comes from tensors: nothing else is baked in."""
    weights, reading = trained(config, captured=False, **settings)
    replayed, replayed_reading = trained(config, captured=True, **settings)
    for ours, theirs in zip(replayed, weights, strict=True):
        assert torch.equal(ours, theirs)
    assert replayed_reading == reading


def add(total, feed):
    total += feed["x"]


def test_a_feed_may_be_overwritten_after_its_step():
    seen = torch.zeros(3)
    step = CapturedStep(lambda feed: add(seen, feed), record_operations)
    first = {"x": torch.ones(3)}
    step.record(first)
    first["x"].fill_(7)
    seen.zero_()
    for value in (1.0, 2.0):
        step({"x": torch.full((3,), value)})
    assert torch.equal(seen, torch.full((3,), 3.0))


def test_only_cuda_records():
    assert recorder_for(CPU) is None
    assert recorder_for(torch.device("cuda:1")) is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_replays():
    """On every GPU, one after another in one process."""
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        total = torch.zeros(3, device=device)
        recorder = recorder_for(device)
        assert recorder is not None
        with torch.cuda.device(device):
            step = CapturedStep(partial(add, total), recorder)
            step.record({"x": torch.ones(3, device=device)})
            total.zero_()
            for value in (1.0, 2.0):
                step({"x": torch.full((3,), value, device=device)})
            assert torch.equal(total.cpu(), torch.full((3,), 3.0))
