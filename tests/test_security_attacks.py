"""A stranger's configuration and a stranger's study, given to whole commands."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import needs
import psutil
import pytest
import torch
import yaml
from commands import Command
from faults.fault_sweeps import LOCAL, Sweep, only_study
from studies import StudyOnDisk

from resnet_sweep.study.folder import StudyFolder

pytestmark = pytest.mark.slow

# Whoever imports it has run it.
EVIL = """
import pathlib
pathlib.Path(__file__).with_name("canary").touch()
def net(**kwargs): raise RuntimeError
class Task: pass
"""
SECRET = "hunter2-hunter2"


class Os:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that every attack makes when it comes through."""
    (tmp_path / "evil.py").write_text(EVIL)
    path = os.environ["PYTHONPATH"]
    monkeypatch.setenv("PYTHONPATH", f"{path}{os.pathsep}{tmp_path}")
    return tmp_path / "canary"


def given(folder: Path, config: dict[str, Any]) -> list[str]:
    """Words that choose a stranger's configuration, which comes last and wins."""
    (folder / "conf" / "x").mkdir(parents=True)
    text = f"# @package _global_\n{yaml.safe_dump(config)}"
    (folder / "conf" / "x" / "evil.yaml").write_text(text)
    return ["--config-dir", str(folder / "conf"), "+x=evil"]


def attacks(canary: Path) -> dict[str, tuple[list[str], dict[str, Any], str]]:
    """What is typed, what a stranger's file says, and what is said to that."""
    touch, evil = f"touch {canary}", {"_target_": "evil.net"}
    system = {"_target_": "os.system", "command": touch}
    extends = {"_target_": "resnet_sweep.models.allow.take_allow", "argv": ["--allow", "evil"]}
    gone = {"check_first": {"_target_": "resnet_sweep.hooks.TableLast"}}
    setting: dict[str, Any] = {"env_set": {"RESNET_SWEEP_ALLOW": "evil"}}
    fetched = {
        "_target_": "torchvision.models._api.WeightsEnum.get_state_dict",
        "self": {
            "_target_": "torchvision.models._api.Weights",
            **{"url": f"file://{canary}.pth", "transforms": None, "meta": {}},
        },
    }
    network = {"_target_": "torchvision.models.resnet18", "kwargs": {"weights": fetched}}
    handler = {"handlers": {"file": {"()": "os.system", "command": touch}}}
    lines = {"setup": [touch], "python": f"{touch};"}
    many = ["-m", "optimizer.lr=0.1,0.2", "hydra.sweeper.n_jobs=1"]
    slurm = ["-m", "optimizer.lr=0.1,0.2", "hydra/sweeper=basic", "hydra/launcher=submitit_slurm"]
    ray = ["-m", "optimizer.lr=0.1,0.2", "hydra/launcher=ray"]
    hook = {"_tracing_startup_hook": "evil:net"}
    joined = {"address": "auto", "_temp_dir": str(canary.with_name("sockets"))}
    swept = "hydra.sweeper"
    return {
        "a callback": ([], {"hydra": {"callbacks": {"evil": system}}}, "os.system"),
        "a callback that allows": (
            [],
            {"hydra": {"callbacks": {"a": extends}}, "model": evil},
            "take_allow",
        ),
        "the environment": (
            [],
            {"hydra": {"job": setting, "callbacks": gone}, "model": evil},
            "hydra.job.env_set.RESNET_SWEEP_ALLOW=evil: is a command",
        ),
        "logging": ([], {"hydra": {"job_logging": handler}}, "os.system"),
        "a network": ([], {"model": evil}, "model._target_=evil.net: is outside"),
        "an argument": ([], {"model": network}, "get_state_dict: is outside the modules"),
        "weights": ([], {"model": {"weights": f"{canary}.pth"}}, "more than tensors"),
        "a task": (many, {"hydra": {"sweeper": {"task": "evil.Task"}}}, f"{swept}.task=evil.Task"),
        "a function": (
            many,
            {"hydra": {"sweeper": {"custom_search_space": "evil.net"}}},
            f"{swept}.custom_search_space=evil.net",
        ),
        "a sampler": (
            many,
            {"hydra": {"sweeper": {"sampler": {"_target_": "os.system"}}}},
            "os.system",
        ),
        "a launcher": (many, {"hydra": {"launcher": evil}}, "evil.net"),
        "a job's lines": (
            slurm,
            {"hydra": {"launcher": lines, "callbacks": gone}},
            "hydra.launcher.setup",
        ),
        "a hook of Ray": (
            ray,
            {"hydra": {"launcher": {"ray": {"init": hook}}, "callbacks": gone}},
            "hydra.launcher.ray.init._tracing_startup_hook=evil:net: is a command",
        ),
        "a cluster of Ray": (
            ray,
            {"hydra": {"launcher": {"ray": {"init": joined}}}},
            "hydra.launcher.ray.init.address=auto: is a command",
        ),
    }


@pytest.mark.parametrize("name", list(attacks(Path("canary"))))
def test_a_strangers_configuration_runs_nothing(
    command: Command, canary: Path, tmp_path: Path, name: str
) -> None:
    torch.save(Os(f"touch {canary}"), f"{canary}.pth")
    typed, config, said = attacks(canary)[name]
    if "hydra/launcher=ray" in typed and find_spec("ray") is None:
        needs.skip_or_fail("ray", "Ray is not installed: pip install hydra-ray-launcher")
    done = command(*typed, *given(tmp_path, config), "trainer.epochs=1", "data.num_train=32")
    assert not canary.exists()
    assert done.returncode == 2, done.stderr
    assert said in done.stdout + done.stderr


