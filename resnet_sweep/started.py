"""How this process was started, in words that can be typed again."""

from __future__ import annotations

import os
import shlex
import shutil
import sys


def started_as() -> list[str]:
    """How this process was started, without what was typed behind the program's name."""
    words = _words()
    return words[: len(words) - len(sys.argv) + 1]


def typed_again() -> str:
    """The command that started this process, as it can be typed again."""
    return shlex.join(_words())


def _words() -> list[str]:
    words = sys.orig_argv[1:]
    script = words[0] if words else ""
    # A console script is found by its first line, and knows the Python that it belongs to.
    if os.sep not in script or script.endswith(".py") or not os.access(script, os.X_OK):
        return ["python", *words]
    name = os.path.basename(script)
    found = shutil.which(name)
    is_on_path = found is not None and os.path.samefile(found, script)
    return [name if is_on_path else script, *words[1:]]
