"""Values that OmegaConf, and words that a shell, gives back as they are."""

from __future__ import annotations

import re
import shlex
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


def shell_word(text: str) -> str:
    """The text as one word for a shell, on one line that YAML reads."""
    if text.isprintable():
        return shlex.quote(text)
    # bash's quotes for what no other quotes can say on one line.
    escaped = "".join(
        char if char.isprintable() and char not in "\\'" else _bytes_of(char) for char in text
    )
    return f"$'{escaped}'"


def _bytes_of(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode(errors="surrogateescape"))
