"""A config of hydra-optuna-sweeper in which only ``_target_`` is changed; see docs/migration.md.

Where both are to do the same, both run. What a sampler draws need not be equal: ours gives each
trial a seed of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from commands import ROOT
from hydra.errors import ConfigCompositionException, OverrideParseException
from hydra_plugins.hydra_optuna_sweeper.config import Direction
from in_process import CONFIG, OURS, STOCK, App
from omegaconf import DictConfig

from resnet_sweep.sweep.ending import SweepFailedError
from resnet_sweep.sweep.sweeper import StudySweeper

THREE = "hydra.sweeper.n_trials=3"
GRID = "hydra/sweeper/sampler=grid"
TESTS = ("test_drop_in.py", "test_launchers.py")


@dataclass
class Ran:
    """What came of a sweep."""

    returned: Any
    seen: list[dict[str, Any]]
    jobs: list[DictConfig]
    results: dict[str, Any]
    folder: Path

    def values(self, key: str) -> list[Any]:
        return [seen[key] for seen in self.seen]


@pytest.fixture(autouse=True)
def _quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., App]:
    monkeypatch.chdir(tmp_path)
    return lambda function=None: App(tmp_path, function or (lambda cfg: float(cfg.y)))


@pytest.fixture
def app(make: Callable[..., App]) -> App:
    return make()


def sweep(app: App, who: tuple[str, ...], *overrides: str, out: str = "") -> Ran:
    name = out or ("stock" if who == STOCK else "ours")
    returned = app.sweep(*who, f"hydra.sweep.dir={name}", *overrides, whitelist=(f"{__name__}.*",))
    path = app.folder / name
    return Ran(returned, list(app.seen), list(app.jobs), app.results(name), path)


def both(app: App, *overrides: str) -> tuple[Ran, Ran]:
    return sweep(app, STOCK, *overrides), sweep(app, OURS, *overrides)


def params_of(app: App, text: str) -> None:
    app.write("config.yaml", f"{CONFIG}hydra:\n  sweeper:\n    params: {text}\n")


# What stays the same.


def test_a_sweep_is_like_stocks(app: App) -> None:
    lines = ("x=interval(0,4)", "y=int(interval(1,9))", "z=5", THREE)
    stock, ours = both(app, *lines)
    assert stock.returned is None
    assert ours.returned is None
    for ran in (stock, ours):
        assert len(ran.seen) == 3
        assert [job.job.num for job in ran.jobs] == [0, 1, 2]
        assert [job.job.id for job in ran.jobs] == ["0", "1", "2"]
        assert [job.runtime.output_dir for job in ran.jobs] == [
            str(ran.folder / str(i)) for i in range(3)
        ]
        assert all((ran.folder / f"{i}/.hydra/overrides.yaml").exists() for i in range(3))
        assert all(isinstance(x, float) and 0 <= x <= 4 for x in ran.values("x"))
        assert all(isinstance(y, int) and 1 <= y <= 9 for y in ran.values("y"))
        assert ran.values("z") == [5, 5, 5]
        # Objective: y.
        assert ran.results["best_params"]["y"] == ran.results["best_value"] == min(ran.values("y"))
    # Sampled or fixed first: the order in which overrides are listed is not stock's.
    for a, b in zip(stock.jobs, ours.jobs, strict=True):
        keys = [sorted(line.partition("=")[0] for line in job.overrides.task) for job in (a, b)]
        assert keys[0] == keys[1] == ["x", "y", "z"]
    assert stock.results.keys() == ours.results.keys() - {"best_number"}
    assert stock.results["best_params"].keys() == ours.results["best_params"].keys()


@pytest.mark.slow
def test_the_config_may_name_our_class(app: App) -> None:
    """And the defaults are stock's: 20 trials, here with values that come twice."""
    target = "_target_: resnet_sweep.sweep.sweeper.StudySweeper"
    app.write(
        "config.yaml",
        f"defaults:\n  - override hydra/sweeper: optuna\n  - _self_\n{CONFIG}"
        f"hydra:\n  sweeper:\n    {target}\n    params: {{x: '1,2'}}\n",
    )
    ours = sweep(app, ())
    assert len(ours.seen) == 20
    assert set(ours.values("x")) == {1, 2}
    assert not any("duplicate_of" in trial.user_attrs for trial in app.trials("ours"))


