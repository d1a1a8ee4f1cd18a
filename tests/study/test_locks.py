from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from optuna.storages.journal import JournalFileBackend

from resnet_sweep.study import locks
from resnet_sweep.study.locks import FileLock, is_held

HOLD = """
import sys
from resnet_sweep.study.locks import FileLock

lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""

# The child lives on, holding the pipe open, after its parent was killed.
FORK_AND_DIE = """
import os, signal, sys, time
from resnet_sweep.study.locks import FileLock

lock = FileLock(sys.argv[1])
lock.acquire()
if os.fork() == 0:
    lock.release()
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""

# With the object that its parent has locked.
FORK_AND_ASK = """
import os, sys
from resnet_sweep.study.locks import FileLock

lock = FileLock(sys.argv[1])
lock.acquire()
if os.fork() == 0:
    print(lock.try_acquire(), flush=True)
    os._exit(0)
sys.exit(os.wait()[1])
"""

COUNT = """
import sys
from pathlib import Path
from resnet_sweep.study.locks import FileLock

lock, count = FileLock(sys.argv[1]), Path(sys.argv[2])
for _ in range(200):
    with lock:
        count.write_text(str(int(count.read_text()) + 1))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "not" / "there" / "claim.lock"


def _start(script: str, *arguments: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def _another_holds(path: Path) -> Iterator[subprocess.Popen[str]]:
    with _start(HOLD, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_another_process_is_kept_out_until_it_is_released(path: Path) -> None:
    with _another_holds(path) as process:
        assert not FileLock(path).try_acquire()
        assert is_held(path)
        process.communicate("")
        assert FileLock(path).try_acquire()


def test_a_killed_holder_lets_it_go(path: Path) -> None:
    with _another_holds(path) as process:
        process.kill()
        with FileLock(path):
            assert process.wait() == -signal.SIGKILL


def test_a_forked_child_does_not_hold_it_for_a_dead_parent(path: Path) -> None:
    with _start(FORK_AND_DIE, path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            # The child's release lets nothing go; the parent's death does.
            assert not FileLock(path).try_acquire()
            process.stdin.write("die\n")
            process.stdin.flush()
            with FileLock(path):
                assert process.wait() == -signal.SIGKILL
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_several_processes_count_without_a_gap(path: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0")
    processes = [_start(COUNT, path, count) for _ in range(3)]
    assert [process.communicate() and process.returncode for process in processes] == [0] * 3
    assert count.read_text() == "600"


@pytest.mark.parametrize("shared", [True, False])
def test_threads_count_without_a_gap(path: Path, shared: bool) -> None:
    count = [0]
    one = FileLock(path)

    def work() -> None:
        lock = one if shared else FileLock(path)
        for _ in range(200):
            with lock:
                before = count[0]
                os.sched_yield()
                count[0] = before + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == [800]


def test_two_locks_of_one_process_exclude_one_another(path: Path) -> None:
    with FileLock(path):
        assert not FileLock(path).try_acquire()
        assert is_held(path)
    assert not is_held(path)
    assert FileLock(path).try_acquire()


def test_it_is_let_go_after_an_error(path: Path) -> None:
    with pytest.raises(RuntimeError, match="of the block"), FileLock(path):
        raise RuntimeError("of the block")
    assert not is_held(path)


def test_releasing_what_is_not_held_does_nothing(path: Path) -> None:
    lock = FileLock(path)
    lock.release()
    with FileLock(path):
        lock.release()
        assert is_held(path)


def test_a_missing_file_is_not_held_nor_made(path: Path) -> None:
    assert not is_held(path)
    assert not path.exists()


def test_asking_who_holds_it_disturbs_nobody(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire()
    lock.release()
    done = threading.Event()

    def probe() -> None:
        while not done.wait(0.0005):
            is_held(path)

    thread = threading.Thread(target=probe)
    thread.start()
    taken = []
    for _ in range(300):
        taken.append(lock.try_acquire())
        lock.release()
    done.set()
    thread.join()
    assert taken == [True] * 300


def test_a_lock_that_is_forgotten_stays_held(path: Path) -> None:
    FileLock(path).acquire()
    gc.collect()
    assert is_held(path)


def test_a_file_that_was_removed_is_made_again(path: Path) -> None:
    lock = FileLock(path)
    with lock:
        path.unlink()
        path.parent.rmdir()
    with lock:
        assert is_held(path)


def test_one_that_waits_for_a_removed_file_locks_its_successor(path: Path) -> None:
    holder, waiter = FileLock(path), FileLock(path)
    holder.acquire()
    num_open = len(locks._open_handles)
    thread = threading.Thread(target=waiter.acquire)
    thread.start()
    while len(locks._open_handles) == num_open:
        # It is to wait for the file that goes, and not for the one that comes.
        time.sleep(0.001)
    path.unlink()
    successor = FileLock(path)
    successor.acquire()
    holder.release()
    thread.join(0.1)
    assert thread.is_alive()
    successor.release()
    thread.join()
    assert is_held(path)
    waiter.release()


def test_a_child_is_kept_out_by_its_parent(path: Path) -> None:
    with _start(FORK_AND_ASK, path) as process:
        assert process.communicate()[0] == "False\n"
        assert process.returncode == 0


def test_a_path_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        FileLock(tmp_path).acquire()


def test_it_serves_optunas_own_journal(tmp_path: Path, path: Path) -> None:
    backend = JournalFileBackend(str(tmp_path / "journal"), lock_obj=FileLock(path))  # type: ignore[arg-type]
    backend.append_logs([{"op_code": 0}])
    assert list(backend.read_logs(0)) == [{"op_code": 0}]
    assert not is_held(path)
