"""Axes of parameters: where their values lie."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import tables

from resnet_sweep.report.columns import frame
from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.categories import categories_of, category_colours
from resnet_sweep.report.plots.coordinates import coordinate, spread
from resnet_sweep.report.plots.figure import Figure, NoFigure
from resnet_sweep.report.plots.parameters import parameters
from resnet_sweep.report.plots.plotly import drawn
from resnet_sweep.report.plots.study import study_of

RUN = tables.run


def figure(value: Figure | NoFigure) -> Figure:
    assert isinstance(value, Figure), value
    return value


@pytest.mark.parametrize(
    ("values", "told", "scale"),
    [
        ([1e-3, 1e-2], False, "log"),
        ([1.0, 9.0], False, "linear"),
        ([1.0, 2.0], True, "log"),
        ([0.0, 1e3], True, "linear"),
    ],
)
def test_an_axis_is_logarithmic_where_told_or_where_values_span_decades(values, told, scale):
    runs = frame([RUN(i, {"p": value}, objective=0.5) for i, value in enumerate(values)])
    place = coordinate(runs, "p", frozenset(["p"] if told else []))
    assert place.axis.scale == scale


def test_mixed_values_are_categories_and_a_missing_part_has_no_place():
    rows = [RUN(i, {"p": value}) for i, value in enumerate([None, "x", [1, 2], True])]
    place = coordinate(frame([*rows, RUN(4, {})]), "p", frozenset())
    assert [name for _, name in place.axis.ticks] == ["[1, 2]", "null", "true", "x"]
    assert place.positions.tolist()[:4] == [1, 3, 0, 2]
    assert math.isnan(place.positions[4])


@pytest.mark.parametrize(("least", "every"), [(1e-3, 1), (1e-7, 2)])
def test_of_many_decades_not_all_are_named(least, every):
    runs = frame([RUN(i, {"p": p}, objective=i / 10) for i, p in enumerate([least, 1.0])])
    (panel,) = figure(parameters(runs, frozenset(["p"]))).panels
    panel = dataclasses.replace(panel, x=dataclasses.replace(panel.x, ticks=()))
    assert drawn(panel)["layout"]["xaxis"]["dtick"] == every


def test_long_values_that_shorten_alike_stay_apart():
    start, end = "x" * 40, "y" * 40
    values = [f"{start}{i}{end}" for i in range(3)] + [f"{start}0{end}", "1", 1]
    runs = frame([RUN(i, {"p": value}, objective=i / 10) for i, value in enumerate(values)])
    found = categories_of(runs, "p")
    assert len(set(found.labels)) == len(found.labels) == 5
    assert found.places[0] == found.places[3]
    assert {'"1"', "1"} <= {found.label(4), found.label(5), *found.labels}
    place = coordinate(runs, "p", frozenset())
    assert len(place.axis.ticks) == 5
    assert place.positions[0] == place.positions[3] != place.positions[1]
    name, colours, legend = category_colours(runs, palette.CATEGORIES)
    assert name == "p"
    assert len(set(colours)) == len(legend) == 5
    study = study_of(runs, range(6), "objective", True, frozenset())
    assert len(study.trials[0].distributions["p"].choices) == 5


def test_null_among_few_numbers_is_a_category_before_them():
    values = [None, 10.0, 9.0, None, 1.0]
    runs = frame([RUN(i, {"p": value}, objective=0.5) for i, value in enumerate(values)])
    runs["p"] = pd.Series(values, dtype=object)
    place = coordinate(runs, "p", frozenset())
    assert [name for _, name in place.axis.ticks] == ["null", "1", "9", "10"]
    assert place.positions.tolist() == [0, 3, 2, 0, 1]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_null_among_many_numbers_has_a_place_before_them(scale):
    values = [None, *(float(i) for i in range(11, 41))]
    runs = frame([RUN(i, {"p": value}, objective=0.5) for i, value in enumerate(values)])
    runs["p"] = pd.Series(values, dtype=object)
    place = coordinate(runs, "p", frozenset(["p"] if scale == "log" else []))
    assert place.axis.scale == scale
    assert place.positions[0] < 11
    assert place.positions.tolist()[1:] == values[1:]
    assert place.axis.ticks[0] == (place.positions[0], "null")


@pytest.mark.parametrize("values", [(0.0, 1.0, 2.0), (1e-4, 1e-3, 1e-2)])
def test_points_of_a_grid_are_moved_apart_but_not_into_each_other(values):
    rows = [RUN(i, {"p": values[i % 3]}, objective=0.5) for i in range(30)]
    place = coordinate(frame(rows), "p", frozenset())
    found = spread(place)
    assert len(set(found)) == 30
    scale = np.log10 if place.axis.scale == "log" else np.asarray
    apart = scale(found) - scale(np.array([values[i % 3] for i in range(30)]))
    assert np.abs(apart).max() < 0.1
    assert np.abs(apart).max() > 0
    # Values of one run each stay where they are.
    alone = coordinate(frame(rows[:3]), "p", frozenset())
    assert spread(alone).tolist() == pytest.approx(list(values))


def test_a_logarithmic_axis_of_a_decade_or_so_has_names_between_powers_of_ten():
    runs = frame([RUN(i, {"p": 0.003 * 1.5**i}) for i in range(7)])
    axis = coordinate(runs, "p", frozenset()).axis
    assert axis.scale == "log"
    assert [name for _, name in axis.ticks] == ["0.005", "0.01", "0.02"]
