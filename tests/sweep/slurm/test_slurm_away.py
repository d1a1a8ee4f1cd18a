"""What hydra/launcher=slurm does when it or Slurm fails, with programs in the place of Slurm's."""

import errno
import io
import json
import logging
import os
import signal
from pathlib import Path

import pytest

from resnet_sweep.faults import ConfigError, Fault, StorageError
from resnet_sweep.study.locks import is_held
from resnet_sweep.sweep.interrupt import CountedSignals, Interrupted
from resnet_sweep.sweep.slurm import cluster
from resnet_sweep.sweep.slurm.config import SlurmLauncherConf
from resnet_sweep.sweep.slurm.member import Member
from resnet_sweep.sweep.slurm.task import Order
from resnet_sweep.sweep.worker import Worker

pytest.importorskip("submitit")
from resnet_sweep.sweep.slurm.crew import Crew
from resnet_sweep.sweep.slurm.submission import Launch, submit

OPTIONS = SlurmLauncherConf(name="x")
# Where the script lay that sbatch was given.
SQUEUE = """case "$*" in
  *%o*) echo "7|$(cat ../script)"; echo "8|/elsewhere/script" ;;
  *) echo "7|CANCELLED|a|None" ;;
esac"""
SBATCH = 'echo "$1" > ../script; echo Submitted batch job 7'


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Puts programs in the place of Slurm's; each says to a file what it was told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(**bodies: str) -> None:
        for name, body in bodies.items():
            path = folder / name
            told = f'cd {folder}\necho "$@" >> {tmp_path}/told-{name}\n'
            path.write_text(f"#!/bin/sh\n{told}{body}\n")
            path.chmod(0o755)

    put(sbatch=SBATCH, squeue=SQUEUE, scancel="", scontrol="", srun="")
    return put


def told(tmp_path: Path, name: str) -> list[str]:
    path = tmp_path / f"told-{name}"
    return path.read_text().splitlines() if path.exists() else []


def submitted(tmp_path: Path) -> Launch:
    home = tmp_path / "sweep" / ".slurm"
    home.parent.mkdir(exist_ok=True)
    return submit(OPTIONS, home, io.BytesIO(b""), [Order(home, (), 1, 0)], 1)


def crew_of(tmp_path: Path, signals: CountedSignals, task: object = None) -> Crew:
    return Crew(OPTIONS, tmp_path / "sweep", task, io.BytesIO(), signals)


def watching(tmp_path: Path, signals: CountedSignals) -> tuple[Crew, Launch]:
    """A crew of one job that runs."""
    crew, launch = crew_of(tmp_path, signals), submitted(tmp_path)
    crew._launches.append(launch)
    crew._members.append(Member("7", launch.result("7"), (), 1))
    return crew, launch


def test_jobs_that_nobody_could_note_are_cancelled(tmp_path, programs, monkeypatch):
    notes = iter([Launch.note])

    def note(self):
        next(notes, full)(self)

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device", "jobs.json")

    monkeypatch.setattr(Launch, "note", note)
    with pytest.raises(OSError, match="No space left"):
        submitted(tmp_path)
    assert told(tmp_path, "scancel") == ["7"]
    assert not (tmp_path / "sweep" / ".slurm").exists()
    # A disk that was full before: nothing is submitted.
    with pytest.raises(OSError, match="No space left"):
        submitted(tmp_path)
    assert len(told(tmp_path, "sbatch")) == 1
    assert not (tmp_path / "sweep" / ".slurm").exists()


def test_jobs_of_an_sbatch_that_failed_late_are_cancelled(tmp_path, programs):
    programs(sbatch=f"{SBATCH}; echo sbatch: error: broken pipe >&2; exit 1")
    with pytest.raises(ConfigError, match="sbatch refuses the jobs: broken pipe"):
        submitted(tmp_path)
    assert told(tmp_path, "scancel") == ["7"]


