"""Published values beside measured ones, with a verdict in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resnet_sweep.report.plots.published import Pair
from resnet_sweep.report.plots.trials import best_order
from resnet_sweep.report.plots.values import floats, settings_of, texts
from resnet_sweep.report.text import number


@dataclass(frozen=True)
class Verdict:
    """One setting.

    Attributes:
        pair: Its numbers.
        text: What came out of it.
        is_as_published: Whether learning was as published; None where that is unknown.
    """

    pair: Pair
    text: str
    is_as_published: bool | None

    @property
    def published(self) -> str:
        """The published number, or a dash."""
        return number(self.pair.published) if math.isfinite(self.pair.published) else "-"

    @property
    def measured(self) -> str:
        """The measured number, or a dash."""
        return number(self.pair.measured) if math.isfinite(self.pair.measured) else "-"


def verdicts(runs: pd.DataFrame) -> list[Verdict]:
    """A verdict for each trial that something was published of, in the table's order.

    Args:
        runs: A row a run; runs that repeat a trial are taken together.
    """
    if "published" not in runs and "published_learned" not in runs:
        return []
    told = np.isfinite(floats(runs, "published")) | np.isfinite(floats(runs, "published_learned"))
    trials: dict[tuple[str, ...], list[int]] = {}
    names = ("study", "ticket", "folder")
    for i, key in enumerate(zip(*(texts(runs, name) for name in names), strict=True)):
        if told[i]:
            # Single runs have no ticket; their folder tells them apart.
            trials.setdefault(key[:2] if key[1] else key, []).append(i)
    settings = settings_of(runs, [rows[0] for rows in trials.values()])
    return [_verdict(runs, rows, settings[rows[0]]) for rows in trials.values()]


def _verdict(runs: pd.DataFrame, rows: list[int], setting: str) -> Verdict:
    complete = set(best_order(runs))
    done = [row for row in rows if row in complete]
    measured = float(np.mean(floats(runs, "objective")[done])) if done else math.nan
    published = float(floats(runs, "published")[rows[0]])
    learned = floats(runs, "learned")[done]
    learned = learned[np.isfinite(learned)]
    theirs = float(floats(runs, "published_learned")[rows[0]])
    pair = Pair(setting, published, measured, rows[0])
    if not done:
        states = sorted({text.lower() for text in texts(runs.iloc[rows], "state")})
        return Verdict(pair, f"not measured: {', '.join(states)}", None)
    values = _values(published, measured)
    if learned.size == 0:
        return Verdict(pair, values or "whether it learned is unknown", None)
    share = float(learned.mean())
    ours = _learned(learned)
    if not math.isfinite(theirs):
        return Verdict(pair, "; ".join(filter(None, [ours, values])), None)
    if share not in (0.0, 1.0) or bool(share) != bool(theirs):
        said = "learned" if theirs else "did not learn"
        return Verdict(pair, "; ".join(filter(None, [ours, f"published: {said}", values])), False)
    return Verdict(pair, "; ".join(filter(None, [f"{ours}, as published", values])), True)


def _learned(learned: np.ndarray) -> str:
    if learned.all():
        return "learned"
    if not learned.any():
        return "did not learn"
    return f"{int(learned.sum())} of {learned.size} runs learned"


def _values(published: float, measured: float) -> str:
    if not math.isfinite(published):
        return ""
    # As many digits as the published number has.
    digits = max(len(f"{published:.10g}".partition(".")[2]), 2)
    return f"published {published:.{digits}f}, measured {measured:.{digits}f}"
