"""Values that OmegaConf gives back as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def literal(value: Any) -> Any:
    """The value, nested, with every ``${`` in it as plain text."""
    if isinstance(value, Mapping):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [literal(item) for item in value]
    if isinstance(value, str):
        # Backslashes mean something to it only before an interpolation.
        return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", value)
    return value
