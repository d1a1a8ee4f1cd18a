"""The sampler of each trial: a contract that all of them keep, and what each refuses."""

from __future__ import annotations

import fcntl
import functools
import multiprocessing
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from resnet_sweep.sweep import groups
from resnet_sweep.sweep.samplers import (
    SamplerFactory,
    check_sampler,
    choose_seed,
    derived_seed,
    is_grid,
)

# Small populations and few random trials at first, so that twelve trials reach the model.
SAMPLERS: dict[str, list[str]] = {
    "study_tpe": ["sampler.n_startup_trials=4"],
    "study_tpe group": ["sampler.n_startup_trials=4", "sampler.group=true"],
    "tpe": ["sampler.n_startup_trials=4"],
    "random": [],
    "cmaes": ["sampler.popsize=4"],
    "cmaes margin": ["sampler.popsize=4", "sampler.with_margin=true"],
    "nsgaii": ["sampler.population_size=4"],
    "nsgaii crossover": [
        "sampler.population_size=4",
        "sampler.crossover={_target_: optuna.samplers.nsgaii.BLXAlphaCrossover, alpha: 0.4}",
        "sampler.mutation={_target_: optuna.samplers.nsgaii.PolynomialMutation}",
    ],
    "nsgaiii": [
        "sampler.population_size=4",
        "sampler.reference_points=[[0.0, 1.0], [1.0, 0.0]]",
    ],
    "qmc": [],
    "qmc scramble": ["sampler.scramble=true"],
    "qmc inner": ["sampler.independent_sampler={_target_: optuna.samplers.TPESampler}"],
}
NUM_TRIALS = 12
WHEN_GP = pytest.param("gp", marks=pytest.mark.slow)


@contextmanager
def composing() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize(config_path=None):
        yield


@functools.cache
def config_of(name: str, *overrides: str) -> Any:
    group = f"+hydra/sweeper/sampler@sampler={name.split()[0]}"
    with composing():
        return compose(overrides=[group, *overrides]).sampler


def factory_of(name: str, seed: int = 3) -> SamplerFactory:
    return SamplerFactory(config_of(name, *SAMPLERS.get(name, [])), seed)


def journal(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def objectives_of(name: str) -> list[str]:
    return ["maximize", "minimize"] if name.startswith("nsgaiii") else ["maximize"]


def suggest(trial: optuna.Trial) -> tuple[float, int, Any]:
    return (
        trial.suggest_float("lr", 1e-5, 1e-1, log=True),
        trial.suggest_int("layers", 1, 40),
        trial.suggest_categorical("optimizer", ["sgd", "adam", None, 0.5]),
    )


def claim(study: optuna.Study, factory: SamplerFactory) -> optuna.Trial:
    """A trial with its sampler in place, as the sweep takes it under its lock."""
    asked = study.ask()
    study.sampler = factory.make(asked.number)
    return optuna.Trial(study, asked._trial_id)


def finish(study: optuna.Study, trial: optuna.Trial) -> tuple[Any, ...]:
    values = suggest(trial)
    results = [values[0] * values[1], values[1] - 20.0][: len(study.directions)]
    study.tell(trial, results)
    return values


def run_one(study: optuna.Study, factory: SamplerFactory) -> tuple[Any, ...]:
    return finish(study, claim(study, factory))


def queued_study(storage: Any, name: str, num: int = NUM_TRIALS) -> optuna.Study:
    study = optuna.create_study(
        storage=storage, study_name="s", directions=objectives_of(name), load_if_exists=True
    )
    for ticket in range(num):
        study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                system_attrs={"fixed_params": {}},
                user_attrs={"ticket": ticket},
            )
        )
    return study


def draw(storage: Any, name: str, factory: SamplerFactory) -> list[tuple[Any, ...]]:
    study = queued_study(storage, name)
    return [run_one(study, factory) for _ in range(NUM_TRIALS)]


