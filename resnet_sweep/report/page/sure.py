"""How sure it is that the best is the best, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.page.rivals import paired_with
from resnet_sweep.report.plots.trials import Estimate, Trial, estimates_of, why_no_interval
from resnet_sweep.report.plots.values import floats, names_of, objective_title, settings_of
from resnet_sweep.report.settings import completed
from resnet_sweep.report.text import number
from resnet_sweep.wording import counted

_LAST = "last_val_accuracy"
# More would be a table, and that is on the page.
_MOST_TOLD = 3


def sure_sentences(
    content: PageContent,
    runs: pd.DataFrame,
    trials: Sequence[Trial],
    means: Sequence[dict[str, Any]],
) -> list[str]:
    """From the last epoch, which nobody has chosen, and from comparisons run by run.

    Args:
        content: Of the page.
        runs: A row a run, of one objective.
        trials: Of the runs, best first.
        means: Of the trials.
    """
    best = trials[0]
    last = estimates_of(runs, trials, means, _LAST)
    sentences = []
    if means[0] and math.isfinite(last[0].value):
        sentences.append(_mean_level(runs, best, last[0]))
    elif last[0].has_interval:
        sentences.append(_level(runs, best, last[0]))
    # What was reused from an equal trial is no rival of it.
    real = set(completed(runs).index)
    rivals = [
        (trial, one)
        for trial, one in zip(trials[1:], last[1:], strict=True)
        if runs.index[trial.rows[0]] in real
    ]
    sentences += _tie_sentences(runs, best, [trial for trial, _ in rivals], bool(means[0]))
    paired = paired_with(runs, content.groups, best.rows[0], [trial.rows[0] for trial, _ in rivals])
    sentences += _paired_sentences(runs, paired)
    noun = "trial" if any(means) else "run"
    rest = [one for trial, one in rivals if trial.rows[0] not in paired]
    if last[0].has_interval:
        sentences += _rival_sentences(last[0], rest, noun, "further" if paired else "other")
    if rivals and math.isfinite(last[0].value):
        sentences.append(_chosen(len(rivals) + 1, noun, content.confirm_command))
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
    ends = f"95% t interval {number(last.low)} to {number(last.high)}"
    if not last.has_interval:
        ends = why_no_interval(runs, best, _LAST)
    text = f"After the last epoch its mean accuracy is {number(last.value)} ({ends})"
    learned = floats(runs, "learned")[list(best.rows)]
    learned = learned[np.isfinite(learned)]
    if learned.size:
        text += f"; {int(learned.sum())} of its {counted(learned.size, 'run')} learned"
    return text + "."


def _tie_sentences(
    runs: pd.DataFrame, best: Trial, rivals: Sequence[Trial], is_mean: bool
) -> list[str]:
    rows = [
        trial.rows[0]
        for trial in rivals
        if trial.is_whole and math.isclose(trial.mean, best.mean, rel_tol=1e-9)
    ]
    if not rows:
        return []
    names = names_of(runs, by_trial=True)
    told = [names[row] for row in rows[:_MOST_TOLD]]
    if len(rows) > len(told):
        told.append(f"{len(rows) - len(told):,} more")
    who = told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
    what = "mean" if is_mean else objective_title(runs, "objective")
    return [f"{who[:1].upper()}{who[1:]} {'has' if len(rows) == 1 else 'have'} the same {what}."]


def _paired_sentences(runs: pd.DataFrame, paired: dict[int, str]) -> list[str]:
    shown = list(paired)[:_MOST_TOLD]
    names, settings = names_of(runs, by_trial=True), settings_of(runs, shown)
    sentences = [f"Compared with {names[row]} ({settings[row]}) {paired[row]}." for row in shown]
    if len(paired) > len(shown):
        more = counted(len(paired) - len(shown), "more comparison stands", "more comparisons stand")
        sentences.append(
            f"{more} under \N{LEFT DOUBLE QUOTATION MARK}Groups compared"
            "\N{RIGHT DOUBLE QUOTATION MARK}."
        )
    return sentences


def _rival_sentences(
    best: Estimate, rivals: Sequence[Estimate], noun: str, other: str
) -> list[str]:
    num_equal = sum(one.high >= best.low and one.low <= best.high for one in rivals)
    num_better = sum(one.low > best.high for one in rivals)
    sentences = []
    if num_equal:
        have = counted(num_equal, f"{other} {noun} has", f"{other} {noun}s have")
        sentences.append(
            f"{have} an interval that reaches into its own: this data does not tell them apart "
            "for sure."
        )
    if num_better:
        end = counted(num_better, f"{other} {noun} ends", f"{other} {noun}s end")
        sentences.append(f"{end} clearly better: the whole interval lies above its own.")
    if rivals and not sentences and all(one.has_interval for one in rivals):
        sentences.append(f"No {other} {noun}'s interval reaches into its own.")
    return sentences


def _chosen(num: int, noun: str, confirm_command: str | None) -> str:
    chosen = f"It was chosen out of {counted(num, noun)}, and luck has a part in that"
    if confirm_command is None:
        return f"{chosen}."
    return f"{chosen}: study=confirm with fresh seeds checks it, by the command below."
