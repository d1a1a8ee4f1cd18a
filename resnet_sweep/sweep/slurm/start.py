"""What a job of Slurm starts with, run as a file: ``start.py FOLDER``.

It is run by its path and not as a module, so that neither the working directory nor PYTHONPATH
decides what it imports. Until the ``sys.path`` of the process that has submitted the job is
there, only the standard library can be.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path


def main(folder: str) -> None:
    """Runs the part of this job, as submitit does.

    Args:
        folder: Of the launch.
    """
    # The same name as in submission.py, which cannot be imported yet.
    with (Path(folder) / "payload.pkl").open("rb") as payload:
        sys.path[:] = pickle.load(payload)  # noqa: S301 - the folder is private to the user

    from submitit.core.submission import process_job

    process_job(folder)


if __name__ == "__main__":
    main(sys.argv[1])
