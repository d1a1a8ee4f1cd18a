"""Values as the text of an override, and as a key under which equal ones are the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from resnet_sweep.faults import ConfigError, Fault

# Text that Hydra's grammar reads as itself without quotes. Quoting more than needed would be
# right, too, but stands in folder names, tables and logs.
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*([-./][A-Za-z0-9_]+)*")
_INTERPOLATION = re.compile(r"\$\{[^{}'\"\\]+\}")
_WORDS_WITH_A_MEANING = ("true", "false", "null", "inf", "nan")


Scalar = bool | int | float | str | None


def encode(value: Any, key: str = "") -> str:
    """Writes a value so that Hydra reads exactly this value, of this type.

    Args:
        value: None, a bool, number, string, enum member or path, or a list or mapping of them.
        key: For the fault.

    Raises:
        ConfigError: Hydra's grammar has no way to write the value.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return encode(value.name, key)
    if isinstance(value, (str, PurePath)):
        return _encode_string(str(value))
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    if isinstance(value, Mapping):
        items = [f"{_encode_name(name, key)}:{encode(v, key)}" for name, v in value.items()]
        return "{" + ",".join(items) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(encode(item, key) for item in value) + "]"
    raise _not_writable(key, value)


def _encode_string(text: str) -> str:
    bare = _BARE.fullmatch(text) and text.lower() not in _WORDS_WITH_A_MEANING
    if bare or _INTERPOLATION.fullmatch(text):
        return text
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _encode_name(name: Any, key: str) -> str:
    """The name of an entry of a mapping, which cannot be quoted."""
    if isinstance(name, str):
        if _BARE.fullmatch(name) and name.lower() not in _WORDS_WITH_A_MEANING:
            return name
    elif name is None or isinstance(name, (bool, int, float)):
        return encode(name, key)
    raise _not_writable(key, name)


def _not_writable(key: str, value: Any) -> ConfigError:
    return ConfigError([Fault(key, value, "cannot be written as an override")])


def plain(value: Any) -> Any:
    """A parsed element as Python values: what ``Override.value()`` is for a whole override."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {plain(name): plain(item) for name, item in value.items()}
    return value


def scalar(value: Any, key: str = "") -> Scalar:
    """What Optuna is told for a value: itself, or for a list or mapping its text.

    Args:
        value: Of a configuration.
        key: For the fault.

    Raises:
        ConfigError: The value cannot be written as an override.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Enum, PurePath)):
        return value.name if isinstance(value, Enum) else str(value)
    return encode(value, key)
