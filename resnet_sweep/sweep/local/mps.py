"""NVIDIA's MPS, which lets the processes that share a GPU compute at the same time."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from resnet_sweep.sweep.local.gpus import VISIBLE

log = logging.getLogger(__name__)

COMMAND = "nvidia-cuda-mps-control"
_GUARD = Path(__file__).with_name("guard.py")
_PIPES, _LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
_START_TIMEOUT_S = 10.0
_POLL_S = 0.1


@contextlib.contextmanager
def running_mps(uuids: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """While entered, an MPS of our own serves the GPUs, where it is installed.

    One that the environment names already is used as it is. Where none can be started the
    workers take turns on their GPU, and a warning says so.

    Args:
        uuids: The GPUs that are shared.

    Yields:
        What the environment of a process must have to find it.
    """
    command = shutil.which(COMMAND)
    if command is None or _PIPES in os.environ:
        yield {}
        return
    # Its sockets' paths may not be long, and a study's folder can be.
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:
        env = {_PIPES: folder, _LOGS: folder}
        guard_read, guard = os.pipe()
        daemon = subprocess.Popen(  # noqa: S603 - our own file and NVIDIA's program
            [sys.executable, "-P", str(_GUARD), str(os.getpid()), str(guard_read), command, "-f"],
            env={**os.environ, **env, VISIBLE: ",".join(uuids)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(guard_read,),
            start_new_session=True,
        )
        os.close(guard_read)
        try:
            if _answers(command, env, daemon):
                log.info("NVIDIA's MPS started for %d GPUs", len(uuids))
                try:
                    yield env
                finally:
                    _control(command, env, "quit")
            else:
                log.warning("%s does not start; the workers of a GPU take turns", command)
                yield {}
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
            os.close(guard)


def _answers(command: str, env: Mapping[str, str], daemon: subprocess.Popen[bytes]) -> bool:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while daemon.poll() is None and time.monotonic() < deadline_s:
        if _control(command, env, "get_server_list"):
            return True
        time.sleep(_POLL_S)
    return False


def _control(command: str, env: Mapping[str, str], order: str) -> bool:
    """Gives the daemon an order; whether it took it."""
    try:
        done = subprocess.run(  # noqa: S603 - NVIDIA's program
            [command],
            input=order.encode(),
            env={**os.environ, **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_START_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
