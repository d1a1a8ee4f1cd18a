"""The best in words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.page.sure import sure_sentences
from resnet_sweep.report.plots.pareto import front_of
from resnet_sweep.report.plots.parts import MOST_PARTS, objectives_text, parts_of
from resnet_sweep.report.plots.trials import Trial, means_of, trials_of, why_no_interval
from resnet_sweep.report.plots.values import (
    floats,
    names_of,
    objective_names,
    objective_title,
    settings_of,
    texts,
)
from resnet_sweep.report.text import number
from resnet_sweep.wording import counted


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


def best_sentences(content: PageContent) -> list[str]:
    """What is best, how sure that is, and what would make it surer.

    Args:
        content: Of the page.
    """
    parts = parts_of(content.runs)
    if len(parts) == 1:
        return _of_one(content.runs, content)
    sentences = [
        f"The objectives of these studies cannot be compared: {objectives_text(parts)}. "
        "Each study has a best of its own."
    ]
    for part in parts[:MOST_PARTS]:
        told = _of_one(part.table, None)
        sentences += [f"{part.name}: {told[0]}"] if told else []
    if len(parts) > MOST_PARTS:
        sentences.append(f"And {counted(len(parts) - MOST_PARTS, 'more study', 'more studies')}.")
    return sentences


def _of_one(runs: pd.DataFrame, content: PageContent | None) -> list[str]:
    if len(objective_names(runs)) > 1:
        return _front_sentences(runs, content.best_yaml if content is not None else None)
    trials = trials_of(runs)
    if not trials:
        return ["No run has completed with an objective."]
    best = trials[0]
    means = means_of(runs, trials)
    name, setting = names_of(runs, by_trial=True)[best.rows[0]], ""
    if settings := settings_of(runs, best.rows[:1])[best.rows[0]]:
        setting = f" ({settings})"
    told = _mean_text(runs, best, means[0]) if means[0] else number(best.mean)
    sentence = f"The best is {name}{setting}: {objective_title(runs, 'objective')} {told}"
    if is_optimistic(runs, "objective"):
        each = "each " if means[0] else ""
        sentence += f", {each}the {optimism(runs, list(best.rows))}"
    if content is None:
        return [sentence + "."]
    return [sentence + ".", *sure_sentences(content, runs, trials, means)]


def _front_sentences(runs: pd.DataFrame, best_yaml: str | None) -> list[str]:
    """How many runs are on the front, and which of them can be run again by the file."""
    front = front_of(runs)
    if not front:
        return []
    one, many = "1 run is", f"{len(front):,} runs are"
    told = one if len(front) == 1 else many
    sentences = [f"{told} beaten by none in all objectives (the Pareto front)."]
    # The file takes the first completed run of the table, whose order begins with the front.
    first = min(front)
    is_first = all(state != "COMPLETE" for state in texts(runs, "state")[:first])
    if best_yaml and is_first:
        setting = settings_of(runs, [first])[first]
        name = f"{names_of(runs)[first]}{f' ({setting})' if setting else ''}"
        of = f", the first of these {len(front):,}: none is better than the others"
        sentences.append(f"{best_yaml} has {name}{of if len(front) > 1 else ''}.")
    return sentences


def _mean_text(runs: pd.DataFrame, best: Trial, mean: dict[str, Any]) -> str:
    num = len(best.rows)
    of = counted(num, "seed") if best.is_whole else f"{num} of its {best.num_runs} seeds"
    low, high = mean["objective_low"], mean["objective_high"]
    ends = f"95% t interval {number(low)} to {number(high)}"
    if not math.isfinite(low):
        ends = why_no_interval(runs, best, "objective")
    return f"mean {number(best.mean)} over {of} ({ends})"
