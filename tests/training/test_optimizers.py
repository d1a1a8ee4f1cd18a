import pytest
import torch
from torch import nn

from resnet_sweep.training.config import AdamConfig, AdamWConfig, RmspropConfig, SgdConfig
from resnet_sweep.training.optimizers import build_optimizer

# Ours beside what a user of torch would write with the same numbers.
PAIRS = {
    "sgd": (
        SgdConfig(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
    ),
    "adam": (
        AdamConfig(lr=0.1, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.01),
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.01),
    ),
    "adamw": (
        AdamWConfig(lr=0.1, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    ),
    "rmsprop": (
        RmspropConfig(lr=0.1, momentum=0.5, alpha=0.9, eps=1e-6, weight_decay=0.01),
        lambda p: torch.optim.RMSprop(
            p, lr=0.1, momentum=0.5, alpha=0.9, eps=1e-6, weight_decay=0.01
        ),
    ),
}


def trained(optimizer_of) -> torch.Tensor:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    optimizer = optimizer_of(list(layer.parameters()))
    for step in range(5):
        layer(torch.ones(2, 4) * step).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return layer.weight.detach()


@pytest.mark.parametrize("name", PAIRS)
def test_it_trains_as_torchs_own_does(name):
    config, plain = PAIRS[name]
    ours = trained(lambda parameters: build_optimizer(config, parameters))
    torch.testing.assert_close(ours, trained(plain), rtol=1e-5, atol=1e-6)


def test_adamw_is_not_adam():
    parameters = [nn.Parameter(torch.ones(1))]
    assert type(build_optimizer(AdamWConfig(), parameters)) is torch.optim.AdamW
    assert type(build_optimizer(AdamConfig(), parameters)) is torch.optim.Adam
