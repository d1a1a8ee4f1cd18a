import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_sweep.faults import ConfigError
from resnet_sweep.report.shaping import shape


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "number": pd.array([0, 1, 2, None], dtype="Int64"),
            "state": pd.array(["COMPLETE", "COMPLETE", "FAIL", "WAITING"], dtype="string"),
            "model": pd.array(["resnet50", "plain50", "a,b", None], dtype="string"),
            "optimizer.lr": [1e-2, 1e-4, math.nan, math.inf],
            "bias": pd.array([True, False, None, True], dtype="boolean"),
            "mixed": pd.Series([1, "x", None, [1, 2]], dtype=object),
            "started": pd.array(
                ["2026-01-01", "2026-01-02", None, "2026-01-03"], dtype="datetime64[us]"
            ),
        }
    )


def rows(table, *conditions):
    return shape(table.assign(row=range(len(table))), filter=conditions)["row"].tolist()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("state=COMPLETE", [0, 1]),
        ("state == complete", [0, 1]),
        ("state!=COMPLETE", [2, 3]),
        ("optimizer.lr<1e-3", [1]),
        ("optimizer.lr<=0.01", [0, 1]),
        ("optimizer.lr > .0001", [0, 3]),
        ("optimizer.lr=1e-4", [1]),
        ("optimizer.lr=inf", [3]),
        ("optimizer.lr=null", [2]),
        ("optimizer.lr!=nan", [0, 1, 3]),
        ("number>=1", [1, 2]),
        ("number=1.0", [1]),
        ("number!=1", [0, 2, 3]),
        ("model!=plain50", [0, 2, 3]),
        ("model='a,b'", [2]),
        ('model="plain50"', [1]),
        ("model='null'", []),
        ("model=", [3]),
        ("bias=true", [0, 3]),
        ("bias!=True", [1, 2]),
        ("mixed=1", [0]),
        ("mixed=1.0", [0]),
        ("mixed='1'", []),
        ("mixed>0", [0]),
        ("mixed=x", [1]),
        ("mixed=[1,2]", [3]),
        ("mixed=null", [2]),
        ("started>2026-01-01", [1, 3]),
        ("started=2026-01-02T00:00:00", [1]),
        ("state=COMPLETE,optimizer.lr<1e-3", [1]),
        ("", [0, 1, 2, 3]),
    ],
)
def test_a_filter_keeps_the_rows_of_which_it_is_true(table, condition, expected):
    assert rows(table, condition) == expected


def test_conditions_that_are_given_one_by_one_must_all_hold(table):
    assert rows(table, "state=COMPLETE", "bias=false") == [1]
    assert shape(table, filter="number=0,bias=true")["number"].tolist() == [0]


@pytest.mark.parametrize(
    ("condition", "fault", "choices"),
    [
        ("modle=x", "modle: is no column of the table", "model"),
        ("lr<1", "did you mean optimizer.lr", "model"),
        ("model", "is no condition", "<="),
        ("=x", "is no condition", "<="),
        ("model=resnet50,plain50", "plain50: is no condition", "<="),
        ("model<x", "texts have no order", "!="),
        ("bias<true", "true and false have no order", "!="),
        ("bias=maybe", "is neither", "false"),
        ("state=DONE", "is no state", "PRUNED"),
        ("number=x", "number holds numbers", ""),
        ("number<null", "number holds numbers", ""),
        ("mixed<x", "texts have no order", "!="),
        ("started=yesterday evening", "started holds times", ""),
    ],
)
def test_a_condition_that_makes_no_sense_is_told_with_what_would(table, condition, fault, choices):
    with pytest.raises(ConfigError, match=fault) as error:
        shape(table, filter=condition)
    assert error.value.faults[0].key == "--filter"
    assert choices in (*error.value.faults[0].choices, "")


def test_everything_that_is_wrong_is_told_at_once(table):
    with pytest.raises(ConfigError, match="5 faults") as error:
        shape(table, sort="x,-y", filter=["number=a", "z=1"], columns="w,model")
    assert [fault.key for fault in error.value.faults] == [
        *("--filter", "--filter", "--sort", "--sort", "--columns")
    ]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("optimizer.lr", [1, 0, 3, 2]),
        ("-optimizer.lr", [3, 0, 1, 2]),
        ("-number", [2, 1, 0, 3]),
        ("state,-number", [1, 0, 2, 3]),
        ("model", [2, 1, 0, 3]),
        ("mixed", [0, 3, 1, 2]),
        ("bias", [1, 0, 3, 2]),
        ("-started", [3, 1, 0, 2]),
        (None, [0, 1, 2, 3]),
    ],
)
def test_sorting_is_stable_and_puts_missing_values_last(table, sort, expected):
    found = shape(table.assign(row=range(4)), sort=sort)
    assert found["row"].tolist() == expected
    assert found.index.tolist() == [0, 1, 2, 3]
    assert found.dtypes.drop("row").equals(table.dtypes)


def test_columns_stand_in_the_order_asked_for(table):
    found = shape(table, sort="-number", columns="model, optimizer.lr,model")
    assert found.columns.tolist() == ["model", "optimizer.lr"]
    assert found["model"].tolist()[:2] == ["a,b", "plain50"]


def test_empty_tables_can_be_shaped(table):
    assert shape(table[:0], "-number", "model=x,optimizer.lr<1", "model").columns.tolist() == [
        "model"
    ]
    assert shape(pd.DataFrame()).empty


@given(st.text())
def test_no_filter_is_ever_run_as_a_program_or_ends_in_a_traceback(text):
    table = pd.DataFrame({"a": [1.0, 2.0], "b": pd.array(["x", None], dtype="string")})
    for condition in (text, f"a{text}", f"b={text}", f"a<{text}"):
        try:
            found = shape(table, filter=condition)
        except ConfigError:
            continue
        assert len(found) <= 2


@given(st.floats(allow_nan=False), st.sampled_from(["<", "<=", ">", ">=", "=", "!="]))
def test_a_number_is_compared_as_pandas_does(value, sign):
    table = pd.DataFrame({"a": [-1.0, 0.0, 1e-3, value, math.inf, -math.inf]})
    expected = table.query(f"a {'==' if sign == '=' else sign} @value")["a"].tolist()
    assert shape(table, filter=f"a{sign}{value!r}")["a"].tolist() == expected


@given(st.text(alphabet=st.characters(exclude_characters="\"'"), min_size=1))
def test_any_text_can_be_asked_for_in_quotes(text):
    table = pd.DataFrame({"a": pd.array([text, f"{text}x"], dtype="string")})
    assert len(shape(table, filter=f'a="{text}"')) == 1


def test_numbers_with_null_among_them_are_numbers():
    clips = pd.Series([None, 1.0, 0.25, math.nan], dtype=object)
    table = pd.DataFrame({"number": range(4), "grad_clip": clips})
    assert shape(table, filter="grad_clip<0.5")["number"].tolist() == [2]
    assert shape(table, filter="grad_clip=1")["number"].tolist() == [1]
    assert shape(table, "grad_clip")["number"].tolist() == [2, 1, 0, 3]
    with pytest.raises(ConfigError, match="grad_clip holds numbers"):
        shape(table, filter="grad_clip=much")
