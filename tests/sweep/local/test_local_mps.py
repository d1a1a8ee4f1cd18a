"""Starting and stopping MPS, with a program in the place of NVIDIA's."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import is_running

from resnet_sweep.sweep.local.mps import running_mps

# In the foreground it waits for an order in a file, as the real one waits at its pipe.
PROGRAM = """#!{python}
import os, subprocess, sys, time
from pathlib import Path
orders = Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"], "orders")
if sys.argv[1:] == ["-f"]:
    server = subprocess.Popen(["sleep", "1000"])
    Path("{notes}").write_text(
        f"{{os.getpid()}} {{server.pid}} {{os.environ['CUDA_VISIBLE_DEVICES']}}"
    )
    orders.touch()
    while "quit" not in orders.read_text():
        time.sleep(0.02)
    server.kill()
    Path("{notes}").write_text("quit")
elif not orders.exists():
    sys.exit(1)
else:
    orders.write_text(sys.stdin.read())
"""


@pytest.fixture
def notes(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "notes"
    program = tmp_path / "bin" / "nvidia-cuda-mps-control"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, notes=path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    return path


def test_it_runs_for_the_shared_gpus_and_is_told_to_quit(notes):
    with running_mps(["GPU-a", "GPU-b"]) as env:
        pid, server, visible = notes.read_text().split()
        assert visible == "GPU-a,GPU-b"
        assert Path(env["CUDA_MPS_PIPE_DIRECTORY"]).is_dir()
        assert is_running(int(pid))
    assert not is_running(int(pid))
    assert not is_running(int(server))
    assert not Path(env["CUDA_MPS_PIPE_DIRECTORY"]).exists()


def test_it_is_not_left_behind_by_an_error(notes):
    def fail():
        with running_mps(["GPU-a"]):
            pids.extend(map(int, notes.read_text().split()[:2]))
            raise KeyError

    pids: list[int] = []
    with pytest.raises(KeyError):
        fail()
    assert len(pids) == 2
    assert not any(map(is_running, pids))


def test_it_is_not_left_behind_by_a_killed_parent(notes):
    script = (
        "import os, signal\n"
        "from resnet_sweep.sweep.local.mps import running_mps\n"
        "with running_mps(['GPU-a']):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    pids = [int(pid) for pid in notes.read_text().split()[:2]]
    deadline = time.monotonic() + 60
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def test_one_that_does_not_start_is_done_without(notes, caplog):
    program = next(Path(os.environ["PATH"].split(os.pathsep)[0]).iterdir())
    program.write_text("#!/bin/sh\nexit 1\n")
    with running_mps(["GPU-a"]) as env:
        assert env == {}
    assert "does not start" in caplog.text


def test_one_that_the_user_runs_is_used(notes, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/somewhere")
    with running_mps(["GPU-a"]) as env:
        assert env == {}
    assert not notes.exists()


def test_without_it_nothing_is_started(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with running_mps(["GPU-a"]) as env:
        assert env == {}