@pytest.mark.slow
def test_folders_follow_hydras_pattern(make: Callable[..., App]) -> None:
    app = make()
    lines = (
        THREE,
        "x=1,2",
        "hydra.sweep.subdir='${hydra:job.num}/${x}-${hydra:job.override_dirname}'",
    )
    folders = {}
    for who, name in ((STOCK, "stock"), (OURS, "ours")):
        app.sweep(*who, f"hydra.sweep.dir='{name}/${{now:%Y}}/sweep'", *lines)
        (root,) = (app.folder / name).glob("*/sweep")
        assert (root / "optimization_results.yaml").exists()
        for job in app.jobs:
            path = Path(job.runtime.output_dir)
            assert path.is_dir()
            folders.setdefault(name, set()).add(path.relative_to(root).parts[0])
            assert path.name.endswith(f"-x={path.name[0]}")
    assert folders["stock"] == folders["ours"] == {"0", "1", "2"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("direction", "best"), [("minimize", 0.0), ("maximize", 2.0), ("[maximize]", 2.0)]
)
def test_one_direction(app: App, direction: str, best: float) -> None:
    stock, ours = both(app, "y=range(0,3)", GRID, f"hydra.sweeper.direction={direction}")
    assert stock.results["best_value"] == ours.results["best_value"] == best
    assert stock.results["best_params"] == ours.results["best_params"] == {"y": best}


def test_directions_are_texts_or_members_of_stocks_enum() -> None:
    def directions(given: Any) -> list[str]:
        return StudySweeper(None, given, None, None, 20, 2, 0.0, None, None).options.directions

    assert directions("maximize") == ["maximize"]
    assert directions(Direction.maximize) == ["maximize"]
    assert directions([Direction.maximize, "minimize"]) == ["maximize", "minimize"]


def test_several_directions(make: Callable[..., App]) -> None:
    app = make(lambda cfg: (cfg.x, cfg.x + cfg.y))
    lines = ("x=1,2,3", "y=0,1", GRID, "hydra.sweeper.direction=[maximize,minimize]")
    stock, ours = both(app, *lines)

    def front(ran: Ran) -> set[tuple[Any, ...]]:
        return {(*one["params"].values(), *one["values"]) for one in ran.results["solutions"]}

    assert front(stock) == front(ours) == {(1, 0, 1, 1), (2, 0, 2, 2), (3, 0, 3, 3)}
    assert stock.results.keys() == ours.results.keys() == {"name", "solutions"}


@pytest.mark.slow
def test_a_grid_is_the_same_and_n_trials_cuts_it(app: App) -> None:
    lines = ("x=1,2", "y=range(0,1,0.25)", GRID)
    stock, ours = both(app, *lines, "hydra.sweeper.n_trials=99")
    points = [{tuple(seen.values()) for seen in ran.seen} for ran in (stock, ours)]
    assert points[0] == points[1]
    assert len(stock.seen) == len(ours.seen) == 8
    assert len(sweep(app, OURS, *lines, "hydra.sweeper.n_trials=4", out="cut").seen) == 4


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "cmaes", "nsgaii", "nsgaiii", "qmc", "gp", "tpe"])
def test_stocks_samplers(app: App, sampler: str) -> None:
    ours = sweep(
        app,
        OURS,
        "x=interval(0,1)",
        "y=interval(0,1)",
        THREE,
        f"hydra/sweeper/sampler={sampler}",
        "hydra.sweeper.sampler.seed=3",
    )
    assert len(ours.seen) == 3


def hook(config: DictConfig, trial: optuna.Trial) -> None:
    """Suggests more where a choice asks for it."""
    assert config.z == 7
    assert "hydra" in config
    if trial.params["x"] > 1:
        trial.suggest_float("+w", 0.0, 1.0)
    trial.set_user_attr("from_hook", True)


def test_custom_search_space(app: App) -> None:
    path = f"hydra.sweeper.custom_search_space={__name__}.hook"
    lines = ("x=1,2", "z=7", path, "hydra.sweeper.n_trials=7", "hydra.sweeper.sampler.seed=1")
    stock, ours = both(app, *lines)
    for ran in (stock, ours):
        assert any("w" in seen for seen in ran.seen)
        assert all(("w" in seen) == (seen["x"] > 1) for seen in ran.seen)
    for trial in app.trials("ours"):
        assert trial.user_attrs["from_hook"]