@pytest.mark.parametrize("name", [*SAMPLERS, WHEN_GP])
def test_the_same_seed_draws_the_same_values_again_and_after_a_stop(
    name: str, tmp_path: Path
) -> None:
    whole = draw(None, name, factory_of(name))
    # Children of a genetic algorithm inherit values; its first population is random.
    num_different = 4 if name.startswith("nsga") else NUM_TRIALS
    assert len(set(whole[:num_different])) == num_different
    study = queued_study(journal(tmp_path / "a"), name)
    begun = [run_one(study, factory_of(name)) for _ in range(7)]
    again = optuna.load_study(storage=journal(tmp_path / "a"), study_name="s")
    other = pickle.loads(pickle.dumps(factory_of(name)))
    assert begun + [run_one(again, other) for _ in range(5)] == whole


# Unscrambled QMC has one sequence whatever the seed.
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in ("qmc", "qmc inner")])
def test_another_seed_draws_other_values(name: str) -> None:
    one, two = (draw(None, name, factory_of(name, seed)) for seed in (3, 4))
    assert not {values[0] for values in one} & {values[0] for values in two}


def _work(path: Path, name: str, num: int) -> None:
    study = optuna.load_study(storage=journal(path), study_name="s")
    factory = factory_of(name)
    for _ in range(num):
        with open(path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            trial = claim(study, factory)
        finish(study, trial)


@pytest.mark.parametrize("name", ["study_tpe", "random", "cmaes", "nsgaii", "qmc", "qmc scramble"])
def test_two_processes_on_one_journal_draw_different_values(name: str, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    queued_study(journal(path), name)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(path, name, NUM_TRIALS // 2)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    trials = optuna.load_study(storage=journal(path), study_name="s").trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * NUM_TRIALS
    drawn = [trial.params["lr"] for trial in trials][: 4 if name == "nsgaii" else None]
    assert len(set(drawn)) == len(drawn)


def test_conditional_values_differ_from_trial_to_trial_though_qmc_shares_its_seed() -> None:
    factory = factory_of("qmc")
    study = optuna.create_study()
    drawn = []
    for number in range(6):
        trial = study.ask()
        study.sampler = factory.make(trial.number)
        trial.suggest_float("lr", 0.0, 1.0)
        if number:
            # Not in the first trial, so not in the sequence.
            drawn.append(trial.suggest_float("momentum", 0.0, 1.0))
        study.tell(trial, 1.0)
    assert len(set(drawn)) == 5


def test_given_values_are_kept_and_the_others_drawn() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"layers": 7})
    assert run_one(study, factory_of("study_tpe"))[1] == 7


def test_several_objectives_with_tpe() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    factory = factory_of("study_tpe")
    assert len({run_one(study, factory) for _ in range(NUM_TRIALS)}) == NUM_TRIALS


def test_an_inner_sampler_has_a_seed_of_its_own_for_each_trial() -> None:
    config = {
        "_target_": "optuna.samplers.PartialFixedSampler",
        "fixed_params": {"layers": 3},
        "base_sampler": {"_target_": "optuna.samplers.RandomSampler", "seed": 5},
    }
    assert check_sampler(config, 1) == []
    first, second = (
        [run_one(study, SamplerFactory(config, seed)) for _ in range(3)]
        for seed, study in ((1, optuna.create_study()), (2, optuna.create_study()))
    )
    assert first == second, "a seed that is given is kept"
    assert len(set(first)) == 3
    assert {values[1] for values in first} == {3}
    again = pickle.loads(pickle.dumps(SamplerFactory(config, 1)))
    assert run_one(optuna.create_study(), again) == first[0]


def test_the_grid_is_told_apart() -> None:
    factory = factory_of("grid")
    assert factory.is_grid
    assert is_grid(config_of("grid"))
    assert not is_grid(config_of("tpe"))
    assert not is_grid(None)
    assert isinstance(factory.make(0), optuna.samplers.RandomSampler)
    assert check_sampler(config_of("grid"), 2) == []


@pytest.mark.parametrize("name", ["qmc", "qmc scramble"])
def test_qmc_takes_its_point_at_the_claim(name: str) -> None:
    first = optuna.create_study(direction="maximize")
    factory = factory_of(name)
    run_one(first, factory)
    workers = [
        optuna.load_study(storage=first._storage, study_name=first.study_name) for _ in range(3)
    ]
    claimed = [(study, claim(study, factory)) for study in workers]
    assert len({finish(study, trial)[0] for study, trial in claimed}) == 3


def test_a_sampler_that_is_set_after_asking_draws_the_same() -> None:
    for name in SAMPLERS:
        study = optuna.create_study(directions=objectives_of(name))
        drawn = []
        for _ in range(6):
            trial = study.ask()
            study.sampler = factory_of(name).make(trial.number)
            drawn.append(finish(study, trial))
        assert drawn == draw(None, name, factory_of(name))[:6], name


def test_given_values_take_no_point_of_the_sequence() -> None:
    factory = factory_of("qmc")
    study, other = optuna.create_study(), optuna.create_study()
    for one in (study, other):
        run_one(one, factory)
    study.enqueue_trial({"lr": 1e-3, "layers": 7, "optimizer": "sgd"})
    assert run_one(study, factory) == (1e-3, 7, "sgd")
    assert run_one(study, factory) == run_one(other, factory)


def test_names() -> None:
    names = {name: factory_of(name).name for name in ("tpe", "nsgaii", "nsgaiii", "gp")}
    assert names == {
        "tpe": "TPESampler",
        "nsgaii": "NSGAIISampler",
        "nsgaiii": "NSGAIIISampler",
        "gp": "GPSampler",
    }


def test_seeds() -> None:
    assert choose_seed({"seed": 7}) == 7
    fresh = {choose_seed(config_of("study_tpe")) for _ in range(4)}
    assert len(fresh) == 4
    assert all(0 <= seed < 2**32 for seed in fresh)
    # Kept: a study that goes on must draw what it would have drawn.
    assert derived_seed(3, 0) == 271742062
    assert len({derived_seed(3, number) for number in range(1000)}) == 1000


def test_study_tpe_has_optunas_own_defaults() -> None:
    ours = factory_of("study_tpe").make(0)
    ours_again = SamplerFactory(config_of("study_tpe"), 3).make(0)
    theirs = optuna.samplers.TPESampler()
    for name in ("_multivariate", "_group", "_constant_liar", "_n_ei_candidates"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours_again._n_startup_trials == theirs._n_startup_trials


def test_study_tpe_can_be_chosen_for_the_stock_sweeper_too() -> None:
    with composing():
        config = compose(
            overrides=["hydra/sweeper=optuna", "hydra/sweeper/sampler=study_tpe"],
            return_hydra_config=True,
        )
    assert config.hydra.sweeper.sampler.constant_liar


@pytest.mark.parametrize("name", [*SAMPLERS, "gp", "grid"])
def test_nothing_is_wrong_with_what_the_groups_hold(name: str) -> None:
    objectives = len(objectives_of(name))
    assert check_sampler(config_of(name, *SAMPLERS.get(name, [])), objectives) == []


TPE = {"_target_": "optuna.samplers.TPESampler"}
NSGA = {"_target_": "optuna.samplers.NSGAIISampler"}


@pytest.mark.parametrize(
    ("config", "num_objectives", "said"),
    [
        (None, 1, r"^hydra.sweeper.sampler=null: names nothing to build; choose one of: study_tpe"),
        ("tpe", 1, r"^hydra.sweeper.sampler=tpe: .*; type hydra/sweeper/sampler=NAME$"),
        ({"_target_": "os.system"}, 1, r"sampler._target_=os.system: is not among what may be"),
        ({"_target_": "json.loads"}, 1, r"json.loads: .*hydra.main\(execution_whitelist="),
        ({"_target_": "optuna.samplers.Nope"}, 1, r"_target_=optuna.samplers.Nope: cannot be"),
        (
            {**NSGA, "crossover": {"_target_": "json.loads"}},
            1,
            r"^hydra.sweeper.sampler.crossover._target_=json.loads: is not among",
        ),
        ({**TPE, "n_trials": 3}, 1, r"sampler.n_trials=3: is no parameter of it; .*constant_liar"),
        ({**TPE, "seed": "x"}, 1, r"^hydra.sweeper.sampler.seed=x: must be int or null$"),
        ({**TPE, "seed": -1}, 1, r"^hydra.sweeper.sampler.seed=-1: must be at least 0$"),
        ({**TPE, "seed": True}, 1, r"sampler.seed=true: must be int or null"),
        ({**TPE, "n_ei_candidates": 0}, 1, r"n_ei_candidates=0: must be at least 1"),
        ({**TPE, "n_startup_trials": "???"}, 1, r"n_startup_trials=\?\?\?: must be given"),
        ({**TPE, "group": True, "multivariate": False}, 1, r"group.*option can only be enabled"),
        ({**NSGA, "population_size": 1}, 1, r"sampler.population_size=1: .*greater than or equal"),
        ({**NSGA, "crossover": {**TPE}}, 1, r"is not a valid crossover"),
        ({"_target_": "optuna.samplers.CmaEsSampler"}, 2, r"takes one objective, and there are 2"),
        ({"_target_": "optuna.samplers.CmaEsSampler", "popsize": 1}, 1, r"popsize=1: must be at"),
        ({"_target_": "optuna.samplers.BruteForceSampler"}, 1, r"plain lists are a grid"),
        ({"_target_": "optuna.samplers.QMCSampler", "qmc_type": "x"}, 1, r"qmc_type=x: .*halton"),
        (
            {"_target_": "optuna.samplers.nsgaii.UniformCrossover"},
            1,
            r"UniformCrossover: is no BaseSampler",
        ),
    ],
)
def test_what_is_wrong_is_said(config: Any, num_objectives: int, said: str) -> None:
    faults = check_sampler(OmegaConf.create(config) if isinstance(config, dict) else config, 1)
    if num_objectives > 1:
        assert faults == []
        faults = check_sampler(config, num_objectives)
    assert len(faults) == 1
    assert re.search(said, str(faults[0])), str(faults[0])


def test_several_things_wrong_are_said_at_once() -> None:
    faults = check_sampler({**TPE, "n_ei_candidates": 2.5, "group": 1, "popsise": 3}, 1)
    assert [fault.key.rpartition(".")[2] for fault in faults] == [
        "n_ei_candidates",
        "group",
        "popsise",
    ]


def test_motpe_is_gone() -> None:
    (fault,) = check_sampler(config_of("motpe"), 2)
    assert "choose hydra/sweeper/sampler=study_tpe" in str(fault)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_sweep.sweep.samplers.find_spec", lambda name: None)
    (fault,) = check_sampler(config_of("cmaes"), 1)
    assert str(fault).endswith("needs cmaes, not installed; pip install cmaes")


def test_what_is_deprecated_is_said_once() -> None:
    factory = factory_of("cmaes")
    factory = SamplerFactory({**factory._config, "sigma0": 0.2}, 3)
    with pytest.warns(FutureWarning, match="sigma0"):
        factory.make(0)
    factory.make(1)


def test_the_groups_import_nothing_heavy() -> None:
    code = (
        "import sys, resnet_sweep.sweep.groups, resnet_sweep.sweep.samplers;"
        "import resnet_sweep.sweep.pruners;"
        "print(sorted({'optuna', 'torch', 'numpy', 'pandas', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert set(groups.PRUNERS) >= set(groups.WRAPPED_PRUNERS)
