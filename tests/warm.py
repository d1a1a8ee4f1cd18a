"""A process that has imported torch once and runs each command in a child that it forks."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

_FAULT = 70


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said on both of its streams."""

    returncode: int
    said: str


class Warm:
    """Runs commands of Python as a new process would, without the start.

    Args:
        log: Where what a command says is kept until it has ended.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, words: Sequence[str], folder: Path, env: Mapping[str, str], timeout_s: float = 120
    ) -> Done:
        """Runs ``python -m MODULE ...``, ``python FILE ...`` or a console script of ours.

        Args:
            words: Program and arguments.
            folder: Its working directory.
            env: Variables beside those that this process had.
            timeout_s: When it has ended by then it is killed.
        """
        order = {"words": list(words), "folder": str(folder), "env": dict(env)}
        stdin, stdout = _pipe(self._server.stdin), _pipe(self._server.stdout)
        stdin.write(json.dumps({**order, "log": str(self._log)}) + "\n")
        stdin.flush()
        late = threading.Timer(timeout_s, _kill_group, (int(stdout.readline()),))
        late.start()
        code = int(stdout.readline())
        late.cancel()
        return Done(code, self._log.read_text())

    def close(self) -> None:
        """Ends the process."""
        _pipe(self._server.stdin).close()
        self._server.wait(30)
        _pipe(self._server.stdout).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _serve() -> None:
    import resnet_sweep.app
    import resnet_sweep.report.report
    import resnet_sweep.sweep.engine

    # The modules that a trial needs; torch has started no thread yet that a fork would lose.
    resnet_sweep.app.TrialTask().prepare()
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(order)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _child(order: Mapping[str, object]) -> NoReturn:
    code = _FAULT
    # A group, so that what it starts is killed with it.
    os.setsid()
    try:
        log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.environ.update(order["env"])  # type: ignore[call-overload]
        os.chdir(str(order["folder"]))
        code = _run(order["words"])  # type: ignore[arg-type]
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(words: list[str]) -> int:
    sys.orig_argv = words
    try:
        if words[0] == "resnet-sweep":
            from resnet_sweep.console import run

            sys.argv = words
            run()
        if words[1] == "-m":
            sys.path[0] = os.getcwd()
            sys.argv = [words[2], *words[3:]]
            runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = os.path.dirname(os.path.abspath(words[1]))
            sys.argv = words[1:]
            runpy.run_path(words[1], run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    _serve()
