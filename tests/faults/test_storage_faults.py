"""Sweeps whose storage is away, full, torn or not theirs; and passwords, kept out of files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from fault_sweeps import (
    LOCAL,
    Stage,
    Sweep,
    check_whole,
    come_to,
    kill_parent,
    kinds,
    only_study,
    starts,
    sweep,
    until,
)
from postgresql_servers import Server, running_server
from small_disks import fill, small_disk

from resnet_sweep.study.storages.patience import WAIT_VARIABLE

GRID = "x=1,2,3,4,5,6,7,8"
PASSWORD = "xyzzy-plugh-42"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as started:
        yield started


def _read(module: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"resnet_sweep.{module}", str(folder)]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)


def _assert_refused(done: Sweep | subprocess.CompletedProcess[str], *said: str) -> None:
    is_sweep = isinstance(done, Sweep)
    text = done.text if is_sweep else done.stdout + done.stderr
    assert (done.process.returncode if is_sweep else done.returncode) == 2, text
    assert "Traceback" not in text
    for words in said:
        assert words in text


# A server that is killed


def _stages(server: Server) -> list[Stage]:
    """The server is killed around each thing that a worker asks it for.

    Of eight trials one of two workers has at least four, so somebody comes to each.
    """
    queue, runner = "resnet_sweep.study.queue:Queue", "resnet_sweep.sweep.runner"
    at = [
        (f"{queue}._start", "before", 2),
        (f"{queue}._start", "after", 3),
        (f"{runner}:SweepTrial.report", "before", 4),
        (f"{runner}:Runner._tell", "before", 3),
        (f"{runner}:Runner._tell", "after", 4),
    ]
    return [Stage("worker", name, when, nth, server.kill_command) for name, when, nth in at]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_that_is_killed_at_each_stage_costs_nothing(
    tmp_path: Path, server: Server
) -> None:
    url = server.url(server.new_database())
    stages = _stages(server)
    command = (*LOCAL, GRID, "sleep=0.1", "steps=2", f"hydra.sweeper.storage={url}")
    running = Sweep(tmp_path, *command, stages=stages)
    num_kills, pauses_s = 0, [10.0]
    while running.process.poll() is None:
        if server.is_dead:
            num_kills += 1
            # Once for as long as a restart of its machine takes; then at once.
            time.sleep(pauses_s.pop() if pauses_s else 0.3)
            server.start()
        time.sleep(0.02)
    assert running.wait() == 0, running.text
    assert num_kills == len(stages) == len(come_to(tmp_path, stages))
    folder = only_study(tmp_path)
    check_whole(tmp_path, folder, 8)
    assert kinds(folder) == ["COMPLETE"] * 8
    assert len(starts(tmp_path)) == 8
    assert "Traceback" not in running.text
    logs = "".join(log.read_text() for log in (folder / "workers").glob("*.log"))
    assert "waits up to 300 s" in logs
    assert "Traceback" not in logs


@pytest.mark.slow
def test_a_server_that_stays_away_ends_the_sweep_which_goes_on_later(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WAIT_VARIABLE, "1")
    url = server.url(server.new_database())
    command = (*LOCAL, GRID, "sleep=0.1", f"hydra.sweeper.storage={url}")
    running = Sweep(tmp_path, *command)
    until(lambda: len(starts(tmp_path)) >= 3, "the third trial")
    server.kill()
    running.wait()
    _assert_refused(running, "cannot be reached: ", "to go on: python -B ")
    # The same message once, as the last of all.
    assert running.text.count("the study's storage cannot be used") == 1
    assert len(running.text.splitlines()) < 15
    refused = sweep(tmp_path, *command)
    _assert_refused(refused, "cannot be opened: ", "refused")
    _assert_refused(_read("status", only_study(tmp_path)), "cannot be opened: ")
    server.start()
    again = sweep(tmp_path, *command)
    assert again.process.returncode == 0, again.text
    check_whole(tmp_path, only_study(tmp_path), 8)
    assert "lost" not in kinds(only_study(tmp_path))


@pytest.mark.slow
def test_a_sweep_is_stopped_while_its_server_is_away(tmp_path: Path, server: Server) -> None:
    url = server.url(server.new_database())
    command = (*LOCAL, "x=1,2,3,4,5,6", "sleep=0.2", f"hydra.sweeper.storage={url}")
    running = Sweep(tmp_path, *command)
    until(lambda: len(starts(tmp_path)) >= 3, "the third trial")
    server.kill()
    folder = only_study(tmp_path)
    logs = (folder / "workers").glob("*.log")
    until(lambda logs=list(logs): any("waits up to" in one.read_text() for one in logs), "a wait")
    running.send(signal.SIGINT, to_group=True)
    assert running.wait() == 130, running.text
    assert "to go on: python -B " in running.text
    assert "Traceback" not in running.text
    server.start()
    assert sweep(tmp_path, *command).process.returncode == 0
    check_whole(tmp_path, folder, 6)
    assert "lost" not in kinds(folder)


# A disk that is full


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_full_disk_ends_the_sweep_which_goes_on_when_there_is_room(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WAIT_VARIABLE, "1")
    with small_disk(tmp_path / "disk", 12_000) as disk:
        storage = f"hydra.sweeper.storage={kind}:///{disk}/study"
        command = (*LOCAL, GRID, "sleep=0.2", "steps=20", storage)
        running = Sweep(tmp_path, *command)
        until(lambda: len(starts(tmp_path)) >= 3, "the third trial")
        filler = fill(disk)
        running.wait()
        _assert_refused(
            running,
            f"{disk}/study: cannot be written: the disk is full; make room; then the same command",
            "to go on: python -B ",
        )
        # Nobody is started again and again.
        assert running.text.count("process") == 2
        filler.unlink()
        again = sweep(tmp_path, *command)
        assert again.process.returncode == 0, again.text
        check_whole(tmp_path, only_study(tmp_path), 8)
        assert "exception" not in kinds(only_study(tmp_path))
        assert not (disk / "study.torn").exists()


# A journal that is torn, or was written by something else


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """The journal of a study that has begun, and was killed with one trial done."""
    running = Sweep(
        tmp_path, "hydra.sweeper.study_name=named", "x=1,2", "when=[2]", "do=once_sleep"
    )
    until(lambda: len(starts(tmp_path)) == 2, "the second trial")
    kill_parent(running)
    running.process.wait()
    return tmp_path / "multirun" / "named" / "study.journal"


@pytest.mark.slow
def test_a_torn_journal_is_told_and_a_damaged_one_refused(tmp_path: Path, ended: Path) -> None:
    good = ended.read_bytes()
    ended.write_bytes(good + b'{"op_code":5,"tri')
    told = f"{ended}: the last 17 bytes, from byte {len(good)} on, are no whole record"
    for module in ("status", "report"):
        read = _read(module, ended.parent)
        assert (read.returncode, told in read.stderr) == (0, True), read.stderr
        assert ended.read_bytes() == good + b'{"op_code":5,"tri'
    go_on = ("hydra.sweeper.study_name=named", "x=1,2", "when=[2]", "do=once_sleep")
    again = sweep(tmp_path, *go_on)
    assert again.process.returncode == 0
    assert f"{told}: whoever wrote them was killed" in again.text
    assert f"kept in {ended}.torn" in again.text
    check_whole(tmp_path, ended.parent, 2)
    for line, said in (
        ({"op_code": 77, "worker_id": "w"}, "pip install -U optuna"),
        ({"op_code": 4, "worker_id": "w"}, "is not one of Optuna's"),
    ):
        at = ended.stat().st_size
        with ended.open("a") as file:
            file.write(json.dumps(line) + "\n")
        for done in (
            sweep(tmp_path, *go_on),
            _read("status", ended.parent),
            _read("report", ended.parent),
        ):
            _assert_refused(done, f"the record at byte {at} is ", said)
        os.truncate(ended, at)
    ended.rename(ended.with_name("moved"))
    _assert_refused(sweep(tmp_path, *go_on), "has lost the study named")


# Passwords


def _opened(running: Sweep) -> list[bytes]:
    """What the sweep's processes have been given: their command lines, and files without names."""
    found = []
    for one in [psutil.Process(running.process.pid), *running.workers()]:
        found.append("\0".join(one.cmdline()).encode())
        for handle in Path(f"/proc/{one.pid}/fd").iterdir():
            # A sweep at work closes files all the time.
            with suppress(FileNotFoundError):
                if "(deleted)" in os.readlink(handle):
                    found.append(handle.read_bytes())
    return found


