"""A disk that is full, or that nothing may be written on: told as what the user can mend."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from resnet_sweep.faults import Fault, UserError
from resnet_sweep.files import mended_by


class UnwritableError(UserError):
    """A file of a sweep cannot be written."""

    title = "a file of the sweep cannot be written"


@contextmanager
def unwritable_told() -> Iterator[None]:
    """Turns an error of the file system into one that says what to do.

    Raises:
        UnwritableError: A file could not be written, for a reason that the user can mend.
    """
    try:
        yield
    except OSError as error:
        remedy = mended_by(error)
        if remedy is None:
            raise
        name = error.filename or "the study's folder"
        fix = f"{remedy}; the same command then goes on, and writes what is missing"
        raise UnwritableError(
            [Fault("file", name, os.strerror(error.errno or 0), fix=fix)]
        ) from error
