"""What a sweep is going to run, from its settings and its command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.sweep.compose import Composer
from resnet_sweep.sweep.conditions import lookup_in
from resnet_sweep.sweep.config import Options
from resnet_sweep.sweep.plan import Plan, check_plan, make_plan, stand_ins
from resnet_sweep.sweep.task import FunctionTask

OPTIONS = Options(
    sampler={"_target_": "optuna.samplers.RandomSampler"},
    direction="minimize",
    storage=None,
    study_name=None,
    n_trials=None,
    n_jobs=None,
    max_failure_rate=1.0,
    custom_search_space=None,
    params={},
)
GRID = {"_target_": "optuna.samplers.GridSampler"}


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[ConfigLoader]:
    (tmp_path / "config.yaml").write_text("x: 0\ny: 0\nkind: a\n")
    with initialize_config_dir(str(tmp_path)):
        yield GlobalHydra.instance().config_loader()


def master() -> DictConfig:
    return compose("config", return_hydra_config=True)


def planned(loader: ConfigLoader, *arguments: str, **options: Any) -> Plan:
    return make_plan(
        replace(OPTIONS, **options), arguments, loader, Path("/nonexistent"), lookup_in(master())
    )


def test_a_grid_is_planned_in_order(loader: ConfigLoader) -> None:
    plan = planned(loader, "x=2,1", "y=0,1")
    assert plan.planned == (
        {"x": 2, "y": 0}, {"x": 2, "y": 1}, {"x": 1, "y": 0}, {"x": 1, "y": 1},
    )  # fmt: skip
    assert (plan.num_tickets, plan.num_drawn, plan.only_planned) == (4, 0, frozenset())


def test_a_hook_that_draws_everything_needs_a_number_of_trials(loader: ConfigLoader) -> None:
    with pytest.raises(ConfigError, match="n_trials=null: must say how many"):
        planned(loader, "x=2", custom_search_space="app.extend")
    assert planned(loader, "x=2,1", custom_search_space="app.extend").num_tickets == 2
    assert planned(loader, "x=2", custom_search_space="app.extend", n_trials=3).num_tickets == 3


def test_no_dimension_is_one_point(loader: ConfigLoader) -> None:
    assert planned(loader, "x=2").planned == ({},)


def test_a_number_of_trials_is_drawn(loader: ConfigLoader) -> None:
    plan = planned(loader, "x=interval(0,1)", "y=1,2", n_trials=7)
    assert (plan.planned, plan.num_tickets, plan.num_drawn) == ((), 7, 7)


def test_the_grid_sampler_takes_the_first_so_many_points(loader: ConfigLoader) -> None:
    plan = planned(loader, "x=1,2,3", "y=1,2", n_trials=4, sampler=GRID)
    assert (len(plan.planned), plan.num_tickets) == (4, 4)
    assert planned(loader, "x=1,2", n_trials=9, sampler=GRID).num_tickets == 2


@pytest.mark.parametrize(
    ("sampler", "words"),
    [(OPTIONS.sampler, "hydra.sweeper.n_trials=20"), (GRID, "the grid sampler needs lists")],
)
def test_intervals_are_no_lists(loader: ConfigLoader, sampler: Any, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        planned(loader, "x=interval(0,1)", "y=int(interval(1,9))", sampler=sampler)
    assert [fault.key for fault in refused.value.faults] == ["x", "y"]
    assert words in str(refused.value)


def test_one_value_of_an_interval_is_a_list(loader: ConfigLoader) -> None:
    assert planned(loader, "x=interval(3,3)", "y=1,2").planned == (
        {"x": 3.0, "y": 1}, {"x": 3.0, "y": 2},
    )  # fmt: skip


def test_explicit_trials_times_lists(loader: ConfigLoader) -> None:
    plan = planned(loader, "y=1,2", trials=[{"x": 5}, {"x": 6, "y": 2}])
    assert plan.planned == ({"x": 5, "y": 1}, {"x": 5, "y": 2}, {"x": 6, "y": 2})
    assert plan.only_planned == {"x"}
    # x is a dimension of the study, and no other trial's.
    assert [one.key for one in plan.space.dimensions] == ["x", "y"]
    assert [one.key for one in plan.space_of(None).dimensions] == ["y"]


def test_explicit_trials_count_in_the_number(loader: ConfigLoader) -> None:
    trials = [{"x": 5}, {"x": 6}]
    plan = planned(loader, "y=interval(0,1)", trials=trials, n_trials=5)
    assert (plan.planned, plan.num_drawn) == (({"x": 5}, {"x": 6}), 3)
    assert planned(loader, "y=1,2", trials=trials, n_trials=3).num_drawn == 0
    with pytest.raises(ConfigError, match="more than the 2 explicit trials"):
        planned(loader, trials=trials, n_trials=3)
    with pytest.raises(ConfigError, match="somebody must say how many"):
        planned(loader, "y=interval(0,1)", trials=trials)


def test_explicit_trials_and_the_command_line_must_agree(loader: ConfigLoader) -> None:
    with pytest.raises(ConfigError) as refused:
        planned(loader, "x=1,2", "y=7", trials=[{"x": 3}, {"y": 7}])
    keys = [fault.key for fault in refused.value.faults]
    assert keys == ["hydra.sweeper.trials[0].x", "hydra.sweeper.trials[1].y"]


def test_conditions_hold_for_what_is_chosen(loader: ConfigLoader) -> None:
    params = {"y": {"space": [5, 6], "when": "kind=b"}}
    plan = planned(loader, "kind=a,b", params=params)
    assert plan.planned == ({"kind": "a"}, {"kind": "b", "y": 5}, {"kind": "b", "y": 6})
    lookup = lookup_in(master())
    assert plan.chosen({"kind": "a", "y": 5}, lookup) == {"kind": "a"}


def test_stand_ins_are_each_end_and_every_choice_once(loader: ConfigLoader) -> None:
    plan = planned(loader, "x=interval(0,1)", "y=1,2,3", n_trials=9)
    assert list(stand_ins(plan)) == [
        {"x": 0.0, "y": 1}, {"x": 1.0, "y": 1}, {"x": 0.0, "y": 2}, {"x": 0.0, "y": 3},
    ]  # fmt: skip
    explicit = planned(loader, "x=interval(0,1)", trials=[{"y": 4}], n_trials=2)
    assert list(stand_ins(explicit)) == [{"y": 4}, {"x": 0.0}, {"x": 1.0}]


class Strict(FunctionTask):
    """Refuses some values, and the same thing each time."""

    def check(self, cfg: DictConfig) -> list[Fault]:
        assert "hydra" not in cfg
        bad: Mapping[str, Any] = {key: cfg[key] for key in ("x", "y") if cfg[key] > 1}
        return [Fault(key, value, "must be at most 1") for key, value in bad.items()]


def test_every_trial_is_checked_and_each_fault_told_once(loader: ConfigLoader) -> None:
    config = master()
    composer = Composer(loader, config)
    task = Strict(lambda cfg: 0)
    plan = planned(loader, "x=0,1", "y=0,1")
    check_plan(plan, composer, task, lookup_in(config))
    plan = planned(loader, "x=0,2,3", "y=0,5")
    with pytest.raises(ConfigError) as refused:
        check_plan(plan, composer, task, lookup_in(config))
    assert sorted(map(str, refused.value.faults)) == [
        "x=2: must be at most 1", "x=3: must be at most 1", "y=5: must be at most 1",
    ]  # fmt: skip
    plan = planned(loader, "y=interval(0,2)", n_trials=3)
    with pytest.raises(ConfigError, match="y=2"):
        check_plan(plan, composer, task, lookup_in(config))
    with pytest.raises(ConfigError, match=r"\(2 faults\)[^$]*nope=2: is no setting"):
        check_plan(planned(loader, "nope=1,2"), composer, task, lookup_in(config))
