"""One application and one sweeper, through every launcher that Hydra has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import needs
import pytest
from commands import ROOT
from optuna.trial import FrozenTrial

from resnet_sweep.study.reading import open_study
from resnet_sweep.study.storage import close_storage

APP = """
import json, os, signal, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from resnet_sweep.sweep import current_trial

@hydra.main(config_path="conf", config_name="config")
def main(cfg):
    here = Path(HydraConfig.get().runtime.output_dir)
    trial = current_trial()
    trial.report(1.0, 1)
    trial.set_user_attr("pid", os.getpid())
    print("RAN", cfg.x, flush=True)
    root = Path(cfg.root)
    if cfg.x == cfg.crash and not (root / "crashed").exists():
        (root / "crashed").touch()
        os._exit(11)
    if cfg.x == cfg.wait_at:
        (root / "waits").touch()
        # Until two others have ended: a sweeper with batches would wait for this one.
        while len(list(root.glob("ended-*"))) < cfg.wait_for:
            time.sleep(0.05)
    (root / f"ended-{trial.number}").touch()
    return float(cfg.x)

if __name__ == "__main__":
    main()
"""
CALLS = """
from hydra.experimental.callback import Callback

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
        self._note("job_start", config.hydra.job.num)
    def on_job_end(self, config, job_return, **kwargs):
        self._note("job_end", config.hydra.job.num, job_return.status.name)
"""
CONFIG = """
x: 0
crash: null
wait_at: null
wait_for: 0
root: ${hydra:runtime.cwd}
hydra:
  sweep: {dir: out}
  callbacks:
    note: {_target_: calls.Note, path: "${hydra:runtime.cwd}/calls.txt"}
"""
NATIVE = ("hydra/sweeper=study",)
DROP_IN = (
    "hydra/sweeper=optuna",
    "hydra.sweeper._target_=resnet_sweep.sweep.sweeper.StudySweeper",
)
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
LOCAL = ("hydra/launcher=local", "hydra.launcher.workers=2")
# A folder of its own for what submitit writes; two processes that run for a minute at most.
SUBMITIT = (
    "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=2", "hydra.sweeper.n_jobs=2",
)  # fmt: skip
RAY = (
    "hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2", "hydra.sweeper.n_jobs=2",
    "+hydra.launcher.ray.init.include_dashboard=false",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "calls.py").write_text(CALLS)
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG)
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(folder)])
    return subprocess.Popen(
        [sys.executable, "app.py", "-m", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    with start(folder, *arguments) as process:
        try:
            out, error = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, out, error


def wait_for_all_but_one(process: subprocess.Popen[str], folder: Path) -> None:
    """Until five trials have ended and one waits.

    A trial's file is written by its task, before the study knows of its end.
    """
    deadline = time.monotonic() + 300

    def wait_for(condition: Callable[[], bool]) -> None:
        while not condition():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def states() -> Counter[str]:
        return Counter(trial.state.name for trial in study.get_trials(deepcopy=False))

    wait_for(lambda: (folder / "waits").exists() and len(list(folder.glob("ended-*"))) >= 5)
    study = open_study(folder / "out")
    wait_for(lambda: states() == {"COMPLETE": 5, "RUNNING": 1})
    close_storage(study._storage)


def check(folder: Path, num: int) -> None:
    """All trials once, each with its folder and its callbacks; the workers have neither."""
    trials = open_study(folder / "out").get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * num
    assert sorted(trial.value for trial in trials) == [float(x) for x in range(num)]
    for trial in trials:
        assert (folder / "out" / str(trial.number) / ".hydra" / "overrides.yaml").exists()
        assert (folder / "out" / str(trial.number) / "app.log").exists()
    calls = Counter((folder / "calls.txt").read_text().splitlines())
    expected = ["multirun_start", "multirun_end"]
    expected += [f"job_start {n}" for n in range(num)]
    expected += [f"job_end {n} COMPLETED" for n in range(num)]
    assert calls == Counter(expected)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [("hydra/launcher=basic",), LOCAL, JOBLIB], ids=lambda a: a[0])
def test_hydras_launchers(folder: Path, launcher: tuple[str, ...]) -> None:
    code, _, error = run(folder, *NATIVE, *launcher, "x=range(0,6)")
    assert code == 0, error
    check(folder, 6)


@pytest.mark.slow
def test_submitit_on_this_machine(folder: Path) -> None:
    pytest.importorskip("submitit")
    code, _, error = run(folder, *NATIVE, *SUBMITIT, "x=range(0,6)")
    assert code == 0, error
    check(folder, 6)
    workers = {t.user_attrs["worker"] for t in open_study(folder / "out").get_trials()}
    assert len(workers) <= 2


@pytest.mark.slow
def test_ray_on_this_machine(folder: Path) -> None:
    if find_spec("ray") is None:
        needs.skip_or_fail("ray", "Ray is not installed: pip install hydra-ray-launcher")
    code, _, error = run(folder, *NATIVE, *RAY, "x=range(0,6)")
    assert code == 0, error
    check(folder, 6)


def test_a_launcher_that_has_no_number_of_slots_needs_n_jobs(folder: Path) -> None:
    pytest.importorskip("submitit")
    code, _, error = run(folder, *NATIVE, "hydra/launcher=submitit_local", "x=1,2")
    assert code == 2
    assert "hydra.sweeper.n_jobs=null: must say how many workers" in error
    assert "Traceback" not in error
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_a_drop_in_has_no_batches(folder: Path) -> None:
    """The first trial ends only after two others have, which are not of its batch of two."""
    grid = ("hydra/sweeper/sampler=grid", "x=range(0,4)", "wait_at=0", "wait_for=3")
    code, _, error = run(folder, *DROP_IN, *LOCAL, *grid)
    assert code == 0, error
    check(folder, 4)


MAIN = """
import hydra