def test_jobs_of_a_process_that_was_killed_while_it_submitted_are_found(tmp_path, programs):
    launch = submitted(tmp_path)
    assert launch.job_ids == ("7",)
    launch.job_ids = ()
    launch.note()
    launch.lock.release()
    (found,) = Launch.left_behind(launch.folder.parent)
    assert found.job_ids == ("7",)
    found.lock.release()
    programs(squeue="exit 1")
    assert Launch.left_behind(launch.folder.parent) == []
    assert not is_held(launch.lock.path)


def test_without_ids_nothing_is_cancelled(tmp_path, programs):
    for tell in (cluster.dismiss, cluster.interrupt, cluster.kill, cluster.cancel):
        tell([])
    assert cluster.states([]) == {}
    assert not told(tmp_path, "scancel")


def test_ctrl_c_does_not_reach_sbatch(tmp_path, programs):
    programs(sbatch=f"kill -INT $$; kill -INT $PPID; {SBATCH}")
    with CountedSignals() as signals:
        assert submitted(tmp_path).job_ids == ("7",)
    assert signals.count == 1


def test_jobs_are_handed_over_when_watching_them_fails(tmp_path, programs, monkeypatch, caplog):
    def fail(self):
        raise StorageError([Fault("storage", "x", "is away")])

    signals = CountedSignals()
    crew, launch = watching(tmp_path, signals)
    monkeypatch.setattr(Crew, "_watch", fail)
    with pytest.raises(StorageError, match="is away"):
        crew.run([])
    assert not is_held(launch.lock.path)
    assert (launch.folder / "jobs.json").exists()
    assert "jobs 7 of Slurm are left alone; scancel 7 ends them" in caplog.text
    # Who wants them stopped has them stopped.
    crew, launch = watching(tmp_path, signals)
    signals.count, signals.signum = 1, signal.SIGTERM
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        crew.run([])
    assert not launch.folder.exists()


def test_a_storage_that_is_away_lets_waiting_jobs_wait(tmp_path, programs, monkeypatch, caplog):
    def fail(self):
        raise StorageError([Fault("storage", "x", "is away")])

    crew, launch = watching(tmp_path, CountedSignals())
    other = Member("9", launch.result("9"), (), 1)
    other.has_ended = other.has_returned = True
    crew._members.append(other)
    monkeypatch.setattr(Crew, "_has_nothing_to_take", fail)
    crew._dismiss_idle()
    assert "is away; the jobs work on meanwhile" in caplog.text
    assert not told(tmp_path, "scancel")
    launch.remove()


def test_a_third_signal_leaves_jobs_of_a_slurm_that_is_away(tmp_path, programs, caplog):
    with CountedSignals() as signals:
        crew, launch = watching(tmp_path, signals)
        programs(squeue="kill -INT $PPID; echo nobody is there >&2; exit 1")
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted, match="stopped by SIGINT"):
            crew.run([])
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert [text for text in warnings if "nobody is there" in text] == [
        "squeue: nobody is there; it is asked again, and a third signal leaves the jobs alone"
    ]
    assert warnings[-1] == "jobs 7 of Slurm are left alone; scancel 7 ends them"
    assert not is_held(launch.lock.path)
    assert launch.folder.exists()


def test_dead_jobs_of_an_earlier_launch_are_no_workers(tmp_path, programs):
    launch = tmp_path / "sweep" / ".slurm" / "a"
    launch.mkdir(parents=True)
    known = {"job_ids": ["7_0", "7_1", "7_2"], "num_slots": 1}
    (launch / "jobs.json").write_text(json.dumps(known))
    # One has returned, one works, and of one Slurm knows nothing any more.
    (launch / "7_0_0_result.pkl").touch()
    programs(squeue='echo "7_0|COMPLETED|a|None"; echo "7_1|RUNNING|a|None"')
    crew = crew_of(tmp_path, CountedSignals(), object.__new__(Worker))
    crew._inherit()
    assert [one.job_id for one in crew._members] == ["7_1"]
    crew._leave()
