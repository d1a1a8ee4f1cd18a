"""What a report prints on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from resnet_sweep.report.aggregate import aggregate
from resnet_sweep.report.best import Best
from resnet_sweep.report.columns import parameters_of
from resnet_sweep.report.render import render, render_summary
from resnet_sweep.report.report import Report
from resnet_sweep.report.source import Source
from resnet_sweep.report.text import summary_text
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.standing import STATES

_NUM_GROUPS = 12


def run_table(report: Report, width: int | None, num_rows: int | None = None) -> str:
    """The table of runs, above it the means of trials with several runs.

    Args:
        report: Of whatever.
        width: Of the terminal; None shows all columns.
        num_rows: Runs to show; None shows all.
    """
    runs = report.runs
    text = render(runs, width, num_rows, report.notes)
    if runs["repeat"].isna().all():
        return text
    studies = ["study"] if runs["study"].nunique() > 1 else []
    means = aggregate(runs, [*studies, *parameters_of(runs)])
    return f"{render_summary(means, width)}\n\n{text}"


def tell_results(report: Report, width: int | None, num_rows: int | None = None) -> str:
    """The table, how choices compare, and how many runs ended which way.

    Args:
        report: Of whatever.
        width: Of the terminal; None shows all columns.
        num_rows: Runs to show; None shows all.
    """
    parts = [run_table(report, width, num_rows), group_table(report.groups, width)]
    parts.append("\n".join(map(summary_line, report.sources)))
    return "\n\n".join(part for part in parts if part)


def summary_line(source: Source) -> str:
    """``6 trials: 4 complete, 2 fail; best 0.9778: trial 2, optimizer.lr=0.001``.

    Args:
        source: That has been read.
    """
    if source.snapshot is not None:
        return summary_text(source.snapshot)
    rows = [row for row in source.rows if row.is_last]
    states = Counter(row.facts["state"] for row in rows)
    counts = [f"{states[state]} {state.lower()}" for state in STATES if states[state]]
    runs = "1 run" if len(rows) == 1 else f"{len(rows)} runs"
    return f"{source.name}, {runs}: {', '.join(counts)}" if rows else f"{source.name}: no run"


def group_table(groups: pd.DataFrame, width: int | None) -> str:
    """How choices compare, a line a setting.

    Args:
        groups: As ``compare_groups`` gives it.
        width: Of the terminal; None shows all columns.
    """
    if groups.empty:
        return ""
    shown = groups.drop(columns=["a_accuracy", "b_accuracy", "num_pairs"]).head(_NUM_GROUPS)
    text = f"compared, not by the best epoch:\n{render_summary(shown, width)}"
    num_left = len(groups) - len(shown)
    return f"{text}\n{num_left} more are in the page" if num_left else text


def written_lines(folder: StudyFolder, best: Sequence[Best], base: Path | None = None) -> list[str]:
    """The files of a report that are there, and what runs the best trial again.

    Args:
        folder: Where they are.
        best: Configurations that were written.
        base: What paths are shown relative to; None is the working directory.
    """
    files = [folder.results_csv, folder.history_csv, folder.report_html]
    lines = [_shown(path, base or Path.cwd()) for path in _existing(files)]
    for one in best:
        lines.append(_shown(one.path, base or Path.cwd()))
    if best and best[0].command is not None:
        lines.append(f"the best again: {best[0].command}")
    return lines


def _existing(files: Iterable[Path]) -> list[Path]:
    return [path for path in files if path.is_file()]


def _shown(path: Path, base: Path) -> str:
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
