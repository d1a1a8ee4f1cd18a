"""The best trials of an earlier study, run again as they were."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import NATIVE, App
from omegaconf import OmegaConf

from resnet_sweep.report.results import load_results
from resnet_sweep.sweep.decided import changes
from resnet_sweep.sweep.task import FunctionTask

CONFIG = """
defaults:
  - _self_
  - net: small
  - schedule: linear
  - study: null
x: 1
y: 0
root: null
threads: null
device: auto
seed: 0
steps: 10
twice: ${x}
extra: {}
"""
FILES = {
    "net/small.yaml": "width: 1\nbias: false\n",
    "net/large.yaml": "width: 8\nheads: 4\n",
    "schedule/linear.yaml": "kind: linear\nwarmup: 0.0\n",
    "schedule/cosine.yaml": "kind: cosine\nfloor: 0.1\n",
    "study/search.yaml": (
        "# @package _global_\n"
        "defaults:\n  - override /schedule: cosine\n"
        "steps: 3\n"
        "hydra:\n  sweeper:\n    direction: maximize\n    params: {x: '1,2,3'}\n"
    ),
    "study/again.yaml": (
        "# @package _global_\n"
        "seed: 1000\n"
        "hydra:\n  sweeper:\n    trials:\n      study: ???\n      best: 1\n    repeats: 2\n"
    ),
    # Sets what is the default anyway.
    "study/longer.yaml": "# @package _global_\ndefaults: [again]\nsteps: 10\n",
}
BEST = "hydra.sweeper.trials={study:out,best:2}"
AGAIN = ("study=again", "hydra.sweeper.trials.study=out")
SEARCH = ("study=search", "net=large", "y=7", "net.width=9", "+extra.more=[1,{a:b}]", "seed=3")


class FreeTask(FunctionTask):
    """Knows settings that cannot change a result."""

    free_keys = ("root", "threads", "device")

    def __init__(self) -> None:
        super().__init__(lambda cfg: float(cfg.x))


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.chdir(tmp_path)
    made = App(tmp_path, lambda cfg: float(cfg.x))
    made.write("config.yaml", CONFIG)
    for name, text in FILES.items():
        made.write(name, text)
    return made


def sweep(app: App, *overrides: str, to: str = "out", **more: Any) -> int:
    lines = (*NATIVE, "hydra/launcher=basic", f"hydra.sweep.dir={to}", *overrides)
    try:
        app.sweep(*lines, **more)
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def seen(app: App, *but: str) -> list[dict[str, Any]]:
    """Configurations of the runs, in order, without some keys."""
    return [{key: value for key, value in one.items() if key not in but} for one in app.seen]


def searched(app: App, *overrides: str) -> dict[Any, dict[str, Any]]:
    """Runs a search and gives what its trials were, but for the seed, by x."""
    assert sweep(app, *(overrides or SEARCH)) == 0
    return {one["x"]: one for one in seen(app, "seed")}


def refused(app: App, capsys: pytest.CaptureFixture[str], *overrides: str, to: str = "two") -> str:
    capsys.readouterr()
    assert sweep(app, *overrides, to=to) == 2
    assert app.seen == []
    return capsys.readouterr().err


# What is taken over.


def test_the_best_run_again_as_they_were(app: App, caplog: pytest.LogCaptureFixture) -> None:
    first = searched(app)
    with caplog.at_level(logging.INFO):
        assert sweep(app, BEST, to="two") == 0
    assert seen(app, "seed") == [first[3], first[2]]
    assert {one["seed"] for one in app.seen} == {0}, "seeds are today's"
    (told,) = [one.message for one in caplog.records if one.message.startswith("as in ")]
    assert told == (
        "as in out: schedule=cosine net=large y=7 steps=3 +extra.more=[1,{a:b}] net.width=9"
    )
    study = app.study("two")
    assert study.direction.name == "MAXIMIZE", "what made them the best there does so here"
    assert all(trial.params.keys() == {"x"} for trial in study.trials), "the rest is no parameter"
    before = load_results(app.folder / "out")["objective"].tolist()[:2]
    assert load_results(app.folder / "two")["earlier"].tolist() == before
    # Of this study the best can be run again as well, and all of it is in its own words.
    assert sweep(app, BEST.replace("out", "two"), to="three") == 0
    assert seen(app, "seed") == [first[3], first[2]]


def test_what_is_typed_wins(app: App) -> None:
    first = searched(app)
    # The same choice keeps what the study had set in it, another one brings its own.
    typed = ("net=large", "y=8", "schedule=linear", "+extra.more.c=1")
    assert sweep(app, BEST, *typed, to="two") == 0
    schedule = {"kind": "linear", "warmup": 0.0}
    changed = {"y": 8, "schedule": schedule, "extra": {"more": {"c": 1}}}
    assert seen(app, "seed") == [{**first[3], **changed}, {**first[2], **changed}]
    assert sweep(app, BEST, "net=small,large", "y=1,2", to="three") == 0
    assert len(app.seen) == 8
    assert {(one["net"].get("width"), one["schedule"]["kind"]) for one in app.seen} == {
        (1, "cosine"),
        (8, "cosine"),
    }


def test_a_parameter_that_is_typed_is_refused(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    searched(app)
    error = refused(app, capsys, BEST, "x=5")
    assert "hydra.sweeper.trials[1].x=2: is set on the command line" in error
    assert not (app.folder / "two").exists()


def test_a_study_that_is_typed_sets_what_it_has(app: App) -> None:
    first = searched(app)
    assert sweep(app, *AGAIN, to="two") == 0
    assert seen(app) == [{**first[3], "seed": seed} for seed in (1000, 1001)]
    # Also what would be the default, and through another study.
    typed = ("study=longer", "hydra.sweeper.trials.study=out")
    assert sweep(app, *typed, to="three") == 0
    assert seen(app) == [{**first[3], "seed": seed, "steps": 10} for seed in (1000, 1001)]


def test_groups_that_were_searched_are_each_as_they_were(app: App) -> None:
    typed = ("net=small,large", "x=1,2", "schedule=cosine", "net.width=5")
    assert sweep(app, *typed) == 0
    first = seen(app, "seed")
    # Since then something has changed in the files of one of them, and in all.
    app.write("net/large.yaml", "width: 8\nheads: 6\n")
    app.write("config.yaml", CONFIG + "new: 1\n")
    everything = BEST.replace("best:2", "best:4")
    assert sweep(app, everything, to="two") == 0
    order = ("small", "large")
    assert {trial.params["net"] for trial in app.trials("two")} == set(order)
    again = seen(app, "seed")
    assert sorted(again, key=str) == sorted(first, key=str)
    assert [trial.params.get("net.heads") for trial in app.trials("two")] == [None, 4, None, 4]


def test_only_a_place_that_nobody_names_today_is_taken_of_what_changes_no_result(
    app: App,
) -> None:
    task = "hydra.sweeper.task=test_confirm.FreeTask"
    allowed = {"whitelist": ("test_confirm.*",)}
    free = ("root=/there", "threads=2", "device=cpu")
    assert sweep(app, "x=1,2", task, *free, **allowed) == 0

    def found(name: str) -> tuple[Any, ...]:
        config = OmegaConf.load(app.folder / name / "0" / ".hydra" / "config.yaml")
        return config.root, config.threads, config.device

    assert sweep(app, BEST, task, to="two", **allowed) == 0
    assert found("two") == ("/there", None, "auto")
    assert sweep(app, BEST, task, "root=/here", to="three", **allowed) == 0
    assert found("three") == ("/here", None, "auto")


# What cannot be taken over.


def test_a_choice_that_is_not_there_today_names_the_copies_that_are(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    first = searched(app)
    (app.folder / "conf" / "net" / "large.yaml").unlink()
    (app.folder / "conf" / "schedule" / "cosine.yaml").unlink()
    # One that was made of other choices and settings is not asked for.
    (app.folder / "conf" / "study" / "search.yaml").unlink()
    error = refused(app, capsys, BEST)
    copies = app.folder / "out" / "conf" / "1"
    for choice in ("net=large", "schedule=cosine"):
        assert f"{choice}: is what out chose, and there is no such file today" in error
    assert f"add --config-dir {copies}, or type another net=" in error
    assert sweep(app, BEST, f"hydra.searchpath=[file://{copies}]", to="two") == 0
    assert seen(app, "seed") == [first[3], first[2]]


def test_everything_that_cannot_be_set_is_told_at_once(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    app.write("config.yaml", CONFIG.replace("extra: {}", "extra: {a b: 1, c d: {e: 2}}"))
    searched(app, "study=search", "y=7")
    app.write("config.yaml", CONFIG)
    error = refused(app, capsys, BEST)
    assert "extra.a b=1: was the setting in out, and cannot be set to that today" in error
    assert "extra.c d.e=2: was the setting" in error
    assert "y=" not in error


def test_a_trial_whose_settings_are_lost_is_refused(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(app)
    shutil.rmtree(app.folder / "out" / "2")
    assert "has no config.yaml of its trial 2" in refused(app, capsys, BEST)


# Going on.


def test_a_study_goes_on_with_what_it_began_with(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    first = searched(app, "x=1,2,3", "hydra.sweeper.direction=maximize", "y=7", "net=large")
    calls = []

    def stopped(cfg: Any) -> float:
        calls.append(cfg.x)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return float(cfg.x)

    function, app.function = app.function, stopped
    assert sweep(app, BEST, to="two") == 130
    app.function = function
    # Since then the earlier study has found better ones.
    grown = ("hydra.sweeper.n_trials=4", "hydra.sweeper.trials=[{x:9},{x:1},{x:2},{x:3}]")
    shutil.rmtree(app.folder / "out")
    assert sweep(app, *grown, "hydra.sweeper.direction=maximize") == 0
    # What it was told of its settings is not told again, and needs no files of today.
    (app.folder / "conf" / "net" / "large.yaml").unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert sweep(app, BEST, to="two") == 0
    assert seen(app, "seed") == [first[2]]
    assert "as in out" not in caplog.text
    # Or it is gone.
    shutil.rmtree(app.folder / "out")
    assert sweep(app, BEST, to="two") == 0
    assert app.seen == []
    assert sweep(app, BEST, "hydra.sweeper.plan=true", to="two") == 0


@pytest.mark.slow
def test_a_study_without_a_name_is_found_again(app: App) -> None:
    searched(app)
    calls = iter(range(9))

    def stopped(cfg: Any) -> float:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return float(cfg.x)

    app.function = stopped
    lines = (*NATIVE, "hydra/launcher=basic", BEST)
    with pytest.raises(SystemExit, match="130"):
        app.sweep(*lines)
    shutil.rmtree(app.folder / "out")
    app.sweep(*lines)
    assert [one["x"] for one in app.seen] == [2]


def test_what_is_typed_otherwise_when_it_goes_on_is_refused(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(app)
    assert sweep(app, BEST, to="two") == 0
    assert sweep(app, BEST, "net=large", "steps=3", to="two") == 0, "the same in other words"
    error = refused(app, capsys, BEST, "schedule=linear", "y=8")
    assert "schedule.kind=linear: the study has schedule.kind=cosine" in error
    assert "y=8: the study has y=7" in error
    assert "net" not in error
    error = refused(app, capsys, BEST.replace("best:2", "best:3"))
    assert "hydra.sweeper.trials=3 trials: the study has 2 other explicit trials" in error


def test_the_plan_shows_it(
    app: App, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    searched(app)
    capsys.readouterr()
    with caplog.at_level(logging.INFO):
        assert sweep(app, *AGAIN, "hydra.sweeper.plan=true", to="two") == 0
    assert app.seen == []
    assert not (app.folder / "two").exists()
    assert "as in out: schedule=cosine net=large y=7" in caplog.text
    shown = capsys.readouterr().out
    assert "1 trials, 0 of them done" in shown
    assert "x=3" in shown


# Overrides that make one configuration of another.

NAMES = st.sampled_from(["a", "b", "c"])


def trees(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(NAMES, inner, max_size=3)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.floats(allow_nan=False, width=16),
    st.sampled_from(["", "a b", "true", "1e-3", "null", "${kept}", "x,y", "it's", "[1]", "é"]),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | trees(inner), max_leaves=6
)


def test_what_points_to_a_setting_goes_before_it() -> None:
    now = {"a": {"x": 1}, "b": "${a}"}
    assert [change.line() for change in changes({}, now)] == ["~b", "~a"]


@settings(max_examples=40, deadline=None)
@given(trees(VALUES), trees(VALUES))
def test_any_configuration_can_be_made_of_any_other(
    tmp_path_factory: pytest.TempPathFactory, then: dict[str, Any], now: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("conf")
    then, now = ({"kept": "k", **one} for one in (then, now))
    OmegaConf.save(OmegaConf.create(now), folder / "config.yaml")
    with initialize_config_dir(str(folder)):
        config = compose("config", [change.line() for change in changes(then, now)])
    assert OmegaConf.to_container(config, resolve=False) == then
