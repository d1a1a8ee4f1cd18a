"""What a report prints on a terminal."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from resnet_sweep.files import mended_by
from resnet_sweep.report.aggregate import aggregate
from resnet_sweep.report.best import Best, trial_title
from resnet_sweep.report.columns import parameters_of
from resnet_sweep.report.render import render
from resnet_sweep.report.report import Report
from resnet_sweep.report.source import Source
from resnet_sweep.report.summary import render_summary
from resnet_sweep.report.text import one_line, shown_path, summary_text
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.standing import STATES

log = logging.getLogger(__name__)

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
    # A line of means stands where its trial stands below.
    studies += ["earlier"] if "earlier" in runs else []
    means = aggregate(runs, [*studies, *parameters_of(runs)], is_ranked=False)
    return f"{render_summary(means, width)}\n\n{text}"


def tell_results(report: Report, width: int | None, num_rows: int | None = None) -> str:
    """The table, how choices compare, and how many runs ended which way.

    Args:
        report: Of whatever.
        width: Of the terminal; None shows all columns.
        num_rows: Runs to show; None shows all.
    """
    parts = [run_table(report, width, num_rows), group_table(report.groups, width)]
    parts.append(summary_lines(report))
    return "\n\n".join(part for part in parts if part)


def summary_lines(report: Report) -> str:
    """``lr_trials, 6 trials: 4 complete, 2 fail; best 0.9778: trial 2, lr=0.001``, for each study.

    Args:
        report: Of whatever.
    """
    return "\n".join(map(_summary_line, report.sources))


def _summary_line(source: Source) -> str:
    if source.snapshot is not None:
        return f"{one_line(source.name)}, {summary_text(source.snapshot)}"
    rows = [row for row in source.rows if row.is_last]
    states = Counter(row.facts["state"] for row in rows)
    counts = [f"{states[state]} {state.lower()}" for state in STATES if states[state]]
    runs = "1 run" if len(rows) == 1 else f"{len(rows)} runs"
    text = f"{one_line(source.name)}, {runs}: {', '.join(counts) or 'nothing yet'}"
    best = next(iter(rows), None)
    if best is not None and best.facts["state"] == "COMPLETE" and "objective" in best.facts:
        text += f"; best {trial_title(best)}"
    return text


def standing_lines(report: Report) -> list[str]:
    """Of sweeps that have stopped before their end, that they have.

    Args:
        report: Of whatever.
    """
    sources = report.sources
    return [f"{one_line(one.name)}: {one.standing}" for one in sources if one.standing]


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


def tell_and_write(report: Report, folder: StudyFolder, width: int | None, base: Path) -> None:
    """Ends a sweep: writes and prints its tables, then writes what is made of them.

    A page that cannot be made is logged, since the results are there; one that cannot be written
    is an error, as a table is.

    Args:
        report: Of the sweep.
        folder: Its own.
        width: Of the terminal; None shows all columns.
        base: What paths are shown relative to, and where commands will be typed.
    """
    written = report.write_tables(folder)
    print(f"\n{tell_results(report, width)}\n")
    best: Sequence[Best] = ()
    try:
        best = report.write_best(folder, base=base)
        written.append(report.write_page(folder, best))
    except Exception as error:
        if isinstance(error, OSError) and mended_by(error) is not None:
            # A full disk is no fault of the report, and whoever made room wants the page as well.
            raise
        log.exception("the report in %s could not be made", folder.path)
    print("\n".join(written_lines(written, best, base)))


def written_lines(
    written: Iterable[Path], best: Sequence[Best], base: Path, *, is_of_several: bool = False
) -> list[str]:
    """The files that were written, and what runs the best trial again.

    Args:
        written: Tables, page and plots.
        best: Configurations.
        base: What paths are shown relative to.
        is_of_several: Of studies, so that it has to be said which one the best is of.
    """
    lines = [shown_path(path, base) for path in (*written, *(one.path for one in best))]
    lines += [one_line(one.title) for one in best if len(best) > 1 or is_of_several]
    if best and best[0].command is not None:
        lines.append(f"the best again: {best[0].command}")
    return lines
