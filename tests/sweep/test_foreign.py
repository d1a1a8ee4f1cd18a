"""Whole applications that are not ours, as they are started: scripts, packages, commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT

from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.reading import open_study

# Notes what its job sees where its job is; everything it needs lives in __main__.
SCRIPT = """
import json, os, logging
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from resnet_sweep.sweep import current_trial

log = logging.getLogger(__name__)
CACHE = {}

class Answer:
    def __init__(self, value):
        self.value = value
    def __float__(self):
        return float(self.value)

@hydra.main(config_path="conf", config_name="config", execution_whitelist=["parts.*", "calls.*"])
def main(cfg):
    job = HydraConfig.get()
    CACHE["jobs"] = CACHE.get("jobs", 0) + 1
    log.info("x is %s", cfg.x)
    trial = current_trial()
    trial.report(cfg.x, 1)
    trial.set_user_attr("pid", os.getpid())
    Path("seen.json").write_text(json.dumps({
        "x": cfg.x, "model": cfg.model.name, "num": job.job.num, "id": job.job.id,
        "name": job.job.name, "output_dir": job.runtime.output_dir, "cwd": job.runtime.cwd,
        "task": list(job.overrides.task), "env": os.environ.get("PART_OF"),
        "number": trial.number, "mode": str(job.mode),
    }))
    return Answer(instantiate(cfg.part, cfg.x))

if __name__ == "__main__":
    main()
"""
# All callbacks write to one file, a line at a time.
CALLS = """
import os
from hydra.experimental.callback import Callback
from hydra.core.hydra_config import HydraConfig

class Note(Callback):
    def __init__(self, path):
        self.path = path
    def _note(self, *words):
        with open(self.path, "a") as stream:
            stream.write(" ".join(map(str, words)) + "\\n")
    def on_multirun_start(self, config, **kwargs):
        self._note("multirun_start")
    def on_multirun_end(self, config, **kwargs):
        self._note("multirun_end")
    def on_job_start(self, config, **kwargs):
        self._note("job_start", config.hydra.job.num, config.x)
    def on_job_end(self, config, job_return, **kwargs):
        self._note("job_end", config.hydra.job.num, job_return.status.name)
"""
CONFIG = """
defaults:
  - model: ???
  - _self_
x: 0
gone: 1
part:
  _target_: parts.double
hydra:
  job:
    chdir: true
    env_set: {PART_OF: "${model.name}-${x}"}
  sweep:
    dir: sweeps/one
  callbacks:
    note: {_target_: calls.Note, path: "${hydra:runtime.cwd}/calls.txt"}
"""


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "an app"
    write(
        folder,
        {
            "app.py": SCRIPT,
            "calls.py": CALLS,
            "parts.py": "def double(x):\n    return 2 * x\n",
            "conf/config.yaml": CONFIG,
            "conf/model/small.yaml": "name: small\n",
            "conf/model/large.yaml": "name: large\n",
        },
    )
    return folder


def check_script(folder: Path, study: Path, workers: bool) -> None:
    """What the jobs of ``model=small,large x=1,2`` saw."""
    trials = open_study(study).get_trials()
    assert [trial.values for trial in trials] == [[2.0], [4.0], [2.0], [4.0]]
    for number, (model, x) in enumerate((m, x) for m in ("small", "large") for x in (1, 2)):
        job = study / str(number)
        seen: dict[str, Any] = json.loads((job / "seen.json").read_text())
        assert sorted(seen.pop("task")) == sorted([f"model={model}", f"x={x}", "~gone", "+new=5"])
        assert seen == {
            "x": x, "model": model, "num": number, "id": str(number), "name": "app",
            "output_dir": str(job), "cwd": str(folder), "env": f"{model}-{x}",
            "number": number, "mode": "RunMode.MULTIRUN",
        }  # fmt: skip
        assert (job / "app.log").read_text().count(f"x is {x}") == 1
        assert (job / ".hydra" / "config.yaml").exists()
    calls = (folder / "calls.txt").read_text().splitlines()
    assert calls[0] == "multirun_start"
    assert calls[-1] == "multirun_end"
    jobs = [f"job_start {n} {n % 2 + 1}" for n in range(4)]
    assert sorted(calls[1:-1]) == sorted(jobs + [f"job_end {n} COMPLETED" for n in range(4)])
    here = {trial.user_attrs["pid"] for trial in trials}
    assert len(here) <= (2 if workers else 1)
    # Workers have no job of Hydra's to show for themselves.
    assert not list((study / "workers").rglob(".hydra"))


ALL_FOUR = ("hydra/sweeper=study", "model=small,large", "x=1,2", "~gone", "+new=5")


def test_a_script_with_the_local_launcher(script: Path) -> None:
    command = ("app.py", "-m", *ALL_FOUR, "hydra/launcher=local", "hydra.launcher.workers=2")
    found = run(script, *command)
    assert found.returncode == 0, found.stderr
    check_script(script, script / "sweeps" / "one", workers=True)


@pytest.mark.slow
def test_a_script_in_its_own_process(script: Path) -> None:
    found = run(script, "app.py", "-m", *ALL_FOUR)
    assert found.returncode == 0, found.stderr
    check_script(script, script / "sweeps" / "one", workers=False)
    # By another path, from another folder: a relative folder is relative to where the user is.
    elsewhere = script.parent / "elsewhere"
    elsewhere.mkdir()
    (script / "calls.txt").unlink()
    found = run(elsewhere, str(script / "app.py"), "-m", *ALL_FOUR)
    assert found.returncode == 0, found.stderr
    assert (elsewhere / "sweeps" / "one" / "3" / "seen.json").exists()


STRUCTURED = """
import enum
from dataclasses import dataclass, field
import hydra
from hydra.core.config_store import ConfigStore

