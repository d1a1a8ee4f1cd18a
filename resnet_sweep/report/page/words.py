"""The summary in words: how it stands, what is best, how sure that is, what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resnet_sweep.report.page.best import best_sentences, is_optimistic, optimism
from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.plots.parts import parts_of
from resnet_sweep.report.plots.trials import estimates_of, means_of, trials_of, why_no_interval
from resnet_sweep.report.plots.values import (
    floats,
    is_missing,
    maximizes,
    objective_names,
    objective_title,
    texts,
)
from resnet_sweep.report.text import duration, number
from resnet_sweep.wording import counted

# Studies that cannot be compared have a number each.
_MOST_BEST = 4
_STATES = {
    "COMPLETE": "completed",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


@dataclass(frozen=True)
class KeyFigure:
    """A number to be read at a glance.

    Attributes:
        value: Large.
        label: What it is.
        note: What to know about it.
    """

    value: str
    label: str
    note: str = ""


def state_counts(runs: pd.DataFrame) -> list[tuple[str, str, int]]:
    """State, its word, and how many runs are in it; those that there are."""
    states = texts(runs, "state")
    counts = [(state, word, states.count(state)) for state, word in _STATES.items()]
    return [entry for entry in counts if entry[2]]


def summary(content: PageContent) -> list[str]:
    """Sentences, each of which stands alone.

    Args:
        content: Of the page.
    """
    runs = content.runs
    if runs.empty:
        return ["No run has been found yet."]
    counts = [f"{num:,} {word}" for _, word, num in state_counts(runs)]
    sentences = [f"{counted(len(runs), 'run')}: {', '.join(counts)}."]
    if content.is_active:
        left = f"; about {duration(content.left_s)} left" if content.left_s is not None else ""
        sentences.append(f"The sweep is still going on{left}.")
    sentences += best_sentences(content)
    sentences += _time_sentences(content)
    return sentences


def _times(runs: pd.DataFrame, name: str) -> list[pd.Timestamp]:
    if name not in runs:
        return []
    return [pd.Timestamp(time) for time in runs[name].tolist() if not is_missing(time)]


def span_s(content: PageContent) -> float:
    """From the first start to the last end, or to now while it runs; NaN if unknown."""
    source = content.runs if content.attempts.empty else content.attempts
    started, ended = _times(source, "started"), _times(source, "ended")
    if content.is_active:
        ended = [pd.Timestamp(content.made_at.replace(tzinfo=None))]
    if not started or not ended:
        return math.nan
    return max((max(ended) - min(started)).total_seconds(), 0.0)


def _time_sentences(content: PageContent) -> list[str]:
    source = content.runs if content.attempts.empty else content.attempts
    total = float(np.nansum(floats(source, "seconds")))
    span = span_s(content)
    if not total or not math.isfinite(total):
        return []
    workers = {text for text in texts(source, "worker") if text}
    slots = {text for text in texts(source, "slot") if text}
    by = [counted(len(workers), "worker")] if workers else []
    by += [f"on {counted(len(slots), 'slot')}"] if slots else []
    who = f" by {' '.join(by)}" if workers else f" {by[0]}" if by else ""
    if math.isfinite(span):
        return [f"{duration(total)} of training within {duration(span)}{who}."]
    return [f"{duration(total)} of training{who}."]


def _best_figures(runs: pd.DataFrame, study: str) -> list[KeyFigure]:
    """The best objective and its last epoch's accuracy; of repeats the means."""
    trials = trials_of(runs)[:1]
    if not trials:
        return []
    best, means = trials[0], means_of(runs, trials)
    is_mean = bool(means[0])
    notes = [f"over {counted(len(best.rows), 'seed')}"] if is_mean else []
    if is_optimistic(runs, "objective"):
        notes.append(optimism(runs, list(best.rows)))
    elif not is_mean:
        notes.append("more is better" if maximizes(runs)[0] else "less is better")
    title = objective_title(runs, "objective").removeprefix("best_")
    label = f"best {'mean ' if is_mean else ''}{title}{f' of {study}' if study else ''}"
    figures = [KeyFigure(number(best.mean), label, ", ".join(notes))]
    last = estimates_of(runs, trials, means, "last_val_accuracy")[0]
    if last.has_interval or (is_mean and math.isfinite(last.value)):
        note = f"95% {'t ' if is_mean else ''}interval {number(last.low)} to {number(last.high)}"
        if not last.has_interval:
            note = why_no_interval(runs, best, "last_val_accuracy")
        label = f"its {'mean ' if is_mean else ''}last-epoch accuracy"
        figures.append(KeyFigure(number(last.value), label, note))
    return figures


def key_figures(content: PageContent) -> list[KeyFigure]:
    """The handful of numbers at the top.

    Args:
        content: Of the page.
    """
    runs = content.runs
    if runs.empty:
        return []
    figures = []
    if len(objective_names(runs)) == 1:
        parts = parts_of(runs)
        for part in parts[:_MOST_BEST]:
            # Of several studies there is room for one number each.
            figures += _best_figures(part.table, part.name)[: 2 if len(parts) == 1 else 1]
    counts = ", ".join(f"{num:,} {word}" for _, word, num in state_counts(runs))
    label = "run" if len(runs) == 1 else "runs"
    figures.append(KeyFigure(f"{len(runs):,}", label, counts))
    span = span_s(content)
    if math.isfinite(span):
        note = (
            f"about {duration(content.left_s)} left"
            if content.left_s is not None
            else ("still going on" if content.is_active else "from first start to last end")
        )
        figures.append(KeyFigure(duration(span), "wall time", note))
    return figures
