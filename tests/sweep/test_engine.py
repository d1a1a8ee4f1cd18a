"""Sweeps of an application that is not ours, natively and in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import optuna
import pytest
from in_process import CONFIG, NATIVE, App
from omegaconf import DictConfig
from optuna.trial import TrialState

from resnet_sweep.faults import Fault
from resnet_sweep.report.__main__ import main
from resnet_sweep.report.results import load_results
from resnet_sweep.sweep import current_trial
from resnet_sweep.sweep.task import FunctionTask

DIR = "hydra.sweep.dir=out"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., App]:
    monkeypatch.chdir(tmp_path)
    return lambda function=None: App(tmp_path, function or (lambda cfg: float(cfg.x)))


@pytest.fixture
def app(make: Callable[..., App]) -> App:
    return make()


def sweep(app: App, *overrides: str) -> int:
    """Runs a sweep and returns its exit code."""
    try:
        returned = app.sweep(*NATIVE, DIR, *overrides, whitelist=(f"{__name__}.*",))
    except SystemExit as left:
        return int(str(left.code))
    assert returned is None
    return 0


def refused(app: App, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """What a sweep that is refused says; nothing may have been started or left behind."""
    there = sorted(path.name for path in app.folder.iterdir())
    assert sweep(app, *overrides) == 2
    assert app.seen == []
    assert sorted(path.name for path in app.folder.iterdir()) == there
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def points(app: App, *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(seen[key] for key in keys) for seen in app.seen]


# Budgets and spaces.


def test_lists_are_a_grid_each_point_once(app: App) -> None:
    assert sweep(app, "x=2,1,2", "y=range(0,3)", "z=a") == 0
    assert points(app, "x", "y", "z") == [(x, y, "a") for x in (2, 1) for y in range(3)]
    assert [job.job.num for job in app.jobs] == list(range(6))
    table = load_results(app.folder / "out")
    assert table.sort_values("number")[["x", "y"]].to_numpy().tolist() == [
        [x, y] for x in (2, 1) for y in range(3)
    ]
    # All done: nothing is left to do for the same command.
    assert sweep(app, "x=2,1,2", "y=range(0,3)", "z=a") == 0
    assert app.seen == []


def test_an_interval_needs_a_number_of_trials(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(app, capsys, "x=interval(0,1)", "y=int(interval(1,3))", "z=1,2")
    assert "x=0.0 to 1.0" in said
    assert "y=1 to 3" in said
    assert "hydra.sweeper.n_trials=20" in said
    assert sweep(app, "x=interval(0,1)", "z=1,2", "hydra.sweeper.n_trials=3") == 0
    assert len(app.seen) == 3


def test_a_space_that_is_used_up_ends_the_sweep_and_duplicates_are_not_run(app: App) -> None:
    assert sweep(app, "x=1,2", "y=0,1", "hydra.sweeper.n_trials=40") == 0
    assert sorted(points(app, "x", "y")) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    reused = [t for t in app.trials() if "duplicate_of" in t.user_attrs]
    values = {t.number: t.values for t in app.trials()}
    assert all(t.values == values[t.user_attrs["duplicate_of"]] for t in reused)
    # Each number was given once, to a trial that ran or to one that did not.
    numbers = {job.job.num for job in app.jobs} | {t.number for t in reused}
    assert numbers == set(values)


@pytest.mark.slow
def test_no_space_is_one_trial(app: App) -> None:
    assert sweep(app, "y=3") == 0
    assert points(app, "y") == [(3,)]


def test_a_condition_leaves_a_key_as_the_configuration_has_it(app: App) -> None:
    app.write(
        "config.yaml",
        CONFIG
        + "hydra:\n  sweeper:\n    params:\n      x: choice(a,b,c)\n"
        + "      y: {space: [5, 6], when: x=a}\n      z: {space: 'range(0,2)', when: 'x=[a,b]'}\n",
    )
    app.function = lambda cfg: 0.0
    assert sweep(app) == 0
    assert points(app, "x", "y", "z") == [
        ("a", 5, 0), ("a", 5, 1), ("a", 6, 0), ("a", 6, 1),
        ("b", 0, 0), ("b", 0, 1), ("c", 0, None),
    ]  # fmt: skip
    assert app.trials()[-1].params == {"x": "c"}


# Explicit trials.


@pytest.mark.slow
def test_explicit_trials_are_the_whole_plan_or_run_first(app: App) -> None:
    trials = "hydra.sweeper.trials=[{x:7,y:1},{x:8}]"
    assert sweep(app, trials) == 0
    assert points(app, "x", "y") == [(7, 1), (8, 0)]
    assert sweep(app, trials, "z=p,q", "hydra.sweep.dir=lists") == 0
    assert points(app, "x", "y", "z") == [
        (7, 1, "p"), (7, 1, "q"), (8, 0, "p"), (8, 0, "q"),
    ]  # fmt: skip
    lines = (trials, "x=interval(0,10)", "hydra.sweeper.n_trials=4", "hydra.sweep.dir=drawn")
    assert sweep(app, *lines) == 0
    assert points(app, "x")[:2] == [(7,), (8,)]
    assert len(app.seen) == 4


@pytest.mark.slow
def test_explicit_trials_of_files_and_of_an_earlier_study(app: App) -> None:
    (app.folder / "t.yaml").write_text("- {x: 1.5, z: '1'}\n- {x: 2}\n")
    (app.folder / "t.csv").write_text("x,z\n4,a b\n3,\n")
    assert sweep(app, "hydra.sweeper.trials=t.yaml") == 0
    assert points(app, "x", "z") == [(1.5, "1"), (2, None)]
    assert sweep(app, "hydra.sweeper.trials=t.csv", "hydra.sweep.dir=csv") == 0
    assert points(app, "x", "z") == [(4, "a b"), (3, None)]
    best = "hydra.sweeper.trials={study:csv,best:1}"
    assert sweep(app, best, "y=5,6", "hydra.sweep.dir=best") == 0
    assert points(app, "x", "y") == [(3, 5), (3, 6)]


# What the task sees and says.


def test_reports_prune_and_facts_are_kept(make: Callable[..., App]) -> None:
    def task(cfg: DictConfig) -> float:
        trial = current_trial()
        trial.set_user_attr("half", cfg.x / 2)
        for step in (1, 2):
            trial.report(cfg.x, step)
        return float(cfg.x)

    app = make(task)
    lines = (
        "x=range(0,8)",
        "hydra/sweeper/pruner=median",
        "hydra.sweeper.pruner.n_startup_trials=2",
    )
    assert sweep(app, *lines) == 0
    trials = app.trials()
    assert [t.state for t in trials[:2]] == [TrialState.COMPLETE] * 2
    assert [t.state for t in trials[2:]] == [TrialState.PRUNED] * 6
    assert [t.user_attrs["half"] for t in trials] == [x / 2 for x in range(8)]
    assert len(app.seen) == 8
    # Outside a sweep the same task does the same, and nobody listens.
    assert task(DictConfig({"x": 3})) == 3.0


@pytest.mark.slow
def test_a_task_cannot_overwrite_what_the_sweep_keeps(make: Callable[..., App]) -> None:
    def task(cfg: DictConfig) -> float:
        current_trial().set_user_attr("ticket", 77)
        return 0.0

    app = make(task)
    assert sweep(app, "x=1,2") == 4
    assert "choose another name" in app.trials()[0].user_attrs["error"]
    assert [trial.user_attrs["ticket"] for trial in app.trials()] == [0, 1]


@pytest.mark.slow
def test_several_objectives_are_never_pruned(make: Callable[..., App]) -> None:
    def task(cfg: DictConfig) -> tuple[float, float]:
        current_trial().report(cfg.x, 1)
        return cfg.x, (cfg.x - 2) ** 2 + cfg.y

    app = make(task)
    # Optuna itself would refuse the reports.
    assert sweep(app, "x=1,2,3", "y=0,1", "hydra.sweeper.direction=[minimize,minimize]") == 0
    front = app.results()["solutions"]
    assert [(one["params"], one["values"]) for one in front] == [
        ({"x": 1, "y": 0}, [1.0, 1.0]),
        ({"x": 2, "y": 0}, [2.0, 0.0]),
    ]
    assert all(t.state == TrialState.COMPLETE for t in app.trials())


def test_repeats_are_one_trial_with_several_seeds(make: Callable[..., App]) -> None:
    app = make(lambda cfg: float(cfg.x * 10 + cfg.y))
    lines = ("x=1,2", "y=100", "hydra.sweeper.repeats=3", "hydra.sweeper.seed_key=y")
    assert sweep(app, *lines) == 0
    assert points(app, "x", "y") == [(x, y) for x in (1, 2) for y in (100, 101, 102)]
    assert [t.values for t in app.trials()] == [[111.0], [121.0]]
    assert app.trials()[0].user_attrs["repeat_values"] == [110.0, 111.0, 112.0]
    names = [Path(job.runtime.output_dir).relative_to(app.folder / "out") for job in app.jobs]
    assert [str(name) for name in names] == [f"{n}/{r}" for n in (0, 1) for r in range(3)]


@pytest.mark.slow
def test_what_a_trial_is_called(app: App) -> None:
    app.write("config.yaml", CONFIG + "hydra:\n  job:\n    env_set: {SWEEP_X: '${x}'}\n")
    import os

    environment: list[str | None] = []

    def task(cfg: DictConfig) -> float:
        environment.append(os.environ.get("SWEEP_X"))
        return 0.0

    app.function = task
    assert sweep(app, "x=1,2", "+w=3", "~z", "hydra.sweep.subdir='${x}/${hydra:job.id}'") == 0
    assert environment == ["1", "2"]
    assert [sorted(job.overrides.task) for job in app.jobs] == [
        ["+w=3", f"x={x}", "~z"] for x in (1, 2)
    ]
    folders = [Path(job.runtime.output_dir).relative_to(app.folder) for job in app.jobs]
    assert [str(folder) for folder in folders] == ["out/1/0", "out/2/1"]
    assert [t.user_attrs["folder"] for t in app.trials()] == ["1/0", "2/1"]
    assert all("z" not in seen for seen in app.seen)


# Failures and exit codes.


def test_failures_cost_one_trial_each(make: Callable[..., App]) -> None:
    def task(cfg: DictConfig) -> Any:
        if cfg.x == 1:
            raise MemoryError("too much")
        if cfg.x == 2:
            raise KeyError("no such thing")
        return {3: float("inf"), 4: None}.get(cfg.x, 0.5)

    app = make(task)
    assert sweep(app, "x=range(1,6)") == 3
    failures = [(t.user_attrs.get("failure"), t.state.name) for t in app.trials()]
    assert failures == [
        ("out_of_memory", "FAIL"), ("exception", "FAIL"), ("bad_value", "FAIL"),
        ("bad_value", "FAIL"), (None, "COMPLETE"),
    ]  # fmt: skip
    assert "KeyError: 'no such thing'" in app.trials()[1].user_attrs["error"]
    assert "in task" in app.trials()[1].user_attrs["traceback"]
    # The same command has nothing left to do, and says again how it ended.
    assert sweep(app, "x=range(1,6)") == 3
    assert app.seen == []


@pytest.mark.slow
def test_nothing_completed_is_4(make: Callable[..., App]) -> None:
    app = make(lambda cfg: None)
    assert sweep(app, "x=1,2") == 4
    assert app.results() == {"name": "optuna"}


@pytest.mark.slow
def test_a_failure_rate_stops_the_sweep(
    make: Callable[..., App], capsys: pytest.CaptureFixture[str]
) -> None:
    app = make(lambda cfg: None)
    lines = ("hydra.sweeper.max_failure_rate=0.25", "hydra.sweeper.retry.bad_value=1")
    assert sweep(app, "x=range(0,8)", *lines) == 4
    assert len(app.seen) == 6
    # Attempts are not trials, and the same command would stop at once.
    said = "".join(capsys.readouterr())
    assert "3 of 8 trials failed, more than" in said
    assert "5 trials are left; to go on, type a larger rate" in said
    assert "to go on: " not in said


@pytest.mark.slow
def test_trials_that_no_worker_takes_have_not_ended(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "x=interval(0,1)"
    assert sweep(app, line, "hydra.sweeper.n_trials=1") == 0
    monkeypatch.setattr("resnet_sweep.sweep.running._launch", lambda sweep, spec, count: None)
    assert sweep(app, line, "hydra.sweeper.n_trials=2") == 3


@pytest.mark.slow
def test_what_is_tried_again(make: Callable[..., App]) -> None:
    app = make()
    app.function = lambda cfg: 1.0 if len(app.seen) != 1 else 1 / 0
    assert sweep(app, "x=5,6", "hydra.sweeper.retry.exception=1") == 0
    assert points(app, "x") == [(5,), (5,), (6,)]
    assert [t.user_attrs.get("retry_of") for t in app.trials()] == [None, 0, None]
    assert [job.runtime.output_dir for job in app.jobs] == [
        str(app.folder / "out" / str(i)) for i in range(3)
    ]


# Going on, and what is refused.


def test_a_sweep_goes_on_where_it_stopped(make: Callable[..., App]) -> None:
    app = make()

    def task(cfg: DictConfig) -> float:
        if cfg.x == 2 and len(app.seen) == 3:
            raise KeyboardInterrupt
        return float(cfg.x)

    app.function = task
    assert sweep(app, "x=range(0,4)") == 130
    assert points(app, "x") == [(0,), (1,), (2,)]
    assert sweep(app, "x=range(0,4)") == 0
    assert points(app, "x") == [(2,), (3,)]
    states = [(t.state.name, t.user_attrs.get("failure")) for t in app.trials()]
    assert states[2] == ("FAIL", "interrupted")
    assert app.trials()[3].user_attrs["retry_of"] == 2
    assert sorted(load_results(app.folder / "out")["state"]) == ["COMPLETE"] * 4


@pytest.mark.slow
def test_the_same_command_finds_its_study_by_its_name(app: App) -> None:
    def run(*lines: str) -> None:
        app.sweep(*NATIVE, *lines)

    app.function = lambda cfg: 1 / 0 if len(app.seen) == 2 and app.jobs[0].job.num == 0 else 0.0
    with pytest.raises(SystemExit):
        run("x=1,2,3", "hydra.sweeper.max_failure_rate=0.1")
    (first,) = (app.folder / "multirun").iterdir()
    run("x=1,2,3", "hydra.sweeper.retry.exception=1")
    assert [folder.name for folder in (app.folder / "multirun").iterdir()] == [first.name]
    assert points(app, "x") == [(2,), (3,)]
    # It is done: the next one is a new study, as is that of another command.
    app.function = lambda cfg: 0.0
    run("x=1,2,3")
    assert len(app.seen) == 3
    run("x=1,2")
    assert len(list((app.folder / "multirun").iterdir())) == 3


@pytest.mark.slow
def test_a_larger_number_takes_more_of_the_explicit_trials(app: App) -> None:
    lines = ("hydra.sweeper.trials=[{x:1},{x:2},{x:3}]", "y=interval(0,1)")
    assert sweep(app, *lines, "hydra.sweeper.n_trials=2") == 0
    assert points(app, "x") == [(1,), (2,)]
    assert sweep(app, *lines, "hydra.sweeper.n_trials=4") == 0
    assert points(app, "x")[0] == (3,)
    assert len(app.seen) == 2


@pytest.mark.slow
def test_more_trials_extend_a_study(app: App) -> None:
    lines = ("x=interval(0,1)", "hydra.sweeper.sampler.seed=5")
    assert sweep(app, *lines, "hydra.sweeper.n_trials=2") == 0
    before = points(app, "x")
    assert sweep(app, *lines, "hydra.sweeper.n_trials=4") == 0
    assert len(app.seen) == 2
    after = points(app, "x")
    assert sweep(app, *lines, "hydra.sweeper.n_trials=4", "hydra.sweep.dir=whole") == 0
    assert points(app, "x") == before + after


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "above"),
    [
        ("${oc.env:SWEEPS}/mine/${now:%Y}", "elsewhere/mine"),
        ("there/${hydra.job.name}/at-${now:%Y}/${now:%d}", "there/app"),
        ("${oc.env:NOWHERE,'c/d'}/${now:%Y}", "c/d"),
        ("${now:%Y}", "."),
    ],
)
def test_a_study_lies_where_the_folders_of_the_time_would(
    app: App, monkeypatch: pytest.MonkeyPatch, pattern: str, above: str
) -> None:
    monkeypatch.setenv("SWEEPS", str(app.folder / "elsewhere"))
    app.sweep(*NATIVE, f"hydra.sweep.dir={pattern}", "x=1,2")
    (found,) = (app.folder / above).glob("*-*-*_*-*-*-*")
    assert (found / "results.csv").is_file()


def test_a_sweep_ends_in_a_report_that_says_so(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(app, "x=1,2") == 0
    names = ["results.csv", "history.csv", "report.html", "best.yaml"]
    said = capsys.readouterr().out.splitlines()
    assert [Path(line).name for line in said if line.startswith("out/")] == names
    page = (app.folder / "out" / "report.html").read_text()
    assert "2 completed" in page
    assert "still going on" not in page


def test_a_page_that_cannot_be_made_costs_nothing_else(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nobody can replace a folder by a file.
    (app.folder / "out" / "report.html").mkdir(parents=True)
    assert sweep(app, "x=1,2", "hydra.sweeper.resume=never") == 0
    assert (app.folder / "out" / "results.csv").is_file()
    said = capsys.readouterr().out
    assert "out/report.html" not in said.splitlines()
    assert "could not be made" in said


def test_a_report_in_between_does_not_make_a_killed_sweep_a_finished_one(app: App) -> None:
    pattern = f"hydra.sweep.dir={app.folder}/out/${{now:%Y-%m-%d_%H-%M-%S}}"
    app.sweep(*NATIVE, pattern, "x=1,2")
    (folder,) = (app.folder / "out").iterdir()
    # As if it had been killed after its last trial.
    (folder / "optimization_results.yaml").unlink()
    load_results(folder)
    assert main([str(folder)]) == 0
    app.sweep(*NATIVE, pattern, "x=1,2")
    assert app.seen == []
    assert list((app.folder / "out").iterdir()) == [folder]
    assert (folder / "optimization_results.yaml").is_file()


def test_another_sweep_of_a_study_is_refused_with_all_differences(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(app, "x=1,2", "y=1") == 0
    app.seen.clear()
    said = refused(app, capsys, "x=1,3", "y=2")
    assert "x=" in said
    assert "y=2: the study has y=1" in said
    said = refused(app, capsys, "x=1,2", "y=1", "hydra.sweeper.direction=maximize")
    assert "hydra.sweeper.direction" in said
    said = refused(app, capsys, "x=1,2", "y=1", "hydra.sweeper.resume=never")
    assert "holds a study already" in said


@pytest.mark.slow
def test_a_study_keeps_the_config_files_of_its_start(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    app.write("part/a.yaml", "# @package _global_\nz: 1\n")
    app.function = lambda cfg: 1 / 0 if len(app.seen) == 2 else 0.0
    lines = ("+part=a", "x=1,2,3")
    assert sweep(app, *lines, "hydra.sweeper.max_failure_rate=0.1") == 3
    app.write("part/a.yaml", "# @package _global_\nz: 2\n")
    app.function = lambda cfg: 0.0
    assert sweep(app, *lines, "hydra.sweeper.retry.exception=1") == 0
    assert points(app, "x", "z") == [(2, 1), (3, 1)]


@pytest.mark.slow
def test_a_start_that_is_refused_leaves_no_config_behind(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ("hydra.sweeper.storage=sqlite:///s.db", "hydra.sweeper.study_name=s", "x=1,2")
    assert sweep(app, *named) == 0
    app.seen.clear()
    elsewhere = "hydra.sweep.dir=elsewhere"
    assert "lives in" in refused(app, capsys, *named, elsewhere)
    # As a start leaves it that was killed.
    (app.folder / "elsewhere" / "conf" / "1").mkdir(parents=True)
    assert sweep(app, elsewhere, "x=1,2", "y=3") == 0
    assert points(app, "y") == [(3,), (3,)]
    app.seen.clear()
    assert "holds a conf of its own" in refused(app, capsys, "x=1,2", "hydra.sweep.dir=.")


def test_everything_that_is_wrong_is_told_at_once(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [
        "n_trials=0", "repeats=0", "max_failure_rate=2", "duplicates=perhaps", "resume=now",
        "timeout_s=-1", "retry.lost=-1", "direction=up", "plan=maybe", "study_name=a/b",
    ]  # fmt: skip
    said = refused(app, capsys, "x=1,2", *(f"hydra.sweeper.{one}" for one in wrong))
    assert f"({len(wrong)} faults)" in said
    for one in wrong:
        assert f"hydra.sweeper.{one.partition('=')[0]}=" in said
    said = refused(app, capsys, "x=tag(foo,interval(0,1))", "y=true,1")
    assert "(2 faults)" in said
    said = refused(
        app, capsys, "x=1,2", "hydra.sweeper.repeats=2", "hydra.sweeper.sampler.n_ei_candidates=0"
    )
    assert "(2 faults)" in said
    assert "hydra.sweeper.seed_key=seed" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (("part=a,c",), "part=c: is not known; choose one of: a"),
        (("part=a", "nope=1,2"), "nope=2: is no setting"),
        (("+x=1,2", "part=a"), "Could not append to config"),
    ],
)
def test_what_cannot_be_composed_is_refused_before_anything_starts(
    app: App, lines: tuple[str, ...], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app.write("config.yaml", f"defaults:\n  - part: ???\n  - _self_\n{CONFIG}")
    app.write("part/a.yaml", "w: 1\n")
    assert sweep(app, *lines) == 2
    assert what in capsys.readouterr().err
    assert app.seen == []
    assert not (app.folder / "out").exists()


@pytest.mark.slow
def test_memory_needs_no_file(app: App) -> None:
    assert sweep(app, "x=1,2", "hydra.sweeper.storage=memory") == 0
    assert len(app.seen) == 2
    assert app.results()["best_value"] == 1.0
    assert not (app.folder / "out" / "study.journal").exists()


# A plan is shown and not run.


@pytest.mark.parametrize("plan", ["true", "probe"])
def test_a_plan_starts_nothing_and_leaves_nothing(
    app: App, plan: str, capsys: pytest.CaptureFixture[str]
) -> None:
    there = sorted(path.name for path in app.folder.iterdir())
    lines = ("x=1,2", "y=5,6", f"hydra.sweeper.plan={plan}")
    for where in ((DIR,), ()):
        assert app.sweep(*NATIVE, *where, *lines) is None
        assert len(app.seen) == (plan == "probe")
        assert sorted(path.name for path in app.folder.iterdir()) == there
    said = capsys.readouterr().out
    assert "4 trials, 0 of them done" in said
    assert ("all of them" in said) == (plan == "probe")


# A Task of the application's own.


class Careful:
    """Knows more than a function: what is wrong, what failed, what does not matter."""

    free_keys: Collection[str] = ("z",)
    log: Path = Path("calls.jsonl")

    def _note(self, *what: Any) -> None:
        with self.log.open("a") as stream:
            stream.write(json.dumps(what) + "\n")

    def __call__(self, cfg: DictConfig) -> float:
        if cfg.x == 2:
            raise ZeroDivisionError("as asked")
        return float(cfg.x)

    def check(self, cfg: DictConfig) -> list[Fault]:
        return [] if cfg.x < 10 else [Fault("x", cfg.x, "must be less than 10")]

    def failure_kind(self, error: BaseException) -> str:
        return "division" if isinstance(error, ZeroDivisionError) else "exception"

    def prepare(self) -> None:
        self._note("prepare")

    def num_reports(self, cfg: DictConfig) -> int | None:
        return None

    def after_trial(self, failed: bool) -> None:
        self._note("after", failed)

    def discard(self, folder: Path) -> None:
        self._note("discard", folder.name)

    def close(self) -> None:
        self._note("close")


def test_a_task_of_the_applications_own(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    task = f"hydra.sweeper.task={__name__}.Careful"
    said = refused(app, capsys, task, "x=1,11,12")
    assert "(2 faults)" in said
    assert "x=11: must be less than 10" in said
    assert sweep(app, task, "x=1,2,3", "z=1", "hydra.sweeper.keep_checkpoints=1") == 3
    assert app.trials()[1].user_attrs["failure"] == "division"
    assert app.seen == [], "the function itself is not called"
    calls = [json.loads(line) for line in Careful.log.read_text().splitlines()]
    assert [call for call in calls if call[0] == "after"] == [
        ["after", False], ["after", True], ["after", False],
    ]  # fmt: skip
    assert calls[-1] == ["discard", "2"]
    assert calls[0] == ["prepare"]
    assert ["close"] in calls
    # z cannot change a result, so it may differ.
    assert sweep(app, task, "x=1,2,3", "z=2") == 3
    for setting in ("task", "custom_search_space"):
        wrong = f"hydra.sweeper.{setting}={__name__}.Nowhere"
        said = refused(app, capsys, wrong, "x=1,2", "hydra.sweep.dir=new")
        assert f"{wrong}: cannot be found" in said
        said = refused(app, capsys, f"hydra.sweeper.{setting}=os.getcwd", "x=1,2")
        assert f"hydra.sweeper.{setting}=os.getcwd: is not among what may be named" in said


def test_a_function_task_knows_what_can_be_known() -> None:
    task = FunctionTask(lambda cfg: 1)
    assert task.check(DictConfig({})) == []
    assert task.num_reports(DictConfig({})) is None
    assert task.failure_kind(MemoryError()) == "out_of_memory"


@pytest.fixture(autouse=True)
def _quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