class Kind(enum.Enum):
    SMALL = 1
    LARGE = 2

@dataclass
class Part:
    width: int = 1
    kind: Kind = Kind.SMALL

@dataclass
class Config:
    x: float = 0.0
    part: Part = field(default_factory=Part)

ConfigStore.instance().store(name="config", node=Config)

@hydra.main(config_path=None, config_name="config")
def main(cfg):
    assert isinstance(cfg.part.kind, Kind)
    print("RAN", cfg.x, cfg.part.kind.name, cfg.part.width, flush=True)
    return cfg.x + cfg.part.width

if __name__ == "__main__":
    main()
"""


def test_a_package_without_config_files(tmp_path: Path) -> None:
    write(tmp_path, {"tool/__init__.py": "", "tool/__main__.py": STRUCTURED})
    line = ("-m", "tool", "-m", "hydra/sweeper=study", "part.kind=SMALL,LARGE", "x=0.5")
    found = run(tmp_path, *line)
    assert found.returncode == 0, found.stderr
    (folder,) = (tmp_path / "multirun").iterdir()
    trials = open_study(folder).get_trials()
    assert [trial.params for trial in trials] == [{"part.kind": "SMALL"}, {"part.kind": "LARGE"}]
    assert "RAN 0.5 LARGE 1" in found.stdout
    # What the schema refuses is refused before the first trial.
    found = run(tmp_path, *line, "part.width=1,many")
    assert found.returncode == 2
    assert "many" in found.stderr
    assert "RAN" not in found.stdout
    assert len(list((tmp_path / "multirun").iterdir())) == 1


@pytest.mark.slow
def test_a_package_without_config_files_and_with_the_local_launcher(tmp_path: Path) -> None:
    write(tmp_path, {"tool/__init__.py": "", "tool/__main__.py": STRUCTURED})
    line = ("-m", "tool", "-m", "hydra/sweeper=study", "part.kind=SMALL,LARGE", "x=0.5,1")
    found = run(tmp_path, *line, "hydra/launcher=local", "hydra.launcher.workers=2")
    assert found.returncode == 0, found.stderr
    (folder,) = (tmp_path / "multirun").iterdir()
    assert sorted(t.value for t in open_study(folder).get_trials()) == [1.5, 1.5, 2.0, 2.0]


COMMAND = """
import hydra

@hydra.main(config_path="conf", config_name="config")
def main(cfg):
    return float(cfg.x)
"""


@pytest.mark.slow
def test_an_installed_command_has_its_config_in_a_package(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "tool/__init__.py": "",
            "tool/cli.py": COMMAND,
            "tool/conf/__init__.py": "",
            "tool/conf/config.yaml": "x: 1\nhydra:\n  sweep:\n    dir: out\n",
        },
    )
    # What pip writes for an entry point.
    (tmp_path / "tool-command").write_text(
        "import sys\nfrom tool.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    )
    found = run(tmp_path, "tool-command", "-m", "hydra/sweeper=study", "x=3,4")
    assert found.returncode == 0, found.stderr
    assert [t.value for t in open_study(tmp_path / "out").get_trials()] == [3.0, 4.0]
    assert list(StudyFolder(tmp_path / "out").conf.rglob("config.yaml"))


def test_what_is_refused_is_told_in_a_few_lines(script: Path) -> None:
    line = ("app.py", "-m", "hydra/sweeper=study", "model=small", "x=interval(0,1)")
    found = run(script, *line, "hydra.sweeper.resume=perhaps", "hydra.sweeper.repeats=0")
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert "hydra.sweeper.resume=perhaps" in found.stderr
    assert "hydra.sweeper.repeats=0" in found.stderr
    assert not (script / "sweeps").exists()


@pytest.mark.slow
def test_a_failing_trial_of_a_script_is_3_and_its_traceback_is_in_its_log(script: Path) -> None:
    line = ("app.py", "-m", "hydra/sweeper=study", "model=small", "x=1,a,2")
    found = run(script, *line, "part._target_=parts.half")
    (script / "parts.py").write_text("def double(x):\n    return x / 2 * 4\n")
    assert found.returncode == 4
    found = run(script, *line, "hydra.sweep.dir=two")
    assert found.returncode == 3
    assert "Traceback" not in found.stderr
    assert "TypeError" in (script / "two" / "1" / "app.log").read_text()