@pytest.mark.slow
def test_what_the_space_may_hold(app: App) -> None:
    """Additions, deletions, interpolations, lists: stock and ours see the same values."""
    lines = ("+new=1,2", "x=[1,2],[3]", "y=${new}", "~z", "hydra.sweeper.n_trials=8")
    stock, ours = both(app, *lines)
    for ran in (stock, ours):
        assert all(seen["y"] == seen["new"] and "z" not in seen for seen in ran.seen)
        assert {str(x) for x in ran.values("x")} <= {"[1, 2]", "[3]"}
        assert ran.results["best_params"].keys() == {"+new", "x"}


@pytest.mark.slow
def test_no_space_at_all(app: App) -> None:
    stock, ours = both(app, THREE)
    assert stock.seen == ours.seen
    assert stock.results["best_params"] == ours.results["best_params"] == {}


@pytest.mark.slow
def test_params_take_a_list_and_a_text_as_stock_does(app: App) -> None:
    params_of(app, "{x: [1, 2], z: '1', y: 'range(0,3)'}")
    stock, ours = both(app, GRID)
    assert stock.values("x") == ours.values("x") == [[1, 2]] * 3
    assert stock.values("z") == ours.values("z") == [1] * 3
    params_of(app, "{x: null}")
    for who in (STOCK, OURS):
        with pytest.raises(ConfigCompositionException, match=r"params\.x"):
            sweep(app, who)


def fails(cfg: DictConfig) -> float:
    raise OSError("boom")


def test_a_failure_raises(make: Callable[..., App]) -> None:
    app = make(fails)
    with pytest.raises(OSError, match="boom"):
        sweep(app, STOCK, "x=1,2", THREE)
    with pytest.raises(SweepFailedError, match="boom"):
        sweep(app, OURS, "x=1,2", THREE)
    # No barrier: nobody waits for the rest of a batch.
    assert len(app.seen) == 1


def test_without_a_completed_trial_there_is_no_best(make: Callable[..., App]) -> None:
    app = make(fails)
    rate = "hydra.sweeper.max_failure_rate=1.0"
    with pytest.raises(ValueError, match="No trials are completed"):
        sweep(app, STOCK, "x=1,2", rate, THREE)
    with pytest.raises(SweepFailedError, match="no trial has completed"):
        sweep(app, OURS, "x=1,2", rate, THREE)
    assert len(app.seen) == 3


@pytest.mark.slow
def test_infinity_is_a_value(make: Callable[..., App]) -> None:
    app = make(lambda cfg: cfg.x)
    stock, ours = both(app, "x=1,inf", GRID, "hydra.sweeper.direction=maximize")
    assert stock.results["best_value"] == ours.results["best_value"] == float("inf")


# What differs, in the order of docs/migration.md.


def test_a_study_without_storage_is_a_journal_that_goes_on_to_the_same_total(app: App) -> None:
    sweep(app, OURS, "x=1,2", THREE)
    assert (app.folder / "ours" / "study.journal").exists()
    assert sweep(app, OURS, "x=1,2", THREE).seen == []
    assert len(sweep(app, OURS, "x=1,2", "hydra.sweeper.n_trials=5").seen) == 2
    assert len(app.trials("ours")) == 5


@pytest.mark.slow
def test_a_study_of_stocks_goes_on_with_higher_numbers(app: App) -> None:
    lines = ("x=1,2", THREE, "hydra.sweeper.storage=sqlite:///s.db", "hydra.sweeper.study_name=s")
    _, ours = both(app, *lines)
    # Stock counts its jobs anew in each sweep; here a trial's number is its job's.
    assert [job.job.num for job in ours.jobs] == [3, 4, 5]
    assert len(app.trials("ours")) == 6
    assert sweep(app, OURS, *lines).seen == []
    assert len(sweep(app, STOCK, *lines).seen) == 3


