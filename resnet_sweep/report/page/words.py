"""The summary in words: how it stands, what is best, how sure that is, what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.plots.pareto import front_of
from resnet_sweep.report.plots.values import (
    best_order,
    floats,
    is_missing,
    maximizes,
    names_of,
    objective_names,
    objective_title,
    settings_of,
    texts,
)
from resnet_sweep.report.text import duration, number

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


def counted(num: int, one: str, many: str = "") -> str:
    """``1 run``, ``12,345 runs``."""
    return f"{num:,} {one if num == 1 else many or one + 's'}"


def state_counts(runs: pd.DataFrame) -> list[tuple[str, str, int]]:
    """State, its word, and how many runs are in it; those that there are."""
    states = texts(runs, "state")
    counts = [(state, word, states.count(state)) for state, word in _STATES.items()]
    return [entry for entry in counts if entry[2]]


def is_optimistic(runs: pd.DataFrame, objective: str) -> bool:
    """Whether an objective is the best of many epochs."""
    return objective_title(runs, objective).startswith("best_")


def optimism(runs: pd.DataFrame, rows: list[int] | None = None) -> str:
    """``best of 20 epochs: optimistic``."""
    epochs = floats(runs, "epochs")[rows if rows is not None else slice(None)]
    epochs = np.unique(epochs[np.isfinite(epochs)])
    if epochs.size == 1 and epochs[0] > 1:
        return f"best of {epochs[0]:.0f} epochs: optimistic"
    return "best of all epochs: optimistic"


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
    sentences += _best_sentences(runs)
    sentences += _time_sentences(content)
    return sentences


def _best_sentences(runs: pd.DataFrame) -> list[str]:
    objectives = objective_names(runs)
    if len(objectives) > 1:
        front = front_of(runs)
        one, many = "1 run is", f"{len(front):,} runs are"
        told = f"{one if len(front) == 1 else many} beaten by none in all objectives"
        return [f"{told} (the Pareto front)."] if front else []
    order = best_order(runs)
    if not order:
        return ["No run has completed with an objective."]
    best = order[0]
    name, settings = names_of(runs)[best], settings_of(runs, [best])[best]
    value = floats(runs, "objective")[best]
    setting = f" ({settings})" if settings else ""
    sentence = f"The best is {name}{setting}: {_objective(runs)} {number(value)}"
    if is_optimistic(runs, "objective"):
        sentence += f", the {optimism(runs, [best])}"
    return [sentence + ".", *_sure_sentences(runs, order)]


def _objective(runs: pd.DataFrame) -> str:
    return objective_title(runs, "objective")


def _sure_sentences(runs: pd.DataFrame, order: list[int]) -> list[str]:
    """How sure the best is, from the last epoch, which nobody has chosen."""
    best = order[0]
    last, low, high, chance = (
        floats(runs, name)
        for name in (
            *("last_val_accuracy", "last_val_accuracy_low", "last_val_accuracy_high"),
            "chance_accuracy",
        )
    )
    if not math.isfinite(low[best]):
        return []
    text = (
        f"After its last epoch its accuracy is {number(last[best])} "
        f"(95% interval {number(low[best])} to {number(high[best])}"
    )
    images = floats(runs, "num_val_images")[best]
    text += f", {images:,.0f} images)" if math.isfinite(images) else ")"
    if math.isfinite(chance[best]):
        above = low[best] > chance[best]
        text += (
            f": above chance ({number(chance[best])}), so it learned"
            if above
            else f": chance ({number(chance[best])}) is not excluded, so it did not learn"
        )
    sentences = [text + "."]
    rivals = [row for row in order[1:] if high[row] >= low[best]]
    if rivals:
        sentences.append(
            f"{counted(len(rivals), 'other run has', 'other runs have')} an interval that reaches "
            "into its own: this data does not tell them apart for sure."
        )
    elif len(order) > 1 and all(math.isfinite(high[row]) for row in order):
        sentences.append("No other run's interval reaches into its own.")
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
    if not total:
        return []
    workers = {text for text in texts(source, "worker") if text}
    slots = {text for text in texts(source, "slot") if text}
    by = [counted(len(workers), "worker")] if workers else []
    by += [f"on {counted(len(slots), 'slot')}"] if slots else []
    who = f" by {' '.join(by)}" if workers else f" {by[0]}" if by else ""
    if math.isfinite(span):
        return [f"{duration(total)} of training within {duration(span)}{who}."]
    return [f"{duration(total)} of training{who}."]


def key_figures(content: PageContent) -> list[KeyFigure]:
    """The handful of numbers at the top.

    Args:
        content: Of the page.
    """
    runs = content.runs
    if runs.empty:
        return []
    figures = []
    order = best_order(runs)
    if order and len(objective_names(runs)) == 1:
        best = order[0]
        note = (
            optimism(runs, [best])
            if is_optimistic(runs, "objective")
            else ("more is better" if maximizes(runs)[0] else "less is better")
        )
        value = number(floats(runs, "objective")[best])
        figures.append(KeyFigure(value, f"best {_objective(runs).removeprefix('best_')}", note))
        low, high = (floats(runs, f"last_val_accuracy_{end}")[best] for end in ("low", "high"))
        if math.isfinite(low):
            last = number(floats(runs, "last_val_accuracy")[best])
            note = f"95% interval {number(low)} to {number(high)}"
            figures.append(KeyFigure(last, "its last epoch's accuracy", note))
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