def _assert_kept_out(cwd: Path) -> None:
    files = [path for path in cwd.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert PASSWORD.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_password_is_in_no_file_and_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    with running_server(PASSWORD) as server:
        database = server.new_database()
        literal, bare = server.url(database, PASSWORD), server.url(database)
        trials = (*LOCAL, "x=1,2,3", "do=exception", "when=[2]")
        refused = sweep(tmp_path, *trials, f"hydra.sweeper.storage={literal}")
        _assert_refused(refused, "has a password in it", "PGPASSWORD", "'${oc.env:STUDY_URL}'")
        _assert_refused(sweep(tmp_path, *trials, f"hydra.sweeper.storage={bare}"), "no password")
        monkeypatch.setenv("STUDY_URL", literal)
        url = "hydra.sweeper.storage=${oc.env:STUDY_URL}"
        running = Sweep(tmp_path, *trials, "sleep=1", url, "hydra.verbose=true")
        until(lambda: len(starts(tmp_path)) >= 2, "the second trial")
        given = _opened(running)
        assert len(given) > 3
        assert not any(PASSWORD.encode() in one for one in given)
        assert running.wait() == 3, running.text
        folder = only_study(tmp_path)
        assert "storage: ${oc.env:STUDY_URL}" in (folder / "multirun.yaml").read_text()
        for module in ("status", "report"):
            read = _read(module, folder)
            assert read.returncode == 0, read.stderr
            assert PASSWORD not in read.stdout + read.stderr
        _assert_kept_out(tmp_path)
        monkeypatch.delenv("STUDY_URL")
        for module in ("status", "report"):
            _assert_refused(_read(module, folder), "needs the environment variable STUDY_URL")
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        other = sweep(
            tmp_path, "hydra.sweeper.study_name=other", "x=1", f"hydra.sweeper.storage={bare}"
        )
        assert other.process.returncode == 0, other.text
        _assert_kept_out(tmp_path)
