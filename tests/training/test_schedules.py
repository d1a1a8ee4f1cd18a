import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnet_sweep.training.config import (
    ConstantConfig,
    CosineConfig,
    OneCycleConfig,
    SchedulerConfig,
    StepConfig,
)
from resnet_sweep.training.schedules import lr_factor


def factors(config: SchedulerConfig, num_steps: int) -> list[float]:
    return [lr_factor(config, step, num_steps) for step in range(num_steps)]


def torch_factors(scheduler_of, num_steps: int) -> list[float]:
    """The factors of one of torch's schedulers around a learning rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = scheduler_of(optimizer)
    found = []
    for _ in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_constant_is_one_after_a_linear_warmup():
    assert factors(ConstantConfig(), 3) == [1, 1, 1]
    assert factors(ConstantConfig(warmup=0.5), 6) == [0.25, 0.5, 0.75, 1, 1, 1]


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine_equals_torchs(final):
    num_steps = 20
    expected = torch_factors(
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=num_steps - 1, eta_min=final
        ),
        num_steps,
    )
    assert factors(CosineConfig(final_factor=final), num_steps) == pytest.approx(expected)


def test_cosine_ends_at_its_final_factor_after_a_warmup():
    found = factors(CosineConfig(warmup=0.25, final_factor=0.2), 20)
    assert found[:5] == [pytest.approx((i + 1) / 6) for i in range(5)]
    assert found[5] == 1
    assert found[-1] == pytest.approx(0.2)


def test_step_drops_after_each_milestone():
    found = factors(StepConfig(milestones=(0.5, 0.75), gamma=0.1), 8)
    assert found == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(("warmup", "num_steps"), [(0.2, 100), (0.3, 57), (0.5, 10)])
def test_one_cycle_equals_torchs(warmup, num_steps):
    config = OneCycleConfig(warmup=warmup)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=num_steps,
        pct_start=warmup,
        div_factor=1 / config.initial_factor,
        final_div_factor=config.initial_factor / config.final_factor,
        cycle_momentum=False,
    )
    for step in range(num_steps):
        expected = optimizer.param_groups[0]["lr"]
        assert lr_factor(config, step, num_steps) == pytest.approx(expected, abs=1e-12)
        optimizer.step()
        if step < num_steps - 1:
            scheduler.step()


@given(
    num_steps=st.integers(1, 300),
    warmup=st.floats(0, 0.99),
    kind=st.sampled_from([ConstantConfig, CosineConfig, StepConfig, OneCycleConfig]),
)
def test_every_factor_is_from_0_to_1_and_the_peak_is_reached(num_steps, warmup, kind):
    found = factors(kind(warmup=warmup), num_steps)
    assert all(0 <= factor <= 1 for factor in found)
    assert found[0] > 0
    if num_steps > 20 and warmup < 0.4:
        assert max(found) > 0.85
