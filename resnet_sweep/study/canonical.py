"""When two configurations are the same, whichever way their values were written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any


def dotted(settings: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings under dotted keys; an empty mapping is a value."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def bare_key(key: str) -> str:
    """A key without the ``+``, ``++`` or ``~`` that it was typed with."""
    return key.lstrip("+~")


def canonical(values: Mapping[str, Any]) -> str:
    """A text that is the same for values that make the same configuration, and for no others.

    1 is 1.0, nan is nan; true is not 1, nor is "1". The order of the keys does not count, nor
    do the ``+`` or ``++`` that they were typed with.

    Args:
        values: A value for each key.
    """
    return _canonical({bare_key(key): value for key, value in values.items()})


def same(value: Any, other: Any) -> bool:
    """Whether two values are the same in the sense of ``canonical``."""
    return _canonical(value) == _canonical(other)


def _canonical(value: Any) -> str:
    if isinstance(value, (bool, str)) or value is None:
        return json.dumps(value)
    if isinstance(value, Enum):
        return json.dumps(value.name)
    if isinstance(value, PurePath):
        return json.dumps(str(value))
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        number = float(value)
        whole = math.isfinite(number) and number.is_integer()
        return str(int(number)) if whole else repr(number)
    if isinstance(value, Mapping):
        items = sorted(f"{_canonical(name)}: {_canonical(item)}" for name, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_canonical, value)) + "]"
    raise TypeError(f"a {type(value).__name__} is no value of a configuration")
