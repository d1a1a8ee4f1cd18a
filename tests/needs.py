"""What a test needs of its machine: skipped without it, or failed where CI has promised it."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REQUIRED = "CI_REQUIRE"
NAMES = frozenset({"postgres", "slurm", "ray", "chromium", "cc"})


def required() -> frozenset[str]:
    """What must be here: the comma list of CI_REQUIRE."""
    names = {name.strip() for name in os.environ.get(REQUIRED, "").split(",")} - {""}
    if unknown := names - NAMES:
        known = ", ".join(sorted(NAMES))
        raise ValueError(f"{REQUIRED}: not known: {', '.join(sorted(unknown))}; known: {known}")
    return frozenset(names)


def skip_or_fail(name: str, reason: str) -> NoReturn:
    """Ends a test whose machine lacks something.

    Args:
        name: What is missing, as CI_REQUIRE calls it.
        reason: Why, and what would bring it.
    """
    if name not in NAMES:
        raise ValueError(f"{name} is none of {', '.join(sorted(NAMES))}")
    if name in required():
        pytest.fail(f"{REQUIRED} has {name}: {reason}", pytrace=False)
    pytest.skip(reason)