@pytest.mark.slow
def test_a_study_in_a_storage_goes_on_in_its_folder(app: App) -> None:
    lines = ("x=1,2", "hydra.sweeper.storage=sqlite:///s.db", "hydra.sweeper.study_name=s")
    # Another folder each time, as the default pattern has with its seconds.
    where = "hydra.sweep.dir='runs/${now:%f}'"
    app.sweep(*OURS, *lines, where, THREE)
    (home,) = (app.folder / "runs").iterdir()
    app.sweep(*OURS, *lines, where, "hydra.sweeper.n_trials=5")
    assert [job.runtime.output_dir for job in app.jobs] == [str(home / n) for n in ("3", "4")]
    assert list((app.folder / "runs").iterdir()) == [home]
    # A study of another name in the same storage is another one.
    app.sweep(*OURS, *lines[:2], "hydra.sweeper.study_name=t", where, THREE)
    assert len(app.seen) == 3
    assert len(list((app.folder / "runs").iterdir())) == 2
    assert not (app.folder / "claim.lock").exists()


def test_another_space_for_a_study_is_refused(app: App, capsys: Any) -> None:
    sweep(app, OURS, "x=1,2", THREE)
    with pytest.raises(SystemExit):
        sweep(app, OURS, "x=1,3", THREE)
    assert "the study has x=" in capsys.readouterr().err


def test_the_folder_of_another_sweeper_is_refused(app: App, capsys: Any) -> None:
    (app.folder / "ours").mkdir()
    (app.folder / "ours" / "multirun.yaml").touch()
    with pytest.raises(SystemExit) as refused:
        sweep(app, OURS, "x=1,2", THREE)
    assert refused.value.code == 2
    assert "another sweeper" in capsys.readouterr().err


def test_the_failure_rate_is_of_all_trials(make: Callable[..., App]) -> None:
    runs = iter(range(99))

    def first_fails(cfg: DictConfig) -> float:
        if next(runs) == 0:
            raise OSError("boom")
        return 1.0

    app = make(first_fails)
    lines = ("x=1,2", "hydra.sweeper.n_trials=4", "hydra.sweeper.max_failure_rate=0.25")
    assert len(sweep(app, OURS, *lines).seen) == 4
    runs = iter(range(99))
    with pytest.raises(OSError, match="boom"):
        sweep(app, STOCK, *lines)


@pytest.mark.slow
@pytest.mark.parametrize("value", [None, float("nan"), "text", (1.0, 2.0)])
def test_what_is_no_objective_counts_as_failed(make: Callable[..., App], value: Any) -> None:
    app = make()
    app.function = lambda cfg: value if len(app.seen) == 1 else 1.0
    lines = ("x=1,2", "hydra.sweeper.n_trials=2")
    # Stock says so, and goes on.
    assert len(sweep(app, STOCK, *lines).seen) == 2
    with pytest.raises(SweepFailedError, match="returned"):
        sweep(app, OURS, *lines)
    assert len(app.seen) == 1


@pytest.mark.slow
def test_one_seed_gives_the_same_values_again(app: App) -> None:
    lines = ("x=interval(0,1)", THREE, "hydra.sweeper.sampler.seed=1")
    first = sweep(app, OURS, *lines, out="a").values("x")
    assert sweep(app, OURS, *lines, out="b").values("x") == first
    assert sweep(app, STOCK, *lines).values("x") != first


