"""Real processes, killed and signalled: what becomes of the jobs, and that nothing is left."""

import atexit
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.test_utils.test_utils import SweepTaskFunction
from omegaconf import DictConfig
from processes import is_gone

from resnet_sweep.faults import ConfigError
from resnet_sweep.sweep.interrupt import Interrupted
from resnet_sweep.sweep.local.pool import WorkerDiedError
from resnet_sweep.sweep.local.slots import count_cores

# A job tells its process and then does what x says; "again" does it once only.
APP = """
import os, signal, subprocess, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig

here = Path(__file__).parent

@hydra.main()
def main(cfg):
    child = subprocess.Popen(["sleep", "1000"])
    num = HydraConfig.get().job.num
    try:
        if cfg.x == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Last: whoever sees it may send a signal.
        (here / f"started{num}.tmp").write_text(f"{os.getpid()} {child.pid}")
        (here / f"started{num}.tmp").rename(here / f"started{num}")
        time.sleep(1000)
    except KeyboardInterrupt as error:
        (here / f"stopped{num}").write_text(f"{type(error).__name__} {error.signum}")
        raise
    finally:
        time.sleep(0.2)
        (here / f"finally{num}").touch()

main()
"""


def run_jobs(
    tmp_path: Path, task: Callable, *overrides: str, quiet: bool = False, workers: int = 2
) -> list[JobReturn]:
    """Runs a sweep in this process, in a folder with a space in its name."""
    sweep = SweepTaskFunction()
    sweep.calling_module, sweep.task_function = "hydra.test_utils.a_module", task
    sweep.quiet_workers = quiet
    sweep.temp_dir = str(tmp_path / "a sweep")
    launcher = ["hydra/launcher=local", f"hydra.launcher.workers={workers}"]
    sweep.overrides = [*launcher, "hydra.sweep.dir='${scratch}/a sweep'", f"+scratch='{tmp_path}'"]
    sweep.overrides += overrides
    # Its __exit__ would remove the folder.
    return sweep.__enter__().returns[0]


def leaves_something_for_the_end(cfg: DictConfig) -> float:
    atexit.register((Path(cfg.scratch) / "registered").touch)

    def later() -> None:
        time.sleep(0.5)
        (Path(cfg.scratch) / "thread").touch()

    threading.Thread(target=later).start()
    print("printed without a newline", end="")
    return 1.0


def test_what_a_task_has_left_for_the_end_of_its_process_is_done(tmp_path, capfd):
    run_jobs(tmp_path, leaves_something_for_the_end, workers=1)
    assert (tmp_path / "registered").exists()
    assert (tmp_path / "thread").exists()
    assert "printed without a newline" in capfd.readouterr().out


def process_facts(cfg: DictConfig) -> tuple:
    names = ("RESNET_SWEEP_SLOT", "OMP_NUM_THREADS")
    return (cfg.num, os.getpid(), *(os.environ.get(name) for name in names))


def dies(cfg: DictConfig) -> str:
    """Leaves a line for each start, and dies at all before number ``lives``."""
    path = Path(cfg.scratch, f"starts{HydraConfig.get().job.num}")
    with path.open("a") as file:
        file.write(os.environ["RESNET_SWEEP_SLOT"] + "\n")
    starts = path.read_text().split()
    print(f"start {len(starts)}")
    if len(starts) < cfg.lives:
        if cfg.how == "exit":
            os._exit(7)
        os.kill(os.getpid(), signal.Signals[cfg.how])
        time.sleep(60)
    return " ".join(starts)


