"""The soak for a quarter of a minute, and proof that its model notices what it is there for."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_sweeps import ROOT, sweep, trials_of
from soak import main
from soak_model import TOKEN, Model, Plan, left_over

from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.reading import open_study

PLAN = Plan(2, 2, params=({"x": 0}, {"x": 1}))


def _spoilt(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, (path, old)
    path.write_text(text.replace(old, new, 1))


def _journal(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: _spoilt(folder / "study.journal", old, new)


def _table(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: _spoilt(folder / "results.csv", old, new)


def _run_twice(folder: Path) -> None:
    study = open_study(folder)
    study.add_trial(trials_of(folder)[0])


def _left_running(folder: Path) -> None:
    study = open_study(folder)
    trial = study.ask()
    for key, value in (("ticket", 1), ("attempt", 1), ("retry_of", 1)):
        trial.set_user_attr(key, value)


# What is done to a finished study -> what the model says.
TAMPERED: dict[str, tuple[Callable[[Path], None], str]] = {
    "run twice": (_run_twice, "ticket 0 was run again when it was done"),
    "not ended": (_left_running, "ticket 1 is RUNNING at the end"),
    "unplanned": (_journal('"ticket":1', '"ticket":7'), "ticket 7 was never planned"),
    "lost": (_journal('"ticket":1', '"ticket":7'), "tickets [1] were never run"),
    "value": (
        _journal('"values":[0.001953125]', '"values":[0.5]'),
        "trial 0 has 0.5, an undisturbed",
    ),
    "report": (
        _journal('"intermediate_value":0.0009765625', '"intermediate_value":9'),
        "reported 9",
    ),
    "attempt": (_journal('"attempt":0', '"attempt":3'), "ticket 0 has miscounted its attempts"),
    "folder": (_journal('"folder":"1"', '"folder":"0"'), "folder 0 was used twice"),
    "owner": (lambda home: (home / "0" / "owner").write_text("9"), "0 is another trial's"),
    "unfinished": (
        lambda home: (home / "1" / "finished").unlink(),
        "ticket 1, run 0 has no finished",
    ),
    "steps": (
        lambda home: (home / "1" / "values.json").write_text("[1]"),
        "its steps are not those",
    ),
    "config": (
        lambda home: (home / "1" / ".hydra" / "config.yaml").unlink(),
        ".hydra lacks ['config",
    ),
    "row": (_table("0.001953125", "0.25"), "results.csv shows of trial 0"),
    "parameter": (_table("COMPLETE,0,", "COMPLETE,5,"), "results.csv shows of trial 0"),
    "best": (
        lambda home: (home / "optimization_results.yaml").write_text("best_value: 3.0"),
        "optimization_results.yaml has",
    ),
    "page": (lambda home: (home / "report.html").unlink(), "report.html is missing"),
    "half": (
        lambda home: (home / ".a.1-b.tmp").touch(),
        "temporary files are left: ['.a.1-b.tmp']",
    ),
    "session": (lambda home: (home / "sessions" / "a").touch(), "sessions are left: ['a']"),
}


@pytest.mark.slow
def test_the_model_notices_all_that_it_is_there_for(tmp_path):
    names = ("hydra.sweeper.study_name=named", "do=soak", "steps=2")
    done = sweep(tmp_path, *names, "x=0,1")
    assert done.process.returncode == 0, done.text
    folder = tmp_path / ROOT / "named"
    assert Model(folder, PLAN, "none").faults(is_end=True) == []
    backup = shutil.copytree(folder, tmp_path / "backup")
    for name, (tamper, said) in TAMPERED.items():
        tamper(folder)
        faults = Model(folder, PLAN, "none").faults(is_end=True)
        assert any(said in fault for fault in faults), (name, faults)
        shutil.rmtree(folder)
        shutil.copytree(backup, folder)
    with FileLock(StudyFolder(folder).claim_lock):
        assert Model(folder, PLAN, "none").faults(is_end=True) == ["claim.lock is held by nobody"]
    _notices_what_changes(folder)


def _notices_what_changes(folder: Path) -> None:
    """A trial that had ended is another one now."""
    model = Model(folder, PLAN, "none")
    assert model.faults(is_end=False) == []
    _spoilt(folder / "study.journal", '"values":[0.001953125]', '"values":[0.001953126]')
    assert any("trial 0 had ended as" in fault for fault in model.faults(is_end=False))


def test_the_model_notices_a_process_that_is_left_over():
    left = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={TOKEN: "t"}
    )
    try:
        assert [one.pid for one in left_over("t")] == [left.pid]
        assert left_over("other") == []
    finally:
        left.communicate(b"\n")
    assert left_over("t") == []


@pytest.mark.slow
def test_a_quarter_of_a_minute_of_soak(capsys):
    code = main(["--minutes", "0.25", "--storage", "journal"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "seed " in said.splitlines()[0]
    assert "undisturbed" in said
