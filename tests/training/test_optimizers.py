import pytest
import torch
from torch import nn

from resnet_sweep.training.config import AdamConfig, AdamWConfig, RmspropConfig, SgdConfig
from resnet_sweep.training.optimizers import Adam, build_optimizer

ADAM = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3}
# Ours beside what a user of torch would write with the same numbers.
PAIRS = {
    "sgd": (SgdConfig(lr=0.1, momentum=0.0), torch.optim.SGD, {"lr": 0.1}),
    "momentum": (
        SgdConfig(lr=0.1, momentum=0.8, weight_decay=0.01),
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.01},
    ),
    "nesterov": (
        SgdConfig(lr=0.1, momentum=0.8, nesterov=True),
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.8, "nesterov": True},
    ),
    "adam": (
        AdamConfig(**ADAM, weight_decay=0.01),
        torch.optim.Adam,
        ADAM | {"weight_decay": 0.01},
    ),
    "adamw": (
        AdamWConfig(**ADAM, weight_decay=0.1),
        torch.optim.AdamW,
        ADAM | {"weight_decay": 0.1},
    ),
    "rmsprop": (
        RmspropConfig(lr=0.1, alpha=0.9, eps=1e-3, weight_decay=0.01),
        torch.optim.RMSprop,
        {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.01},
    ),
    "rmsprop with momentum": (
        RmspropConfig(lr=0.1, momentum=0.5, alpha=0.9, eps=1e-3),
        torch.optim.RMSprop,
        {"lr": 0.1, "momentum": 0.5, "alpha": 0.9, "eps": 1e-3},
    ),
}
every = pytest.mark.parametrize("name", PAIRS)


def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def train(network, optimizer, first=0, last=5):
    for step in range(first, last):
        network(torch.ones(2, 4) * (step + 1)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return network.weight.detach().clone()


def torchs(name, **more):
    network = layer()
    _, kind, settings = PAIRS[name]
    return train(network, kind(network.parameters(), **settings, **more))


@every
def test_it_trains_as_torchs_own_does_to_the_last_bit(name):
    network = layer()
    ours = train(network, build_optimizer(PAIRS[name][0], network.parameters()))
    kernel = {"foreach": True} if name.startswith("rmsprop") else {"fused": True}
    assert torch.equal(ours, torchs(name, **kernel))


@every
@pytest.mark.parametrize("captured", [False, True])
def test_without_the_fused_kernel_it_is_the_same_formula(name, captured):
    network = layer()
    optimizer = build_optimizer(
        PAIRS[name][0], network.parameters(), fused=False, captured=captured
    )
    torch.testing.assert_close(
        train(network, optimizer), torchs(name, foreach=False), rtol=1e-5, atol=1e-6
    )


@every
def test_a_reset_optimizer_trains_as_a_new_one_in_the_same_memory(name):
    network = layer()
    optimizer = build_optimizer(PAIRS[name][0], network.parameters())
    before = [
        tensor.data_ptr() for tensors in optimizer.state_dict().values() for tensor in tensors
    ]
    expected = train(network, optimizer)
    network.load_state_dict(layer().state_dict())
    optimizer.reset()
    assert torch.equal(train(network, optimizer), expected)
    after = [tensor.data_ptr() for tensors in optimizer.state_dict().values() for tensor in tensors]
    assert before == after


@every
def test_it_goes_on_from_its_state(name):
    config = PAIRS[name][0]
    network = layer()
    expected = train(network, build_optimizer(config, network.parameters()))
    network = layer()
    optimizer = build_optimizer(config, network.parameters())
    train(network, optimizer, last=2)
    other = nn.Linear(4, 3)
    other.load_state_dict(network.state_dict())
    restored = build_optimizer(config, other.parameters())
    restored.load_state_dict(optimizer.state_dict())
    assert torch.equal(train(other, restored, first=2), expected)


def test_the_state_of_another_network_or_optimizer_is_refused():
    optimizer = build_optimizer(SgdConfig(), layer().parameters())
    other = build_optimizer(SgdConfig(), nn.Linear(4, 5).parameters())
    adam = build_optimizer(AdamConfig(), layer().parameters())
    for state in (other.state_dict(), adam.state_dict()):
        with pytest.raises(ValueError, match="of another optimizer or network"):
            optimizer.load_state_dict(state)


@pytest.mark.parametrize("captured", [False, True])
def test_the_learning_rate_is_that_of_the_step(captured):
    network = layer()
    before = network.weight.detach().clone()
    config = SgdConfig(lr=1.0, momentum=0.0)
    optimizer = build_optimizer(config, network.parameters(), captured=captured)
    moved = []
    for lr in (0.5, 0.25):
        network.weight.grad = torch.ones_like(network.weight)
        optimizer.set_lr(lr)
        optimizer.step()
        moved.append((before - network.weight).mean().item())
    assert moved == pytest.approx([0.5, 0.75], rel=1e-5)


def test_a_parameter_without_a_gradient_is_left_alone():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = build_optimizer(AdamConfig(lr=0.1, weight_decay=0.5), [used, unused])
    used.square().sum().backward()
    optimizer.step()
    assert torch.equal(unused, torch.ones(2))
    assert (used < 1).all()


def test_adamw_is_not_adam():
    parameters = [nn.Parameter(torch.ones(1))]
    kinds = [build_optimizer(config, parameters) for config in (AdamWConfig(), AdamConfig())]
    assert [kind.decoupled for kind in kinds if isinstance(kind, Adam)] == [True, False]


def test_parameters_of_two_dtypes_have_no_fused_kernel():
    parameters = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, dtype=torch.float64))]
    optimizer = build_optimizer(SgdConfig(lr=0.1), parameters)
    assert not optimizer.fused
    for parameter in parameters:
        parameter.square().sum().backward()
    optimizer.step()
    assert all(torch.allclose(p.double(), torch.full((2,), 0.8).double()) for p in parameters)