class Doubling:
    free_keys = ()
    def __call__(self, cfg):
        return 2.0 * cfg.x + cfg.w
    def check(self, cfg):
        return []
    def failure_kind(self, error):
        return "exception"
    def prepare(self):
        pass
    def num_reports(self, cfg):
        return None
    def after_trial(self, failed):
        pass
    def discard(self, folder):
        pass
    def close(self):
        pass

def configure(config, trial):
    trial.suggest_int("+w", 5, 5)

@hydra.main(config_path="conf", config_name="config", execution_whitelist=["__main__.*", "calls.*"])
def main(cfg):
    return float(cfg.x)

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [LOCAL, JOBLIB], ids=lambda a: a[0])
def test_a_hook_and_a_task_of_main_reach_the_workers(
    folder: Path, launcher: tuple[str, ...]
) -> None:
    (folder / "app.py").write_text(MAIN)
    hook = "hydra.sweeper.custom_search_space=__main__.configure"
    task = "hydra.sweeper.task=__main__.Doubling"
    code, _, error = run(folder, *NATIVE, *launcher, "x=1,2", hook, task)
    assert code == 0, error
    trials = open_study(folder / "out").get_trials()
    assert sorted(trial.value for trial in trials) == [7.0, 9.0]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [LOCAL, JOBLIB], ids=lambda a: a[0])
def test_a_crash_does_not_end_the_sweep(folder: Path, launcher: tuple[str, ...]) -> None:
    code, _, error = run(folder, *NATIVE, *launcher, "x=range(0,6)", "crash=2")
    assert code == 0, error
    by_ticket: dict[int, list[FrozenTrial]] = defaultdict(list)
    for trial in open_study(folder / "out").get_trials():
        by_ticket[trial.user_attrs["ticket"]].append(trial)
    num_lost: Counter[int] = Counter()
    for *lost, last in by_ticket.values():
        assert (last.state.name, last.value) == ("COMPLETE", last.params["x"])
        assert [trial.user_attrs["failure"] for trial in lost] == ["lost"] * len(lost)
        # A worker that was killed the moment it took a trial has not yet set its values.
        assert {trial.params.get("x", last.value) for trial in lost} <= {last.value}
        before = [trial.user_attrs.get("retry_of") for trial in (*lost, last)]
        assert before == [None, *(trial.number for trial in lost)]
        num_lost[last.params["x"]] = len(lost)
    assert sorted(num_lost) == list(range(6))
    assert num_lost[2] >= 1
    # joblib kills the other worker too, whatever it runs by then: nothing, a trial of its own,
    # or the lost one, which it may have taken up before the pool saw the crash.
    assert num_lost.total() <= (2 if launcher == JOBLIB else 1)


@pytest.mark.slow
def test_an_interrupted_joblib_sweep_goes_on(folder: Path) -> None:
    lines = (*NATIVE, *JOBLIB, "x=range(0,6)", "wait_at=3", "wait_for=99")
    with start(folder, *lines) as process:
        wait_for_all_but_one(process, folder)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=240)
    assert process.returncode == 143, error
    assert "1 trial is left; to go on: python app.py -m" in error
    for i in range(99):
        (folder / f"ended-again-{i}").touch()
    code, _, error = run(folder, *lines)
    assert code == 0, error
    trials = open_study(folder / "out").get_trials()
    assert len(trials) == 7
    (stopped,) = [trial for trial in trials if trial.state.name == "FAIL"]
    assert stopped.user_attrs["failure"] == "interrupted"
    assert stopped.params == {"x": 3}


@pytest.mark.slow
@pytest.mark.parametrize("storage", [None, "sqlite:///study.db"])
def test_the_dashboard_opens_a_study_while_it_runs(folder: Path, storage: str | None) -> None:
    pytest.importorskip("optuna_dashboard")
    lines = (*NATIVE, *LOCAL, "x=range(0,6)", "wait_at=3", "wait_for=6")
    given = () if storage is None else (f"hydra.sweeper.storage={storage}",)
    url = str(folder / "out" / "study.journal") if storage is None else storage
    with start(folder, *lines, *given) as process:
        wait_for_all_but_one(process, folder)
        studies, detail = ask_dashboard(folder, url)
        (folder / "ended-all").touch()
        process.communicate(timeout=240)
    assert process.returncode == 0
    assert [one["study_name"] for one in studies["study_summaries"]] == ["out"]
    states = Counter(trial["state"] for trial in detail["trials"])
    assert states == {"Complete": 5, "Running": 1}


def ask_dashboard(folder: Path, storage: str) -> tuple[dict, dict]:
    """What the dashboard says about the only study of a storage."""
    program = f"""
import json, io, sys
from wsgiref.util import setup_testing_defaults
from optuna_dashboard import wsgi
from optuna_dashboard._storage_url import get_storage

app = wsgi(get_storage({storage!r}))

def get(path):
    environ = {{}}
    setup_testing_defaults(environ)
    path, _, environ["QUERY_STRING"] = path.partition("?")
    environ["PATH_INFO"] = path
    return json.loads(b"".join(app(environ, lambda *answer: None)))

studies = get("/api/studies")
number = studies["study_summaries"][0]["study_id"]
print(json.dumps([studies, get(f"/api/studies/{{number}}?after=0")]))
"""
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    studies, detail = json.loads(found.stdout.splitlines()[-1])
    return studies, detail
