"""What a slot's process starts with, run as a file: ``child.py PARENT GUARD CONNECTION PAYLOAD``.

It is run by its path and not as a module, so that neither the working directory nor
PYTHONPATH decides what it imports. Until the parent's ``sys.path`` is there, only the
standard library can be.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import sys
import threading
from io import BytesIO
from multiprocessing.connection import Connection


def main(parent_pid: int, guard_fd: int, connection_fd: int, payload_fd: int) -> None:
    """Ties itself to its parent and runs the jobs that the parent sends.

    Args:
        parent_pid: Who started it.
        guard_fd: A pipe that ends with the parent.
        connection_fd: Where jobs come from and returns go.
        payload_fd: What all jobs have in common, see payload.py.
    """
    with open(payload_fd, "rb", buffering=0, closefd=True) as file:
        # Its position belongs to the parent and to all processes together.
        payload = BytesIO(os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0))
    sys.path[:] = pickle.load(payload)  # noqa: S301 - written by the parent

    from resnet_sweep.sweep.local.guard import end_with_parent

    end_with_parent(parent_pid, guard_fd)
    # Only now: the guard is a copy of this process, and Hydra is a lot to copy and to wait for.
    from resnet_sweep.sweep.local.serve import JobServer

    connection = Connection(connection_fd)
    # What a job forks must not keep the connection open when the job has died.
    os.register_at_fork(after_in_child=connection.close)
    JobServer(connection, payload).serve()
    leave()


def leave() -> None:
    """Ends the process as the end of its main module does, but leaves its modules as they are.

    To take torch apart takes up to a second, for which the sweep would wait; the kernel takes
    back all of it at once. Threads are waited for, and what was registered for the end runs.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # Nobody may be there to read.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
