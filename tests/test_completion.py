"""What a shell is told when the tab key is pressed, and a real bash that is told it."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from commands import ROOT
from scripts import write_script
from test_imports import HEAVY

from resnet_sweep.completion import SCRIPTS, answer
from resnet_sweep.faults import ConfigError

# Answers one line after the other, as a process for each would.
MANY = """
import json, os, sys
from resnet_sweep.__main__ import _run_hydra
from resnet_sweep.completion import answer

for line in json.load(sys.stdin):
    os.environ["COMP_LINE"] = line
    answer(["-sc", "query=bash"], _run_hydra)
    print("--")
"""


def run(*words: str, line: str = "", typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"COMP_LINE": line},
        input=typed,
        capture_output=True,
        text=True,
        timeout=240,
    )


def candidates(lines: Sequence[str]) -> list[list[str]]:
    done = run("-c", MANY, typed=json.dumps([f"resnet-sweep {line}" for line in lines]))
    assert done.returncode == 0, done.stderr
    return [one.splitlines() for one in done.stdout.split("--\n")[:-1]]


def test_an_answer_loads_nothing_heavy():
    start = ["-X", "importtime", "-m", "resnet_sweep", "-sc", "query=bash"]
    done = run(*start, line="resnet-sweep ")
    assert {"data=", "data.", "study="} <= set(done.stdout.splitlines())
    imported = {text.rpartition("|")[2].strip() for text in done.stderr.splitlines()}
    assert "resnet_sweep.completion" in imported
    assert imported.isdisjoint(HEAVY)


def test_what_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Of a stranger; a shell would run it.
    bad = "$(touch broken)"
    group = tmp_path / "own groups" / "data"
    group.mkdir(parents=True)
    (group / "mine.yaml").write_text(f"defaults: [image_folder]\nroot: '{bad}'\n")
    (group / f"{bad}.yaml").write_text("defaults: [digits]\n")
    monkeypatch.chdir(tmp_path)
    offered = {
        "model=plain1": ["model=plain101", "model=plain152", "model=plain18"],
        "model=plain18,plain50,plain1": [
            "model=plain18,plain50,plain101",
            "model=plain18,plain50,plain152",
        ],
        "model=resnet50,plain50 optimizer.l": ["optimizer.lr="],
        "optimizer=adam optimizer.b": ["optimizer.betas."],
        "-m --allow mine 'data.cache_dir=my cats' hydra/sweeper/s": ["hydra/sweeper/sampler="],
        "--config-dir 'own groups' data=m": ["data=mine"],
        "--config-dir 'own groups' data=$": [],
        "--config-dir 'own groups' data=mine data.root=": [],
        # Faulty, and told when it is run.
        "'model=re": [],
        "model=nonsense optimizer.l": [],
        "--nonsense mo": [],
        # The shell's own.
        "--config-dir ow": [],
        "data.root=./o": [],
    }
    assert dict(zip(offered, candidates(list(offered)), strict=True)) == offered


@pytest.mark.parametrize("word", ["", "install", "install=csh", "query=", "install=bash more"])
def test_what_no_shell_asks_is_refused(word: str):
    with pytest.raises(ConfigError, match="choose one of: install=bash, install=zsh, install=fish"):
        answer(["-sc", *word.split()], pytest.fail)


def test_hydras_help_names_each_script():
    told = run("-m", "resnet_sweep", "--hydra-help").stdout
    for action in SCRIPTS:
        for shell in SCRIPTS[action]:
            assert f"python -m resnet_sweep -sc {action}={shell}" in told


def test_the_page_has_what_is_tried_here():
    page = (ROOT / "docs" / "completion.md").read_text()
    for action in SCRIPTS:
        for shell in SCRIPTS[action]:
            command = f"resnet-sweep -sc {action}={shell}"
            shown = f"{command} | source" if shell == "fish" else f'eval "$({command})"'
            assert shown in page
            assert shell == "fish" or action == "uninstall" or f"{command} > ~/." in page


class Bash:
    """An interactive bash on a terminal of its own, without anybody's settings."""

    def __init__(self) -> None:
        self._terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            env=os.environ | {"TERM": "dumb", "PS1": "$ ", "LC_ALL": "C"},
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
        )
        os.close(end)
        self.shown = ""

    def press(self, keys: str, until: str, within_s: float = 120) -> None:
        """Presses keys and waits until the terminal shows a text behind what it has shown."""
        seen = len(self.shown)
        os.write(self._terminal, keys.encode())
        deadline = time.monotonic() + within_s
        while until not in self.shown[seen:]:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._terminal], [], [], 0.1)[0]:
                self.shown += os.read(self._terminal, 65536).decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)


@pytest.fixture
def bash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_script(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    started = Bash()
    yield started
    started.close()


def test_bash_completes_what_is_then_run(bash: Bash, tmp_path: Path):
    (tmp_path / "my cats").mkdir()
    bash.press('eval "$(resnet-sweep -sc install=bash)"; echo rea""dy\n', "ready")
    bash.press("resnet-sweep --cfg job data=cats\t", "cats_dogs")
    bash.press(" model=resnet10\t", "resnet101")
    # Ambiguous: the second time all are shown.
    bash.press(" scheduler=con\t optimizer.\t\t", "weight_decay=")
    bash.press("l\t0.5 data.root=my\t", "cats/")
    bash.press(' > shown.yaml; echo do""ne\n', "done")
    shown = yaml.safe_load((tmp_path / "shown.yaml").read_text())
    assert (shown["model"]["depth"], shown["scheduler"]["name"]) == (101, "constant")
    assert (shown["optimizer"]["lr"], shown["data"]["root"]) == (0.5, "my cats/")
    bash.press('eval "$(resnet-sweep -sc uninstall=bash)"; echo go""ne\n', "gone")
    bash.press('complete -p resnet-sweep; type _resnet_sweep; echo chec""ked\n', "checked")
    assert "no completion specification" in bash.shown
    assert "_resnet_sweep: not found" in bash.shown
