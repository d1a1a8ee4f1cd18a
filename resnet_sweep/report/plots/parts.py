"""Which runs can be compared by their objective, and figures of those that cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from resnet_sweep.report.plots.figure import Bars, Figure, Line, Mark, NoFigure, Points
from resnet_sweep.report.plots.values import floats, objective_names, objective_title, texts
from resnet_sweep.report.text import one_line

MOST_PARTS = 8

_Kind = tuple[str, tuple[bool, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Part:
    """Runs with one objective.

    Attributes:
        name: Of the study; with the metric where a study has several.
        rows: Positions of the runs in the whole table.
        table: These runs, with their own objectives only.
    """

    name: str
    rows: np.ndarray
    table: pd.DataFrame


def parts_of(runs: pd.DataFrame, *, by_study: bool = False) -> list[Part]:
    """The runs in parts that can be compared within, one if all can.

    Args:
        runs: A row a run.
        by_study: Makes parts of the studies also where all can.
    """
    if by_study:
        return studies_of(runs)
    kinds = _kinds(runs)
    if len({kind for found in kinds.values() for kind in found}) < 2:
        return [Part("", np.arange(len(runs)), runs)]
    return _parts(runs, kinds)


def studies_of(runs: pd.DataFrame) -> list[Part]:
    """The runs of each study, in parts where a study has several objectives.

    Args:
        runs: A row a run.
    """
    return _parts(runs, _kinds(runs))


def figure_of_parts(
    parts: Sequence[Part], compute: Callable[[pd.DataFrame], Figure | NoFigure]
) -> Figure | NoFigure:
    """A figure of several parts, of which one is shown at a time.

    Args:
        parts: Of a table.
        compute: Makes the figure of one part's table.
    """
    if len(parts) == 1:
        return compute(parts[0].table)
    computed = [(part, compute(part.table)) for part in parts[:MOST_PARTS]]
    figures = [(part, found) for part, found in computed if isinstance(found, Figure)]
    if not figures:
        reasons = [found.reason for _, found in computed if isinstance(found, NoFigure)]
        return NoFigure(next(filter(None, reasons), ""))
    panels = [
        replace(
            panel,
            choice=": ".join(filter(None, [part.name, panel.choice])),
            marks=tuple(_rekeyed(mark, part.rows) for mark in panel.marks),
        )
        for part, figure in figures
        for panel in figure.panels
    ]
    legend = dict.fromkeys(entry for _, figure in figures for entry in figure.legend)
    more = f"The first {MOST_PARTS} of {len(parts)} studies. " if len(parts) > MOST_PARTS else ""
    caption = more + _caption([(part.name, figure.caption) for part, figure in figures])
    return replace(
        figures[0][1],
        panels=tuple(panels),
        legend=tuple(legend),
        caption=caption.strip(),
        choice_name="study",
    )


def objectives_text(parts: Sequence[Part]) -> str:
    """``best_val_accuracy (more is better), last_val_loss (less is better)``."""
    told: dict[str, None] = {}
    for _, (title, directions, names) in ((part, _kind_of(part.table)) for part in parts):
        for name, is_more in zip(names, directions, strict=True):
            shown = one_line(title or name, 40) if len(names) == 1 else name
            told[f"{shown} ({'more' if is_more else 'less'} is better)"] = None
    return ", ".join(told)


def _kind_of(table: pd.DataFrame) -> _Kind:
    found = [kind for kinds in _kinds(table).values() for kind in kinds]
    return found[0] if found else ("", (), ())


def _caption(captions: Sequence[tuple[str, str]]) -> str:
    if len({caption for _, caption in captions}) == 1:
        return captions[0][1]
    return " ".join(f"{name}: {caption}" for name, caption in captions if caption)


def _rekeyed(mark: Mark, rows: np.ndarray) -> Mark:
    """A mark of a part with the positions that its runs have in the whole table."""
    if isinstance(mark, Line):
        return mark if mark.key is None else replace(mark, key=int(rows[mark.key]))
    if isinstance(mark, Points):
        return replace(mark, keys=tuple(int(rows[key]) for key in mark.keys))
    keys = tuple(None if key is None else int(rows[key]) for key in mark.keys)
    return replace(mark, keys=keys) if isinstance(mark, Bars) else mark


def _kinds(runs: pd.DataFrame) -> dict[str, dict[_Kind, list[int]]]:
    """By study what its objective is, and the runs that have one of this kind."""
    names = objective_names(runs)
    known = np.stack([~np.isnan(floats(runs, name)) for name in names], axis=1)
    studies, metrics = texts(runs, "study"), texts(runs, "metric")
    directions = texts(runs, "direction")
    rows: dict[str, list[int]] = {}
    for i in np.flatnonzero(known.any(axis=1)).tolist():
        rows.setdefault(studies[i], []).append(i)
    kinds: dict[str, dict[_Kind, list[int]]] = {}
    for study, own in rows.items():
        used = tuple(name for j, name in enumerate(names) if known[own, j].any())
        told = {metrics[i] for i in own if metrics[i]}
        # A run may have left no word of what the others measured.
        usual = told.pop() if len(told) == 1 else ""
        found = kinds.setdefault(study, {})
        for i in own:
            kind = (metrics[i] or usual, _maximized(directions[i], len(used)), used)
            found.setdefault(kind, []).append(i)
    return kinds


def _maximized(direction: str, num: int) -> tuple[bool, ...]:
    told = [part.strip() for part in direction.split(",")]
    return tuple(told[i : i + 1] != ["minimize"] for i in range(num))


def _parts(runs: pd.DataFrame, kinds: dict[str, dict[_Kind, list[int]]]) -> list[Part]:
    studies = texts(runs, "study")
    names = objective_names(runs)
    parts = []
    for study in dict.fromkeys(studies):
        found = kinds.get(study, {})
        own = [i for i, name in enumerate(studies) if name == study]
        placed = {i for rows in found.values() for i in rows}
        # Runs without an objective go with the first kind.
        rest = [i for i in own if i not in placed]
        for kind, kept in found.items() or [(("", (), tuple(names)), [])]:
            rows, rest = np.array(sorted([*kept, *rest]), dtype=np.int64), []
            table = runs.iloc[rows].reset_index(drop=True)
            table = table.drop(columns=[name for name in names if name not in kind[2]])
            several = kind[0] or objective_title(table, kind[2][0])
            name = one_line(study, 40) if len(found) < 2 else f"{one_line(study, 40)}: {several}"
            parts.append(Part(name, rows, table))
    return parts
