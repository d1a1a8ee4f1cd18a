import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet_sweep.training.config import SgdConfig
from resnet_sweep.training.optimizers import build_optimizer
from resnet_sweep.training.step import TrainStep, evaluate, forward

CPU = torch.device("cpu")


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
    )


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(6, 3, 8, 8, generator=generator),
        torch.randint(4, (6,), generator=generator),
    )


def stepped(step, images, labels, lr):
    step.optimizer.set_lr(lr)
    return step(images, labels)


def test_it_is_the_plain_formula(network):
    plain = copy.deepcopy(network)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    step = TrainStep(
        network,
        build_optimizer(SgdConfig(lr=9.0, momentum=0.0), network.parameters()),
        precision="fp32",
    )
    for seed in range(3):
        images, labels = batch(seed)
        loss = F.cross_entropy(plain(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found, logits = stepped(step, images, labels, lr=0.1)
        assert found.item() == loss.item()
        assert logits.shape == (6, 4)
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_label_smoothing_changes_the_loss_as_torch_says(network):
    images, labels = batch()
    expected = F.cross_entropy(copy.deepcopy(network)(images), labels, label_smoothing=0.2)
    step = TrainStep(
        network,
        build_optimizer(SgdConfig(lr=0.1, momentum=0.0), network.parameters()),
        precision="fp32",
        label_smoothing=0.2,
    )
    loss, _ = stepped(step, images, labels, lr=0.1)
    assert loss.item() == pytest.approx(expected.item())


def test_clipping_bounds_the_update(network):
    before = [parameter.detach().clone() for parameter in network.parameters()]
    step = TrainStep(
        network,
        build_optimizer(SgdConfig(lr=0.1, momentum=0.0), network.parameters()),
        precision="fp32",
        grad_clip=1e-3,
    )
    stepped(step, *batch(), lr=1.0)
    squares = [
        (now - old).square().sum() for now, old in zip(network.parameters(), before, strict=True)
    ]
    assert torch.stack(squares).sum().sqrt().item() == pytest.approx(1e-3, rel=1e-2)


def test_bf16_is_near_fp32_and_keeps_fp32_weights(network):
    images, _ = batch()
    exact, coarse = forward(network, images, "fp32"), forward(network, images, "bf16")
    assert coarse.dtype == torch.float32
    assert not torch.equal(exact, coarse)
    torch.testing.assert_close(coarse, exact, rtol=0.05, atol=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_evaluate_measures_without_touching_the_network(network):
    network.train()
    before = copy.deepcopy(network.state_dict())
    batches = [batch(0), batch(1)]
    reading, predictions = evaluate(network, batches, CPU, "fp32", lambda: None)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(images) for images, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    assert torch.equal(predictions, logits.argmax(1))
    assert reading.accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert reading.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
