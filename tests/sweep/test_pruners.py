"""Every pruner of the group prunes what it should, and what each refuses."""

from __future__ import annotations

import functools
import inspect
import multiprocessing
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from resnet_sweep.sweep.groups import PRUNERS, WRAPPED_PRUNERS
from resnet_sweep.sweep.pruners import check_pruner, make_pruner

WRAPPED = "hydra/sweeper/pruner/wrapped_pruner@pruner.wrapped_pruner"


@functools.cache
def config_of(name: str, *overrides: str) -> Any:
    GlobalHydra.instance().clear()
    with initialize(config_path=None):
        return compose(overrides=[f"+hydra/sweeper/pruner@pruner={name}", *overrides]).pruner


def journal(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def run_one(study: optuna.Study, values: Sequence[float]) -> int | None:
    """One trial that reports these values at steps 1, 2, ...; returns the step of its end."""
    trial = study.ask()
    for step, value in enumerate(values, start=1):
        trial.report(value, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return step
    study.tell(trial, values[-1])
    return None


GOOD = [0.5, 0.6, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8]
BAD = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("name", "overrides", "pruned_at"),
    [
        ("none", (), None),
        ("median", (), 1),
        ("median", ("pruner.n_warmup_steps=3",), 3),
        ("median", ("pruner.n_startup_trials=6",), None),
        ("percentile", ("pruner.percentile=10.0",), 1),
        ("successive_halving", ("pruner.min_resource=2", "pruner.reduction_factor=2"), 2),
        ("successive_halving", (), 1),
        ("hyperband", ("pruner.min_resource=4", "pruner.max_resource=8"), 4),
        ("threshold", ("pruner.lower=0.2", "pruner.n_warmup_steps=2"), 2),
        ("threshold", ("pruner.upper=0.9",), None),
        # The same value all along is not worse than before.
        ("patient", (), None),
    ],
)
def test_a_bad_trial_is_pruned_where_it_should(
    name: str, overrides: tuple[str, ...], pruned_at: int | None, tmp_path: Path
) -> None:
    config = pickle.loads(pickle.dumps(config_of(name, *overrides)))
    assert check_pruner(config, 1) == []
    study = optuna.create_study(
        storage=journal(tmp_path / "a"), pruner=make_pruner(config), direction="maximize"
    )
    for _ in range(5):
        assert run_one(study, GOOD) is None
    assert run_one(study, BAD) == pruned_at


@pytest.mark.parametrize(
    ("wrapped", "pruned_at"),
    [("median", 5), ("percentile", 5), ("null", 5), ("threshold", None)],
)
def test_the_patient_pruner_asks_the_chosen_one_after_steps_without_a_better_value(
    wrapped: str, pruned_at: int | None
) -> None:
    overrides = [f"{'pruner.wrapped_pruner' if wrapped == 'null' else WRAPPED}={wrapped}"]
    if wrapped == "threshold":
        overrides.append("pruner.wrapped_pruner.upper=1.0")
    config = config_of("patient", *overrides)
    assert check_pruner(config, 1) == []
    study = optuna.create_study(pruner=make_pruner(config), direction="maximize")
    for _ in range(5):
        assert run_one(study, GOOD) is None
    falling = [0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    assert run_one(study, falling) == pruned_at
    assert run_one(study, [0.1 + step / 100 for step in range(8)]) is None


def test_the_patient_pruner_asks_the_median_unless_told_otherwise() -> None:
    assert config_of("patient").wrapped_pruner._target_ == "optuna.pruners.MedianPruner"
    assert set(WRAPPED_PRUNERS) < set(PRUNERS)


@pytest.mark.parametrize("wrapped", ["successive_halving", "hyperband"])
def test_the_patient_pruner_lets_halving_compare_trials_that_have_got_stuck(wrapped: str) -> None:
    overrides = [f"{WRAPPED}={wrapped}"]
    if wrapped == "hyperband":
        overrides += ["pruner.wrapped_pruner.max_resource=2"]
    study = optuna.create_study(
        pruner=make_pruner(config_of("patient", *overrides)), direction="maximize"
    )
    assert run_one(study, GOOD) is None
    assert run_one(study, [0.3] + [0.2] * 7) is None
    assert run_one(study, [0.2] + [0.1] * 7) == 5


HALVING = {
    "successive_halving": ("pruner.min_resource=2", "pruner.reduction_factor=2"),
    "hyperband": ("pruner.min_resource=2", "pruner.max_resource=4", "pruner.reduction_factor=2"),
}


def _work(path: Path, name: str, first: int, gate: Any) -> None:
    pruner = make_pruner(config_of(name, *HALVING[name]))
    study = optuna.load_study(storage=journal(path), study_name="s", pruner=pruner)
    gate.wait(30)
    for value in range(first, 16, 2):
        run_one(study, [value / 16] * 8)


@pytest.mark.parametrize("name", list(HALVING))
def test_two_processes_prune_by_what_both_have_reported(name: str, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    optuna.create_study(storage=journal(path), study_name="s", direction="maximize")
    pruner = make_pruner(config_of(name, *HALVING[name]))
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(2)
    workers = [context.Process(target=_work, args=(path, name, i, gate)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    study = optuna.load_study(storage=journal(path), study_name="s", pruner=pruner)
    states = [trial.state for trial in study.trials]
    assert len(states) == 16
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}
    # A third process that comes later sees what both have reported, in each of two brackets.
    assert {run_one(study, [-1.0] * 8) for _ in range(6)} <= {2, 4}


def test_no_configuration_never_prunes() -> None:
    assert isinstance(make_pruner(None), optuna.pruners.NopPruner)
    assert check_pruner(None, 2) == []


def test_several_objectives_are_no_fault() -> None:
    assert check_pruner(config_of("median"), 2) == []


@pytest.mark.parametrize("name", list(PRUNERS))
def test_defaults_are_optunas_own(name: str) -> None:
    overrides = ("pruner.lower=0.0",) if name == "threshold" else ()
    config = config_of(name, *overrides)
    given = {key: value for key, value in config.items() if key != "_target_"}
    pruner = getattr(optuna.pruners, config._target_.rpartition(".")[2])
    parameters = inspect.signature(pruner).parameters if name != "none" else {}
    assert set(given) == set(parameters)
    for key, parameter in parameters.items():
        if parameter.default is not parameter.empty and key != "lower":
            assert given[key] == parameter.default


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("percentile", {"percentile": 120.0}, r"^hydra.sweeper.pruner.percentile=120.0: .*100"),
        ("median", {"n_startup_trials": -1}, r"pruner.n_startup_trials=-1: .*cannot be negative"),
        ("median", {"n_warmup": 3}, r"pruner.n_warmup=3: is no parameter of it; .*n_warmup_steps"),
        ("median", {"n_warmup_steps": "x"}, r"n_warmup_steps=x: must be int$"),
        ("successive_halving", {"min_resource": 0}, r"min_resource=0: "),
        ("successive_halving", {"min_resource": "8"}, r"min_resource=8: .*'auto'"),
        ("successive_halving", {"bootstrap_count": 2}, r"pruner=SuccessiveHalvingPruner: boot"),
        ("hyperband", {"reduction_factor": 1}, r"pruner.reduction_factor=1: .*>= 2"),
        ("hyperband", {"max_resource": 4, "min_resource": 5}, r"resource"),
        ("hyperband", {"max_resource": "many"}, r"max_resource=many: "),
        ("threshold", {}, r"pruner=ThresholdPruner: Either lower or upper must be specified"),
        ("threshold", {"lower": 2.0, "upper": 1.0}, r"lower should be smaller than upper"),
        ("patient", {"patience": -1}, r"pruner.patience=-1: patience cannot be negative"),
        (
            "patient",
            {"wrapped_pruner": {"_target_": "optuna.pruners.MedianPruner", "interval_steps": 0}},
            r"^hydra.sweeper.pruner.wrapped_pruner.interval_steps=0: .*at least 1",
        ),
        (
            "patient",
            {"wrapped_pruner": {"_target_": "optuna.pruners.HyperbandPruner", "min_resource": 0}},
            r"^hydra.sweeper.pruner.wrapped_pruner.min_resource=0: ",
        ),
        ("none", {"_target_": "json.loads"}, r"pruner._target_=json.loads: is not among .*median"),
        ("none", {"_target_": "???"}, r"names nothing to build; choose one of: none, median"),
    ],
)
def test_what_is_wrong_is_said(name: str, changes: dict[str, Any], said: str) -> None:
    config = OmegaConf.to_container(config_of(name))
    assert isinstance(config, dict)
    faults = check_pruner({**config, **changes}, 1)
    assert len(faults) == 1, faults
    assert re.search(said, str(faults[0])), str(faults[0])
    assert check_pruner({**config, **changes}, 2) == faults
