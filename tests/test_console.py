"""``resnet-sweep`` does what ``python -m resnet_sweep`` does, and is told by its own name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT
from scripts import write_script

import resnet_sweep

MODULE = [sys.executable, "-m", "resnet_sweep"]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_script(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return path


def run(*words: str | Path) -> tuple[int, str, str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["optimizer.lr=-1"], ["--version"]], ids=" ".join
)
def test_the_script_says_what_the_module_says(script: Path, arguments):
    said = run("resnet-sweep", *arguments)
    assert said == run(*MODULE, *arguments)
    assert "".join(said[1:])


def test_the_version_is_the_packages(script: Path):
    changes = (ROOT / "CHANGELOG.md").read_text().splitlines()
    newest = next(line for line in changes if line.startswith("## "))
    assert resnet_sweep.__version__ in newest
    assert run("resnet-sweep", "--version")[1].startswith(
        f"resnet_sweep {resnet_sweep.__version__}, python "
    )


def test_an_unknown_option_is_told_by_the_programs_name(script: Path):
    code, _, said = run("resnet-sweep", "--nonsense")
    assert code == 2
    assert said.startswith("usage: resnet-sweep [--help]")
    said = run(*MODULE, "--nonsense")[2]
    assert "python -m resnet_sweep: error: unrecognized arguments: --nonsense" in said


def test_what_can_be_typed_next_begins_as_what_was_typed(script: Path, tmp_path: Path):
    assert "type resnet-sweep -m study=lr_trials\n" in run("resnet-sweep", "study=lr_trials")[2]
    started = tmp_path / "bin" / "started"
    started.write_text(
        f"#!{sys.executable}\n"
        "from resnet_sweep.started import started_as, typed_again\n"
        "print(started_as(), typed_again())\n"
    )
    started.chmod(0o755)
    assert run("started", "a b")[1] == "['started'] started 'a b'\n"
    hidden = started.rename(tmp_path / "here" / "started")
    assert run(hidden, "a")[1] == f"['{hidden}'] {hidden} a\n"
    application = hidden.rename("app.py")
    assert run(sys.executable, "-B", application, "a")[1] == (
        "['python', '-B', 'app.py'] python -B app.py a\n"
    )