@pytest.mark.slow
def test_a_grid_goes_in_the_order_typed_and_takes_each_value_once(app: App) -> None:
    ours = sweep(app, OURS, "x=3,1,3,2", "y=0,1", GRID)
    found = [(seen["x"], seen["y"]) for seen in ours.seen]
    assert found == [(3, 0), (3, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_quoted_values_stay_what_they_are(app: App) -> None:
    lines = ("x=choice('1','2')", "y=null,1", "z=choice('c,d','e')", GRID)
    app.function = lambda cfg: 0.0
    ours = sweep(app, OURS, *lines)
    assert set(ours.values("x")) == {"1", "2"}
    assert set(ours.values("y")) == {None, 1}
    assert set(ours.values("z")) == {"c,d", "e"}
    # In the results as well: stock writes text.
    assert ours.results["best_params"] == {"x": "1", "y": None, "z": "c,d"}
    with pytest.raises(ConfigCompositionException, match="Ambiguous"):
        sweep(app, STOCK, *lines)


@pytest.mark.slow
def test_the_command_line_wins_over_params(app: App) -> None:
    params_of(app, "{y: 7}")
    stock, ours = both(app, "y=1,2", GRID)
    assert set(stock.values("y")) == {7}
    assert set(ours.values("y")) == {1, 2}


@pytest.mark.slow
def test_a_shuffled_list_has_one_order(app: App) -> None:
    lines = ("y=shuffle(range(0,20))", GRID)
    first = sweep(app, OURS, *lines, out="a").values("y")
    assert first != sorted(first)
    assert sweep(app, OURS, *lines, out="b").values("y") == first


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("x=tag(foo,interval(0,1))",), "unknown tag foo"),
        (("x=tag(log,choice(1,2))",), "tag log, which only an interval"),
        (("x=true,1",), "cannot tell apart"),
        (("x=interval(2,1)",), "must not end below its start"),
        (("x=1,2", "hydra.sweeper.n_trials=0"), "must be at least 1"),
        (("x=1,2", "hydra/sweeper/sampler=motpe"), "no longer part of Optuna"),
        (("x=1,2", "hydra.sweeper.max_failure_rate=1.5"), "must be at most 1"),
        (("x=1,2", "hydra.sweeper.direction=up"), "choose one of: minimize, maximize"),
    ],
)
def test_faults_end_with_2(app: App, lines: tuple[str, ...], words: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as refused:
        sweep(app, OURS, *lines)
    assert refused.value.code == 2
    assert words in capsys.readouterr().err
    assert app.seen == []
    assert not (app.folder / "ours").exists()


def test_a_mapping_in_params_is_refused(app: App, capsys: Any) -> None:
    params_of(app, "{x: {a: 1}}")
    with pytest.raises(OverrideParseException):
        sweep(app, STOCK)
    with pytest.raises(SystemExit):
        sweep(app, OURS)
    assert "hydra.sweeper.params.x" in capsys.readouterr().err


@pytest.mark.slow
def test_one_value_may_be_an_interval(app: App) -> None:
    stock, ours = both(app, "x=interval(2,2)", THREE)
    assert stock.values("x") == ours.values("x") == [2.0] * 3


def test_a_key_that_is_fixed_cannot_be_suggested(app: App) -> None:
    lines = ("x=2,3", "z=7", "+w=0.5", f"hydra.sweeper.custom_search_space={__name__}.hook")
    with pytest.raises(ValueError, match="Overlapping"):
        sweep(app, STOCK, *lines)
    with pytest.raises(SweepFailedError, match=r"w=.*fixed by an override"):
        sweep(app, OURS, *lines)


@pytest.mark.slow
def test_fixed_overrides_are_not_facts_of_a_trial(app: App) -> None:
    sqlite = ("hydra.sweeper.storage=sqlite:///s.db", "hydra.sweeper.study_name")
    lines = ("x=1,2", "z=7", "hydra.sweeper.n_trials=1", sqlite[0])
    stock, ours = (sweep(app, who, *lines, f"{sqlite[1]}={who is OURS}") for who in (STOCK, OURS))
    theirs = optuna.load_study(study_name="False", storage="sqlite:///s.db").trials[0].user_attrs
    facts = app.trials("ours")[0].user_attrs
    assert theirs == {"z": "7"}
    assert "z" not in facts
    assert {"ticket", "worker", "slot", "folder", "seconds"} <= facts.keys()
    for ran in (stock, ours):
        assert "z=7" in (ran.folder / "0" / ".hydra" / "overrides.yaml").read_text()


def test_a_setting_of_ours_makes_it_native() -> None:
    def is_drop_in(**native: Any) -> bool:
        return StudySweeper(
            None, "minimize", None, None, 20, 2, 0.0, None, None, **native
        ).options.is_drop_in

    assert is_drop_in()
    assert not is_drop_in(timeout_s=60.0)


@pytest.mark.slow
def test_what_lies_in_the_folder_of_the_sweep(app: App) -> None:
    stock, ours = both(app, "x=1,2", THREE)
    there = [set(os.listdir(ran.folder)) for ran in (stock, ours)]
    assert there[0] == {"0", "1", "2", "optimization_results.yaml"}
    assert there[1] > there[0]
    assert {"results.csv", "multirun.yaml", "study.journal", "conf"} < there[1]


def test_every_difference_in_the_documentation_has_its_test() -> None:
    page = (ROOT / "docs" / "migration.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    there = "".join((ROOT / "tests" / "sweep" / name).read_text() for name in TESTS)
    assert len(named) > 15
    assert [name for name in sorted(named) if f"def {name}(" not in there] == []
