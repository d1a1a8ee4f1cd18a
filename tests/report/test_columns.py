"""Types of columns, whatever the values are."""

import enum
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from resnet_sweep.report.columns import (
    Row,
    column_names,
    directions_of,
    encodable,
    fixed_column,
    frame,
    free_column,
    objectives_of,
    parameters_of,
    told_of,
)

NAN = math.nan
Colour = enum.Enum("Colour", "RED")


@pytest.mark.parametrize(
    ("values", "dtype", "held"),
    [
        ([1, 2, NAN], "Int64", [1, 2, pd.NA]),
        ([1, None], "object", [1, None]),
        ([1, 0.5, None, NAN], "object", [1, 0.5, None, NAN]),
        ([1, 0.5, NAN], "float64", [1.0, 0.5, NAN]),
        ([math.inf, 1], "float64", [math.inf, 1.0]),
        ([True, False, NAN], "boolean", [True, False, pd.NA]),
        (["a", NAN, ""], "string", ["a", pd.NA, ""]),
        ([NAN, NAN], "float64", [NAN, NAN]),
        ([None, NAN], "object", [None, NAN]),
        ([], "float64", []),
        (["a", None, NAN], "object", ["a", None, NAN]),
        ([True, None], "object", [True, None]),
        ([True, 1], "object", [True, 1]),
        (["1", 1], "object", ["1", 1]),
        ([[1, 2], NAN], "object", [[1, 2], NAN]),
        # Numbers that no column of numbers would hold.
        ([2**63, 1], "object", [2**63, 1]),
        ([2**53 + 1, 0.5], "object", [2**53 + 1, 0.5]),
        ([10**400, 0.5], "object", [10**400, 0.5]),
        ([2**60, 0.5], "float64", [2.0**60, 0.5]),
    ],
)
def test_the_narrowest_type_that_holds_all(values, dtype, held):
    column = free_column(values)
    assert str(column.dtype) == dtype
    assert list(map(repr, column.tolist())) == list(map(repr, held))


@pytest.mark.parametrize(
    ("value", "held"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1, 2]), [1, 2]),
        (Path("a/b"), "a/b"),
        (Colour.RED, "RED"),
        ((1, (2,)), [1, [2]]),
        ({1: {2}}, {"1": [2]}),
        (OmegaConf.create({"a": [1]}), {"a": [1]}),
        (b"x", "b'x'"),
        ("\udcff", "\\udcff"),
        (["\udcff", {"\udcff": 1}], ["\\udcff", {"\\udcff": 1}]),
    ],
)
def test_values_of_strange_types_become_plain_ones(value, held):
    (found,) = free_column([value]).tolist()
    assert found == held
    assert type(found) is type(held)


def test_fixed_columns_have_one_type_also_when_empty():
    assert str(fixed_column("number", []).dtype) == "Int64"
    assert str(fixed_column("learned", [None, True]).dtype) == "boolean"
    assert fixed_column("error", ["", None, "x"]).isna().tolist() == [True, True, False]
    assert str(fixed_column("anything", [None, 1]).dtype) == "float64"


def test_names_that_are_taken_get_prefixes_until_they_are_free():
    names = column_names(["a", "p_a", "objective_7", "\udcff"], ["a"], "p")
    assert names == {
        "a": "p_a",
        "p_a": "p_p_a",
        "objective_7": "p_objective_7",
        "\udcff": "\\udcff",
    }


def test_parts_of_a_table_are_known_by_their_places():
    rows = [
        Row({"study": "a", "objective": 0.5}, {"lr": 1, "seconds": 2}, {"fact": 1}, {"key": 2}),
        Row({"study": "b", "objective_1": 0.5, "objective_0": 1.0}, {"model": "x"}),
    ]
    table = frame(rows)
    assert parameters_of(table) == ["lr", "params_seconds", "model"]
    assert objectives_of(table) == ["objective", "objective_0", "objective_1"]
    assert told_of(table) == ["fact"]
    assert table.columns[-1] == "key"
    assert objectives_of(frame([])) == ["objective"]


def test_a_setting_that_is_a_parameter_has_one_column():
    rows = [Row({}, {"lr": 1}, settings={"lr": 1, "batch": 5}), Row({}, {"lr": 2})]
    assert parameters_of(frame(rows)) == ["lr"]
    assert frame(rows).columns.tolist()[-2:] == ["folder", "batch"]
    # Where the parameter has no part the setting says what was used instead.
    beside = frame([*rows, Row({}, {}, settings={"lr": 3})])
    assert beside["config_lr"].tolist()[0::2] == [1, 3]
    of_a_group = frame([Row({}, {"model": "resnet"}, settings={"model": {"depth": 50}})])
    assert of_a_group["config_model"].tolist() == [{"depth": 50}]


@pytest.mark.parametrize(
    ("directions", "wanted"),
    [
        ([], (True, True)),
        ([None], (True, True)),
        (["minimize,maximize"], (False, True)),
        (["maximize, minimize", None, None], (True, False)),
        (["minimize"], (False, True)),
        (["maximize,maximize", "minimize,minimize", "minimize,minimize"], (False, False)),
        (["anything"], (True, True)),
    ],
)
def test_more_is_better_where_nothing_else_is_said(directions, wanted):
    facts = {"objective_0": 1.0, "objective_1": 1.0}
    table = frame([Row({**facts, "direction": one}) for one in directions])
    if not directions:
        table = table.rename(columns={"objective": "objective_0"}).assign(objective_1=1.0)
    assert directions_of(table) == wanted
    assert directions_of(table.drop(columns="direction")) == (True, True)


def test_texts_stay_as_they_are_where_a_file_can_hold_them():
    assert encodable("名前 \x00") == "名前 \x00"
    assert encodable("\ud800a") == "\\ud800a"