def test_a_study_that_a_stranger_has_changed(command: Command, canary: Path) -> None:
    home = StudyFolder(canary.with_name("study"))
    words = ["-m", "model=resnet18", "trainer.epochs=1", "data.num_train=32", "trainer.threads=1"]
    words += ["optimizer.lr=interval(0.01,0.1)", f"hydra.sweep.dir={home.path}"]
    words += ["hydra.launcher.workers=1", "hydra.sweeper.keep_checkpoints=0"]
    assert command(*words, "hydra.sweeper.n_trials=2").returncode == 0
    # Weights of ours, which the study would discard.
    mine = canary.with_name("mine") / "best.pt"
    mine.parent.mkdir()
    mine.write_text("weights")
    records = home.journal.read_text()
    for own, name in (("trials/0", str(mine.parent)), ("trials/1", "../mine")):
        records = records.replace(f'"folder":"{own}"', f'"folder":"{name}"')
    home.journal.write_text(records)
    done = command(*words, "hydra.sweeper.n_trials=2")
    assert done.returncode == 0, done.stderr
    assert "../mine" in records
    assert mine.exists()

    (primary,) = home.conf.glob("*/config.yaml")
    text = primary.read_text()
    allowing = "\n  job:\n    env_set: {RESNET_SWEEP_ALLOW: evil}\n"
    primary.write_text(text.replace("\n  job:\n", allowing))
    done = command(*words, "hydra.sweeper.n_trials=3")
    assert done.returncode == 2
    assert "env_set.RESNET_SWEEP_ALLOW=evil: is a command" in done.stderr
    assert not canary.exists()


def test_a_report_on_a_strangers_study_reads_no_secrets(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    private = tmp_path / "private"
    private.mkdir()
    (private / "result.json").write_text(json.dumps({"best": {"train_loss": 0.123456}}))
    made = StudyOnDisk(tmp_path / "study", [{"lr": 0.1}, {"lr": 0.2}])
    made.study.set_user_attr("program", ["python", "-c", "x\x1b[2J"])
    made.add(0, {"lr": 0.1}, values=0.5, folder="../private", retry_of=0)
    made.add(1, {"lr": 0.2}, values=0.6, folder="trials/1")
    made.close()
    saved = tmp_path / "study" / "trials" / "1" / ".hydra"
    saved.mkdir(parents=True)
    settings = {"lr": 0.2, "token": "${oc.env:TOKEN}", "twice": "${token}"}
    (saved / "config.yaml").write_text(yaml.safe_dump(settings))
    (saved / "hydra.yaml").write_text("hydra: {mode: MULTIRUN}")
    done = command("study", "--config", "all", module="resnet_sweep.report")
    assert done.returncode == 0, done.stderr
    written = list((tmp_path / "study").glob("*.*"))
    assert "report.html" in [path.name for path in written]
    texts = [done.stdout, done.stderr, *(path.read_text() for path in written)]
    assert not any(SECRET in text or "0.123456" in text for text in texts)
    # What a study says does not reach the terminal as orders to it.
    assert "\x1b" not in done.stdout + done.stderr
    assert any("${oc.env:TOKEN}" in text for text in texts)
    page = (tmp_path / "study" / "report.html").read_text()
    assert "Content-Security-Policy\" content=\"default-src 'none';" in page


class Watch:
    """Looks at a command and all that it starts, as long as they run."""

    def __init__(self, pid: int, temporary: Path) -> None:
        self.pid, self.temporary = pid, temporary
        self.connections: list[Any] = []
        self.open_to_others: list[str] = []
        self.num_seen = 0

    def look(self) -> None:
        """Notes every socket of the internet, and every temporary file that others can read."""
        try:
            first = psutil.Process(self.pid)
            everybody = [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        self.num_seen = max(self.num_seen, len(everybody))
        for one in everybody:
            with contextlib.suppress(psutil.Error):
                self.connections += one.net_connections(kind="inet")
        for path in self.temporary.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.lstat().st_mode & 0o077 and path.parent == self.temporary:
                    self.open_to_others.append(str(path))


def test_a_sweep_opens_no_port_and_writes_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("TOKEN", SECRET)
    running = Sweep(tmp_path, *LOCAL, "x=1,2,3,4", "sleep=0.6", "do=exception", "when=[4]")
    watched = [Watch(running.process.pid, temporary)]
    others: list[subprocess.Popen[bytes]] = []
    while running.process.poll() is None:
        if not others and (tmp_path / "starts").exists():
            for module in ("status", "report"):
                words = [sys.executable, "-m", f"resnet_sweep.{module}", str(only_study(tmp_path))]
                others.append(subprocess.Popen(words, stdout=subprocess.DEVNULL))
                watched.append(Watch(others[-1].pid, temporary))
        for one in watched:
            one.look()
        time.sleep(0.02)
    assert [one.wait(60) for one in others] == [0, 0]
    assert running.wait() == 3, running.text
    assert watched[0].num_seen >= 3
    assert [one for watch in watched for one in watch.connections] == []
    assert [one for watch in watched for one in watch.open_to_others] == []
    assert list(temporary.iterdir()) == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
