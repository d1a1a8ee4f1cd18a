"""Words of messages that depend on a number."""

from __future__ import annotations


def counted(num: int, one: str, many: str = "") -> str:
    """``1 run``, ``12,345 runs``.

    Args:
        num: How many.
        one: What one is called.
        many: What several are called; empty is ``one`` with an s.
    """
    return f"{num:,} {one if num == 1 else many or one + 's'}"
