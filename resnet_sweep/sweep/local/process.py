"""One process in a slot, as its parent sees it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import IO

from resnet_sweep.sweep.local.serve import JobReply, JobRequest
from resnet_sweep.sweep.local.slots import Slot

_CHILD = Path(__file__).with_name("child.py")
# A connection that has ended while the process has not: its job has closed what it should not.
_LAST_WORDS_S = 5.0


class SlotProcess:
    """A subprocess in a session of its own, which runs the jobs that it is sent.

    A session of its own keeps the terminal's Ctrl-C from it: only its parent decides when it
    is told to stop.
    """

    def __init__(
        self, slot: Slot, payload: IO[bytes], extra_env: Mapping[str, str], log: Path | None
    ) -> None:
        """Starts it.

        Args:
            slot: Whose share of the machine it gets.
            payload: What all its jobs have in common.
            extra_env: What its environment has besides this process's and the slot's.
            log: What it prints is appended here; None leaves it on this process's terminal.
        """
        self.slot, self.log = slot, log
        guard_read, self._guard = os.pipe()
        self.connection, theirs = Pipe()
        fds = (guard_read, theirs.fileno(), payload.fileno())
        # -u: what is printed before a crash is there after it; faulthandler: and says where.
        command = [sys.executable, "-P", "-u", "-X", "faulthandler", str(_CHILD)]
        output = contextlib.nullcontext() if log is None else log.open("ab")
        try:
            with output as file:
                self._popen = subprocess.Popen(  # noqa: S603 - our own file
                    [*command, *map(str, (os.getpid(), *fds))],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=None if file is None else subprocess.STDOUT,
                    env={**os.environ, **extra_env, **slot.env},
                    pass_fds=fds,
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._guard)
            self.connection.close()
            raise
        finally:
            os.close(guard_read)
            theirs.close()

    @property
    def pid(self) -> int:
        """Its process id, and its group's."""
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def send(self, request: JobRequest) -> None:
        """Sends it a job. That it is dead already is told by ``receive``."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(request)

    def receive(self) -> JobReply | None:
        """Waits for the end of its job; None when the process ends first."""
        try:
            reply: JobReply = self.connection.recv()
        except (EOFError, ConnectionResetError):
            return None
        return reply

    def ask_to_stop(self) -> None:
        """Sends it, but not what it has started, SIGTERM."""
        self._popen.terminate()

    def dismiss(self) -> None:
        """Lets it end when it has nothing to do."""
        self.connection.close()

    def end(self) -> str:
        """Makes sure that nothing of it is left.

        Returns:
            How it has ended: "exit code 3", "killed by SIGSEGV".
        """
        self.connection.close()
        self._kill_group()
        code = self._popen.wait()
        os.close(self._guard)
        return f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"

    def last_words(self) -> str:
        """Waits a moment for a process that has hung up to end by itself, and ends it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(_LAST_WORDS_S)
        return self.end()

    def _kill_group(self) -> None:
        # Its guard lives in the group until now, so the id cannot be another group's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)


def _signal_name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
