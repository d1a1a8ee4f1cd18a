"""Pickles for other processes, with code that still names its file."""

from __future__ import annotations

import io
from collections import ChainMap
from collections.abc import Callable
from types import CodeType
from typing import Any, ClassVar

import cloudpickle


def dumps(value: object) -> bytes:
    """Pickles as cloudpickle does, which sends by value what cannot be imported elsewhere.

    From 3.1.3 on cloudpickle calls the file of such code ``<dynamic-code>``: a traceback would
    name no file of the user's and show no line of it. Here the code keeps the name.

    Args:
        value: Whatever cloudpickle takes.

    Returns:
        What ``pickle.loads`` reads, where this package can be imported.

    Raises:
        Exception: Whatever the objects of a user raise when they are asked for their state.
    """
    file = io.BytesIO()
    _Pickler(file).dump(value)
    return file.getvalue()


def _reduce(code: CodeType) -> tuple[Callable[..., CodeType], tuple[Any, ...]]:
    make, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return _make, (code.co_filename, make, arguments)


def _make(filename: str, make: Callable[..., CodeType], arguments: tuple[Any, ...]) -> CodeType:
    return make(*arguments).replace(co_filename=filename)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    # Each piece of code passes through it, also what is nested in other code.
    dispatch_table: ClassVar[Any] = ChainMap(
        {CodeType: _reduce}, cloudpickle.Pickler.dispatch_table
    )
