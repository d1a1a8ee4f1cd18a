"""Failed runs by what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from resnet_sweep.report.plots.values import names_of, settings_of, texts

_MOST_EXAMPLES = 5
_MOST_MESSAGES = 20
_MOST_CHARS = 20_000


@dataclass(frozen=True)
class Failure:
    """One message, and the runs that ended with it.

    Attributes:
        message: Of the error.
        num_runs: How many ended so.
        examples: Name, settings and traceback of the first of them; "" where it is unknown.
    """

    message: str
    num_runs: int
    examples: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Kind:
    """Failures of one kind.

    Attributes:
        name: Of the kind.
        num_runs: How many failed so.
        failures: The most frequent messages first.
        num_hidden: Messages that are left out.
    """

    name: str
    num_runs: int
    failures: tuple[Failure, ...]
    num_hidden: int


def failures(runs: pd.DataFrame, tracebacks: Mapping[str, str]) -> list[Kind]:
    """Groups the runs that have an error, the most frequent kind first.

    Args:
        runs: A row a run.
        tracebacks: By the runs' folders.
    """
    states, errors = texts(runs, "state"), texts(runs, "error")
    kinds, folders = texts(runs, "error_kind"), texts(runs, "folder")
    found: dict[str, dict[str, list[int]]] = {}
    for i, state in enumerate(states):
        if state == "FAIL":
            message = errors[i] or "no reason was kept"
            found.setdefault(kinds[i] or "unknown", {}).setdefault(message, []).append(i)
    names = names_of(runs)

    def failure(message: str, rows: list[int]) -> Failure:
        shown = rows[:_MOST_EXAMPLES]
        settings = settings_of(runs, shown)
        examples = tuple(
            (names[i], settings[i], tracebacks.get(folders[i], "")[-_MOST_CHARS:]) for i in shown
        )
        return Failure(message[:_MOST_CHARS], len(rows), examples)

    return sorted(
        (_kind(name, messages, failure) for name, messages in found.items()),
        key=lambda kind: (-kind.num_runs, kind.name),
    )


def _kind(
    name: str, messages: dict[str, list[int]], failure: Callable[[str, list[int]], Failure]
) -> Kind:
    ranked = sorted(messages.items(), key=lambda item: -len(item[1]))
    shown = tuple(failure(message, rows) for message, rows in ranked[:_MOST_MESSAGES])
    num_runs = sum(map(len, messages.values()))
    return Kind(name, num_runs, shown, max(len(ranked) - _MOST_MESSAGES, 0))
