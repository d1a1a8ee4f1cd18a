"""python -m resnet_sweep.status."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Command
from studies import HOSTILE, StudyOnDisk, study_of_every_kind

from resnet_sweep.status import main
from resnet_sweep.sweep.view import View


@pytest.fixture
def every_kind(tmp_path: Path) -> Iterator[StudyOnDisk]:
    made = study_of_every_kind(tmp_path / "outputs" / "mine")
    yield made
    made.close()


def test_the_command_shows_a_sweep_that_runs(command: Command, every_kind, monkeypatch):
    # pytest loads readline, which tells child processes that there is a terminal of 80 columns.
    monkeypatch.setenv("COLUMNS", "160")
    done = command("outputs/mine", module="resnet_sweep.status")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lr_trials  4/10 done  2 complete  1 pruned  1 failed")
    assert "a sweep works on it with 2 workers" in done.stdout
    assert "best  0.5000 (trial 0)" in done.stdout
    assert "number  state     objective" in done.stdout
    assert "\x1b" not in done.stdout


def test_it_does_not_load_torch(every_kind):
    script = "import sys, resnet_sweep.status as s; s.main(sys.argv[1:]); "
    script += "assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", script, str(every_kind.path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_sweep_that_nobody_works_on_says_so(every_kind, capsys):
    every_kind.close()
    assert main([str(every_kind.path)]) == 0
    out = capsys.readouterr().out
    assert "no sweep works on it now; the same command goes on with it" in " ".join(out.split())
    assert "lost: its worker is gone" in out


def test_a_sweep_that_has_ended(tmp_path, capsys):
    made = StudyOnDisk(tmp_path, [{}])
    made.add(0, {}, values=0.5)
    # Nothing runs, so there is nothing to follow.
    assert main(["--follow", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "1/1 done" in out
    assert "it has ended" in out


def test_a_study_without_a_trial(tmp_path, capsys):
    StudyOnDisk(tmp_path, n_trials=0)
    assert main([str(tmp_path)]) == 0
    assert "no trial has started" in capsys.readouterr().out


def test_hostile_values_cannot_command_the_terminal(tmp_path, capsys):
    made = StudyOnDisk(tmp_path, [{"text": text} for text in HOSTILE])
    for ticket, text in enumerate(HOSTILE):
        made.add(ticket, {"text": text}, "FAIL", failure="exception", error=text)
    assert main([str(tmp_path)]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(("name", "reason"), [("nothing", "not a folder"), (".", "no multirun")])
def test_a_folder_without_a_study_is_refused(tmp_path, capsys, name, reason):
    assert main([str(tmp_path / name)]) == 2
    err = capsys.readouterr().err
    assert "holds no study" in err
    assert reason in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_following_ends_with_the_sweep(tmp_path, capsys, monkeypatch):
    made = StudyOnDisk(tmp_path, [{}])
    lock = made.sweep_lives()
    made.begin(0, {})

    def end() -> None:
        made.end(0, "COMPLETE", 0.75, seconds=3.0)
        lock.release()

    timer = threading.Timer(0.5, end)
    start = View.start
    # What has ended before it looks is not told.
    monkeypatch.setattr(View, "start", lambda view: (start(view), timer.start()))
    assert main([str(tmp_path), "--follow"]) == 0
    timer.join()
    out = capsys.readouterr().out
    assert "trial 0 COMPLETE 0.7500 (3.0 s)   1/1 done, best 0.7500 (trial 0)\n" in out
    assert "it has ended" in out


def test_help_and_mistyped_options(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "outputs/<study>" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main([])
