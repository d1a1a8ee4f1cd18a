"""In a slot's process: runs one job after another, each as Hydra's own launcher would."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import FrameType
from typing import IO

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from omegaconf import open_dict

from resnet_sweep.signals import STOP_SIGNALS, StopHandlers
from resnet_sweep.sweep.interrupt import Interrupted
from resnet_sweep.sweep.local.payload import Work


@dataclass(frozen=True)
class JobRequest:
    """One job, as it is sent to a process.

    Attributes:
        num: Hydra's number of the job.
        overrides: What it overrides in the sweep's configuration.
    """

    num: int
    overrides: Sequence[str]


@dataclass(frozen=True)
class JobReply:
    """How a job ended.

    Attributes:
        packed: The pickled JobReturn; None when a signal stopped the job.
    """

    packed: bytes | None


def failed_return(overrides: Sequence[str], error: BaseException) -> JobReturn:
    """The return of a job that failed outside of its task."""
    job_return = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
    job_return.return_value = error
    return job_return


def pack_return(job_return: JobReturn) -> bytes:
    """What a job returned, to be sent to another process; what cannot be sent has failed."""
    from resnet_sweep.sweep.local.pickling import dumps

    try:
        return dumps(job_return)
    # Whatever the objects of a user raise when they are asked for their state.
    except Exception as error:
        text = f"what the job returned cannot be sent: {type(error).__name__}: {error}"
        return dumps(failed_return(job_return.overrides or (), RuntimeError(text)))


def unpack_return(packed: bytes, overrides: Sequence[str]) -> JobReturn:
    """What a job returned; what cannot be read has failed.

    Args:
        packed: By ``pack_return``, in a process or a job of our own.
        overrides: Of the job.
    """
    try:
        job_return: JobReturn = pickle.loads(packed)  # noqa: S301 - our own process's
    # A class of the user's may refuse to be made again.
    except Exception as error:
        text = f"what the job returned cannot be read: {type(error).__name__}: {error}"
        return failed_return(overrides, RuntimeError(text))
    return job_return


class JobServer:
    """Runs the jobs that come over a connection until it is closed or a signal comes.

    The interpreter, imported modules and Hydra's registries live on from job to job, as they
    do with hydra/launcher=basic.
    """

    def __init__(self, connection: Connection, payload: IO[bytes]) -> None:
        self._connection = connection
        self._payload = payload
        self._payload_start = payload.tell()
        self._work: Work | None = None
        self._is_in_job = False
        self._signum: int | None = None

    def serve(self) -> None:
        """Runs jobs.

        Raises:
            SystemExit: A signal came.
        """
        StopHandlers.second_kills = False
        for signum in STOP_SIGNALS:
            signal.signal(signum, self._on_signal)
        while self._signum is None:
            try:
                request: JobRequest = self._connection.recv()
            except (EOFError, ConnectionResetError):
                return
            reply = self._answer(request)
            try:
                self._connection.send(reply)
            except (BrokenPipeError, ConnectionResetError):
                return
        raise SystemExit(128 + self._signum)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        # Only once: a second one would cut off what the job does in its finally blocks. Who
        # wants it gone at once sends SIGKILL.
        if self._signum is None:
            self._signum = signum
            # Raised while a message is read or written it would leave half of one; an idle
            # process ends when the connection is closed.
            if self._is_in_job:
                raise Interrupted(signum)

    def _answer(self, request: JobRequest) -> JobReply:
        self._is_in_job = True
        try:
            if self._signum is not None:
                raise Interrupted(self._signum)
            job_return = self._run(request)
        except KeyboardInterrupt as error:
            # Also when the job has handlers of its own, which ours knows nothing of.
            self._signum = self._signum or getattr(error, "signum", signal.SIGINT)
            return JobReply(None)
        # sys.exit in a task ends the sweep, as it does with hydra/launcher=basic: the sweeper
        # raises what it finds in the return.
        except BaseException as error:
            # Hydra hangs the job's return on it, which holds the error in turn: to pickle the
            # two takes as long as the stack is deep.
            vars(error).pop("_hydra_job_return_handoff", None)
            job_return = failed_return(request.overrides, error)
        finally:
            self._is_in_job = False
        return JobReply(pack_return(job_return))

    def _run(self, request: JobRequest) -> JobReturn:
        work = self._work = self._work or self._unpack()
        config = work.hydra_context.config_loader.load_sweep_config(
            work.config, list(request.overrides)
        )
        with open_dict(config):
            config.hydra.job.id = str(request.num)
            config.hydra.job.num = request.num
        HydraConfig.instance().set_config(config)
        return run_job(
            hydra_context=work.hydra_context,
            task_function=work.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def _unpack(self) -> Work:
        setup_globals()
        self._payload.seek(self._payload_start)
        try:
            work: Work = pickle.load(self._payload)  # noqa: S301 - written by the parent
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise RuntimeError(f"the task cannot be loaded in another process: {text}") from error
        Singleton.set_state(work.singletons)
        return work
