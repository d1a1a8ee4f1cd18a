import copy

import pytest
import torch
from torch import nn

from resnet_sweep.models import build_model
from resnet_sweep.models.blocks import BatchNorm2d, Conv2d, normalized
from resnet_sweep.models.config import ModelConfig


def plainly(conv: Conv2d, norm: BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """What the paper says, word by word."""
    return nn.BatchNorm2d.forward(norm, nn.Conv2d.forward(conv, x))


def pair(dtype: torch.dtype = torch.float64) -> tuple[Conv2d, BatchNorm2d]:
    torch.manual_seed(0)
    conv, norm = Conv2d(3, 5, 3).to(dtype), BatchNorm2d(5).to(dtype)
    # A bias that would be seen if it were lost.
    nn.init.normal_(conv.bias, std=3.0)
    nn.init.normal_(norm.running_mean)
    return conv, norm


def test_it_is_the_formula_with_its_bias_in_training_and_after_it():
    conv, norm = pair()
    other_conv, other_norm = copy.deepcopy((conv, norm))
    for step in range(3):
        images = torch.randn(4, 3, 6, 6, dtype=torch.float64) + step
        out, expected = normalized(conv, norm, images), plainly(other_conv, other_norm, images)
        torch.testing.assert_close(out, expected)
        out.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(conv.weight.grad, other_conv.weight.grad)
        assert conv.bias.grad is None
        assert other_conv.bias.grad.abs().max() < 1e-9
    torch.testing.assert_close(norm.state_dict(), other_norm.state_dict())
    for module in (conv, norm, other_conv, other_norm):
        module.eval()
    torch.testing.assert_close(normalized(conv, norm, images), plainly(conv, norm, images))


def test_a_norm_that_is_frozen_gets_the_bias_and_trains_it():
    conv, norm = pair()
    norm.eval()
    images = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    out = normalized(conv, norm, images)
    torch.testing.assert_close(out, plainly(conv, norm, images))
    out.sum().backward()
    assert conv.bias.grad is not None


def test_two_passes_may_wait_for_their_backward():
    conv, norm = pair()
    images = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    (normalized(conv, norm, images) - normalized(conv, norm, 2 * images)).square().sum().backward()
    assert conv.weight.grad is not None


@pytest.mark.parametrize("depth", [18, 50])
def test_a_whole_network_trains_to_the_numbers_of_the_formula(depth, monkeypatch):
    images = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    trained = []
    for way in (None, plainly):
        if way is not None:
            for module in ("blocks", "resnet"):
                monkeypatch.setattr(f"resnet_sweep.models.{module}.normalized", way)
        torch.manual_seed(0)
        model = build_model(ModelConfig(depth=depth), 2, 3, 64).double()
        for _ in range(2):
            model(images).square().sum().backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter -= 1e-4 * parameter.grad
            model.zero_grad()
        model.eval()
        with torch.no_grad():
            trained.append(model(images))
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-6, atol=1e-8)
