"""Pictures of a study, made of its history alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.studies.epochs import epochs_of

# Of two classes that are equally frequent.
CHANCE = 0.5
# Okabe and Ito's, which colour-blind readers tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

# A line's name, with its runs and its colour.
Lines = Mapping[str, tuple[pd.DataFrame, str]]
_GREY = "#777777"
# For more groups than there are colours.
_MARKS = ("o", "s", "^")


def grid_of_curves(
    history: pd.DataFrame,
    panels: Mapping[str, Lines],
    marks: Mapping[str, Sequence[tuple[float, str]]],
    chance: float,
) -> Figure:
    """Validation accuracy by epoch, a panel a setting, a line a run.

    Args:
        history: A row a run and epoch.
        panels: By title.
        marks: By title, published accuracies with their colours: dashed.
        chance: Dotted.
    """
    figure = Figure(figsize=(4.0 * len(panels), 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for one, (title, lines) in zip(axes, panels.items(), strict=True):
        for name, (runs, colour) in lines.items():
            _draw(one, history, runs, name, colour)
        for value, colour in marks.get(title, ()):
            one.axhline(value, color=colour, linestyle="--", linewidth=1.2)
        one.axhline(chance, color=_GREY, linestyle=":", linewidth=1)
        one.set_title(title)
        one.set_xlabel("epoch")
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
        one.grid(alpha=0.25)
    axes[0].set_ylabel("validation accuracy")
    if any(marks.values()):
        axes[0].plot([], [], color=_GREY, linestyle="--", label="published, best epoch")
    axes[0].plot([], [], color=_GREY, linestyle=":", label="chance")
    _legend(figure, axes[0])
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    """Below all panels, where it hides no line."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)


def _draw(axes: Axes, history: pd.DataFrame, runs: pd.DataFrame, name: str, colour: str) -> None:
    label: str | None = name
    for curve in epochs_of(history, runs):
        axes.plot(curve["epoch"], curve["val_accuracy"], color=colour, linewidth=1.6, label=label)
        label = None


def whiskers(
    groups: Mapping[str, Sequence[tuple[str, float, float, float]]],
    label: str,
    places_label: str,
    chance: float | None = None,
) -> Figure:
    """Numbers with their intervals, grouped.

    Args:
        groups: By name, which is the legend's: place on the axis, value, lower and upper bound;
            bounds that are NaN are not drawn.
        label: Of the vertical axis.
        places_label: Of the horizontal one.
        chance: Where a line is drawn, of accuracies.
    """
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    places = list(dict.fromkeys(place for rows in groups.values() for place, *_ in rows))
    for i, (name, rows) in enumerate(groups.items()):
        shift = (i - (len(groups) - 1) / 2) * 0.12
        at = [places.index(place) + shift for place, *_ in rows]
        values = [value for _, value, _, _ in rows]
        below = [max(value - low, 0) for _, value, low, _ in rows]
        above = [max(high - value, 0) for _, value, _, high in rows]
        colour = COLOURS[i % len(COLOURS)]
        mark = _MARKS[i // len(COLOURS) % len(_MARKS)]
        axes.errorbar(at, values, (below, above), fmt=mark, color=colour, capsize=3, label=name)
    axes.set_xticks(
        range(len(places)), [fill(place, 11, break_long_words=False) for place in places]
    )
    axes.set_ylabel(label)
    axes.set_xlabel(places_label)
    if chance is not None:
        axes.axhline(chance, color=_GREY, linestyle=":", linewidth=1)
    _legend(figure, axes)
    axes.grid(axis="y", alpha=0.25)
    return figure


def best_so_far(panels: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """The best objective of the trials until then, by the epochs that all of them have trained.

    Args:
        panels: By title, the runs of each search by name, in the order in which they began.
    """
    figure = Figure(figsize=(4.4 * len(panels), 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for one, (title, searches) in zip(axes, panels.items(), strict=True):
        for i, (name, runs) in enumerate(searches.items()):
            epochs = runs["epochs"].fillna(0).cumsum()
            best = runs["objective"].where(runs["state"] == "COMPLETE").cummax().ffill()
            # Searches that draw alike lie on one another: the later ones are thinner.
            width = 1.4 + 1.6 * (len(searches) - 1 - i)
            one.step(epochs, best, where="post", color=COLOURS[i], linewidth=width, label=name)
        one.set_title(title)
        one.set_xlabel("epochs trained by the whole search")
        one.grid(alpha=0.25)
    axes[0].set_ylabel("best validation accuracy so far")
    _legend(figure, axes[0])
    return figure