def test_returns_are_in_order_and_a_slot_keeps_its_process(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    returns = run_jobs(tmp_path, process_facts, "+num=0,1,2,3,4,5")
    facts = [ret.return_value for ret in returns]
    assert [num for num, *_ in facts] == list(range(6))
    assert [ret.overrides[-1] for ret in returns] == [f"+num={i}" for i in range(6)]
    slots = {slot: pid for _, pid, slot, _ in facts}
    assert set(slots) <= {"cpu0", "cpu1"}
    assert {(slot, pid) for _, pid, slot, _ in facts} == set(slots.items())
    assert {threads for *_, threads in facts} == {str(max(1, count_cores() // 2))}
    assert not any(psutil.pid_exists(pid) for pid in slots.values())


@pytest.mark.slow
def test_a_job_whose_process_dies_is_started_again_on_its_slot(tmp_path):
    how = "+how=SIGKILL,SIGSEGV,SIGTERM,exit"
    returns = run_jobs(tmp_path, dies, how, "+lives=2")
    for ret in returns:
        first, second = ret.return_value.split()
        assert first == second


@pytest.mark.slow
def test_a_job_that_always_dies_fails_and_costs_no_other(tmp_path):
    with pytest.raises(WorkerDiedError, match=r"job 1 on slot cpu0 died: killed by SIGKILL"):
        run_jobs(tmp_path, dies, "+how=SIGKILL", "+lives=1,9,1", workers=1)
    starts = [len((tmp_path / f"starts{i}").read_text().split()) for i in range(3)]
    assert starts == [1, 3, 1]


@pytest.mark.slow
def test_a_worker_that_lived_long_begins_a_new_row_and_prints_to_its_log(tmp_path, capfd):
    options = ["hydra.launcher.max_restarts=1", "hydra.launcher.restart_window_s=0"]
    (ret,) = run_jobs(tmp_path, dies, "+lives=4", "+how=SIGKILL", *options, quiet=True)
    assert ret.return_value == "cpu0 cpu0 cpu0 cpu0"
    log = (tmp_path / "a sweep" / "workers" / "cpu0.log").read_text()
    assert all(f"start {i}" in log for i in range(1, 5))
    assert "start 1" not in capfd.readouterr().out


def test_an_error_names_the_log_of_its_worker(tmp_path):
    options = ["+lives=9", "+how=exit", "hydra.launcher.max_restarts=0"]
    with pytest.raises(WorkerDiedError, match=r"exit code 7; see .*/workers/cpu0\.log"):
        run_jobs(tmp_path, dies, *options, quiet=True)


class Unpicklable:
    def __reduce__(self):
        raise TypeError("holds a lock")


class Unreadable:
    def __reduce__(self):
        return divide, (1, 0)


def divide(a: int, b: int) -> float:
    return a / b


def returns_unpicklable(cfg: DictConfig) -> object:
    return Unpicklable()


def returns_unreadable(cfg: DictConfig) -> object:
    return Unreadable()


class HoldsUnreadable:
    def __init__(self) -> None:
        self.held = Unreadable()

    def __call__(self, cfg: DictConfig) -> None:
        pass


def test_a_task_that_cannot_be_sent_is_refused(tmp_path):
    holds = Unpicklable()
    with pytest.raises(ConfigError, match=r"cannot send the task .* TypeError: holds a lock"):
        run_jobs(tmp_path, lambda cfg: holds)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "message"),
    [
        (returns_unpicklable, "returned cannot be sent: TypeError: holds a lock"),
        (returns_unreadable, "returned cannot be read: ZeroDivisionError"),
        (HoldsUnreadable(), "cannot be loaded in another process: ZeroDivisionError"),
    ],
)
def test_what_does_not_cross_to_another_process_is_told(tmp_path, task, message):
    with pytest.raises(RuntimeError, match=message):
        run_jobs(tmp_path, task)


def test_options_are_refused_before_anything_starts(tmp_path):
    with pytest.raises(ConfigError, match=r"2 faults") as refused:
        run_jobs(tmp_path, process_facts, "hydra.launcher.mps=maybe", workers=0)
    assert "hydra.launcher.mps=maybe: is not known; choose one of: auto, never" in str(
        refused.value
    )


@pytest.mark.slow
def test_sys_exit_in_a_job_ends_the_sweep_as_in_this_process(tmp_path):
    with pytest.raises(SystemExit) as ended:
        run_jobs(tmp_path, lambda cfg: sys.exit(5))
    assert ended.value.code == 5


def test_interrupted_crosses_processes():
    error = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM)))
    assert (error.signum, str(error)) == (signal.SIGTERM, "stopped by SIGTERM")


@pytest.fixture
def app(tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts the app with two jobs; both have begun when it returns."""
    folder = tmp_path / "an app"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    started: list[subprocess.Popen] = []

    def start(x: str = "sleeps") -> subprocess.Popen:
        command = [sys.executable, "app.py", "-m", "hydra/launcher=local", "+num=0,1", f"+x={x}"]
        process = subprocess.Popen(
            [*command, "hydra.launcher.workers=2"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        wait_for(lambda: all((folder / f"started{i}").exists() for i in range(2)))
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def family(process: subprocess.Popen) -> list[psutil.Process]:
    """Everything that the app has started, guards included, which belong to nobody."""
    workers = psutil.Process(process.pid).children()
    groups = {worker.pid for worker in workers}
    found = []
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) in groups:
                found.append(psutil.Process(pid))
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    # A worker, its guard and its sleep, twice.
    assert len(found) == 6
    return found


def test_nothing_outlives_a_killed_parent(app):
    process = app()
    left = family(process)
    process.kill()
    wait_for(lambda: all(map(is_gone, left)))


@pytest.mark.parametrize(
    "signum", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_lets_jobs_finish_what_they_do(app, tmp_path, signum):
    process = app()
    left = family(process)
    process.send_signal(signum)
    output, _ = process.communicate(timeout=120)
    assert process.returncode not in (0, None)
    assert f"stopped by {signum.name}" in output
    assert "stopping 2 processes" in output
    for i in range(2):
        assert (tmp_path / "an app" / f"finally{i}").exists()
        stopped = (tmp_path / "an app" / f"stopped{i}").read_text()
        # However the parent was told, the jobs are told once and the same.
        assert stopped == f"Interrupted {int(signal.SIGTERM)}"
    assert all(map(is_gone, left))


def test_a_second_signal_kills(app, tmp_path):
    process = app("stubborn")
    left = family(process)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert all(map(is_gone, left))
    assert not list((tmp_path / "an app").glob("finally*"))


def test_a_killed_worker_is_replaced_while_others_go_on(app, tmp_path):
    app()
    start = tmp_path / "an app" / "started0"
    before, other = start.read_text(), (tmp_path / "an app" / "started1").read_text()
    start.unlink()
    started = psutil.Process(int(before.split()[1]))
    os.kill(int(before.split()[0]), signal.SIGKILL)
    wait_for(start.exists)
    assert start.read_text() != before
    # What the killed one had started is gone, and the other one was left alone.
    wait_for(lambda: is_gone(started))
    assert (tmp_path / "an app" / "started1").read_text() == other
    assert psutil.pid_exists(int(other.split()[0]))
