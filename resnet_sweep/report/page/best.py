"""The best in words, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.plots.pareto import front_of
from resnet_sweep.report.plots.parts import MOST_PARTS, objectives_text, parts_of
from resnet_sweep.report.plots.trials import Estimate, Trial, estimates_of, means_of, trials_of
from resnet_sweep.report.plots.values import (
    floats,
    names_of,
    objective_names,
    objective_title,
    settings_of,
    texts,
)
from resnet_sweep.report.settings import completed
from resnet_sweep.report.text import number


def counted(num: int, one: str, many: str = "") -> str:
    """``1 run``, ``12,345 runs``."""
    return f"{num:,} {one if num == 1 else many or one + 's'}"


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
        return _of_one(content.runs, content.confirm_command)
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


def _of_one(runs: pd.DataFrame, confirm_command: str | None) -> list[str]:
    if len(objective_names(runs)) > 1:
        front = front_of(runs)
        one, many = "1 run is", f"{len(front):,} runs are"
        told = f"{one if len(front) == 1 else many} beaten by none in all objectives"
        return [f"{told} (the Pareto front)."] if front else []
    trials = trials_of(runs)
    if not trials:
        return ["No run has completed with an objective."]
    best = trials[0]
    means = means_of(runs, trials)
    name, setting = names_of(runs, by_trial=True)[best.rows[0]], ""
    if settings := settings_of(runs, best.rows[:1])[best.rows[0]]:
        setting = f" ({settings})"
    told = _mean_text(best, means[0]) if means[0] else number(best.mean)
    sentence = f"The best is {name}{setting}: {objective_title(runs, 'objective')} {told}"
    if is_optimistic(runs, "objective"):
        each = "each " if means[0] else ""
        sentence += f", {each}the {optimism(runs, list(best.rows))}"
    return [sentence + ".", *_sure_sentences(runs, trials, means, confirm_command)]


def _mean_text(best: Trial, mean: dict[str, Any]) -> str:
    num = len(best.rows)
    of = counted(num, "seed") if best.is_whole else f"{num} of its {best.num_runs} seeds"
    low, high = mean["objective_low"], mean["objective_high"]
    ends = f" (95% t interval {number(low)} to {number(high)})" if math.isfinite(low) else ""
    return f"mean {number(best.mean)} over {of}{ends}"


def _sure_sentences(
    runs: pd.DataFrame,
    trials: Sequence[Trial],
    means: Sequence[dict[str, Any]],
    confirm_command: str | None,
) -> list[str]:
    """How sure the best is, from the last epoch, which nobody has chosen."""
    last = estimates_of(runs, trials, means, "last_val_accuracy")
    if not last[0].has_interval:
        return []
    told = _mean_level(runs, trials[0], last[0]) if means[0] else _level(runs, trials[0], last[0])
    # What was reused from an equal trial is no rival of it.
    rows = {runs.index[i] for trial in trials for i in trial.rows}
    real = set(completed(runs).index) & rows
    rivals = [
        one
        for trial, one in zip(trials[1:], last[1:], strict=True)
        if runs.index[trial.rows[0]] in real
    ]
    noun = "trial" if any(means) else "run"
    sentences = [told, *_rival_sentences(last[0], rivals, noun)]
    if rivals:
        sentences.append(_chosen(runs, len(rivals) + 1, noun, confirm_command))
    return sentences


def _level(runs: pd.DataFrame, best: Trial, last: Estimate) -> str:
    row = best.rows[0]
    images, chance = floats(runs, "num_val_images")[row], floats(runs, "chance_accuracy")[row]
    text = (
        f"After its last epoch its accuracy is {number(last.value)} "
        f"(95% interval {number(last.low)} to {number(last.high)}"
    )
    text += f", {images:,.0f} images)" if math.isfinite(images) else ")"
    if math.isfinite(chance):
        text += (
            f": above chance ({number(chance)}), so it learned"
            if last.low > chance
            else f": chance ({number(chance)}) is not excluded, so it did not learn"
        )
    return text + "."


def _mean_level(runs: pd.DataFrame, best: Trial, last: Estimate) -> str:
    """Of several seeds the number that learned tells more than whether their mean has."""
    text = (
        f"After the last epoch its mean accuracy is {number(last.value)} "
        f"(95% t interval {number(last.low)} to {number(last.high)})"
    )
    learned = floats(runs, "learned")[list(best.rows)]
    learned = learned[np.isfinite(learned)]
    if learned.size:
        text += f"; {int(learned.sum())} of its {counted(learned.size, 'run')} learned"
    return text + "."


def _rival_sentences(best: Estimate, rivals: Sequence[Estimate], noun: str) -> list[str]:
    num_equal = sum(one.high >= best.low and one.low <= best.high for one in rivals)
    num_better = sum(one.low > best.high for one in rivals)
    sentences = []
    if num_equal:
        have = counted(num_equal, f"other {noun} has", f"other {noun}s have")
        sentences.append(
            f"{have} an interval that reaches into its own: this data does not tell them apart "
            "for sure."
        )
    if num_better:
        end = counted(num_better, f"other {noun} ends", f"other {noun}s end")
        sentences.append(f"{end} clearly better: the whole interval lies above its own.")
    if rivals and not sentences and all(one.has_interval for one in rivals):
        sentences.append(f"No other {noun}'s interval reaches into its own.")
    return sentences


def _chosen(runs: pd.DataFrame, num: int, noun: str, confirm_command: str | None) -> str:
    chosen = f"It was chosen out of {counted(num, noun)}, and luck has a part in that"
    if confirm_command is not None:
        return f"{chosen}: study=confirm with fresh seeds confirms it, by the command below."
    if any(texts(runs, "metric")):
        return f"{chosen}: study=confirm with fresh seeds confirms it."
    return f"{chosen}: runs with fresh seeds would confirm it."
