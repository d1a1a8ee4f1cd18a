"""results.csv and history.csv, written and read back."""

import tempfile
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_sweep.faults import ResultsError
from resnet_sweep.report.columns import Row, frame
from resnet_sweep.report.files import csv_source, read_csv, write_csv
from resnet_sweep.report.results import load_history, load_results, table_of
from resnet_sweep.report.source import Source

TEXTS = st.sampled_from(
    [
        *("null", "1", "1e-3", "", "true", "nan", "inf", "-.5", "[1]", '"x"', '"', "{", "NA", "٣"),
        *("a,b", "\r", "a\r\nb", "\n", "\x00", "\ud800", "名前", " x ", "\ufeff", "9" * 5000),
        "[" * 100_000,
    ]
) | st.text(st.characters(exclude_categories=()), max_size=5)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**400])
    | st.floats()
    | TEXTS
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=3,
)
# Names that other columns have, or that mean something in a file.
KEYS = st.sampled_from(["lr", "x.y", "objective", "objective_3", "seconds", "epoch", ""]) | TEXTS
SETTINGS = st.dictionaries(KEYS, VALUES, max_size=3)


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Rows of up to three studies, each with its own parameters, and columns of one kind each."""
    kinds = [
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.booleans(),
        TEXTS,
        VALUES,
        st.none() | st.integers(-5, 5),
        st.none() | TEXTS,
    ]
    columns = {
        key: draw(st.sampled_from(kinds))
        for key in draw(st.lists(KEYS.filter(lambda key: len(key) < 99), max_size=3, unique=True))
    }
    found = []
    for ticket in range(draw(st.integers(0, 4))):
        facts = {
            "study": draw(st.sampled_from(["a", "null", "b,\r\n"])),
            "ticket": draw(st.none() | st.just(ticket)),
            "attempt": 0,
            "state": draw(st.sampled_from(["COMPLETE", "FAIL"])),
            "objective": draw(st.none() | st.floats()),
            "last_train_loss": draw(st.none() | st.floats()),
            "learned": draw(st.none() | st.booleans()),
            "seed": draw(st.none() | st.integers(-(2**62), 2**62)),
            "microbatch": draw(st.none() | st.integers(2, 2**40)),
            "started": draw(st.none() | st.datetimes(datetime(1900, 1, 1))),
            "error": draw(st.none() | TEXTS),
            "folder": draw(st.none() | st.just("/x/y")),
        }
        parameters = {key: draw(kind) for key, kind in columns.items() if draw(st.booleans())}
        found.append(Row(facts, parameters, draw(SETTINGS), draw(SETTINGS)))
    return found


@settings(max_examples=60, deadline=None)
@given(rows())
def test_any_table_comes_back_as_it_was(found):
    table = frame(found)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.csv"
        write_csv(table, path)
        pd.testing.assert_frame_equal(read_csv(path), table)
        pd.testing.assert_frame_equal(load_results(path), table)
        # And once more, from what was read.
        write_csv(load_results(path), path)
        pd.testing.assert_frame_equal(read_csv(path), table)


def run(number: int, **facts) -> Row:
    known = {"study": "s", "ticket": number, "number": number, "attempt": 0, "state": "COMPLETE"}
    return Row({**known, "objective": 0.5, **facts}, {"lr": number / 10})


def write(path: Path, found: list[Row]) -> pd.DataFrame:
    table = table_of([Source("s", tuple(found))], "all")
    write_csv(table, path)
    return table


def test_folders_below_the_file_are_relative_to_it_and_move_with_it(tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    inside = [run(0, folder=str(there / "trials" / "0")), run(1, folder=str(there))]
    outside = run(2, folder="/elsewhere/trials/2")
    write(there / "results.csv", [*inside, outside])
    lines = (there / "results.csv").read_text().splitlines()
    assert [line.rpartition(",")[2] for line in lines[1:]] == [
        *("trials/0", ".", "/elsewhere/trials/2")
    ]
    there.rename(tmp_path / "here")
    here = tmp_path / "here"
    assert load_results(here / "results.csv")["folder"].tolist() == [
        *(str(here / "trials" / "0"), str(here), "/elsewhere/trials/2")
    ]


def test_earlier_attempts_are_known_as_such(tmp_path):
    found = [run(0, ticket=0, attempt=1), run(1, ticket=0), run(2, ticket=None, attempt=None)]
    write(tmp_path / "results.csv", found)
    assert load_results(tmp_path / "results.csv")["number"].tolist() == [0, 2]
    assert len(load_results(tmp_path / "results.csv", attempts="all")) == 3


def test_parts_of_batches_are_kept_and_a_file_from_before_there_were_any_is_read(tmp_path):
    found = [run(0, microbatch=8, seed=1), run(1, seed=2)]
    table = write(tmp_path / "results.csv", found)
    assert str(table["microbatch"].dtype) == "Int64"
    pd.testing.assert_frame_equal(load_results(tmp_path / "results.csv"), table)
    old = table.drop(columns="microbatch")
    write_csv(old, tmp_path / "old.csv")
    pd.testing.assert_frame_equal(load_results(tmp_path / "old.csv"), old)
    both = load_results([tmp_path / "results.csv", tmp_path / "old.csv"])
    assert both["microbatch"].tolist() == [8, pd.NA, pd.NA, pd.NA]


def test_a_file_of_several_studies_is_called_by_its_own_name(tmp_path):
    (tmp_path / "all").mkdir()
    for name in ("results.csv", "both.csv"):
        write(tmp_path / "all" / name, [run(0), run(0, study="t")])
    write(tmp_path / "one.csv", [run(0)])
    paths = [tmp_path / "all" / "results.csv", tmp_path / "all" / "both.csv", tmp_path / "one.csv"]
    assert [csv_source(path).name for path in paths] == ["all", "both", "s"]


def test_a_spreadsheet_may_have_saved_it(tmp_path):
    path = tmp_path / "results.csv"
    table = write(path, [run(0, learned=True, error="caf\u00e9"), run(1, learned=False)])
    text = path.read_text().replace("true", "TRUE").replace("false", "FALSE")
    path.write_bytes(("\ufeff" + text.replace("\n", "\r\n")).encode())
    pd.testing.assert_frame_equal(load_results(path), table)


def test_nothing_is_left_beside_it(tmp_path):
    write(tmp_path / "results.csv", [run(0)])
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


HEAD = "study,ticket,number,repeat,attempt"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read: No columns"),
        ("a,b\n1,2\n", "has no column study, ticket, number"),
        (f"{HEAD},state,metric,folder\ns,,,,,FAIL,,x\n", "has no column objective"),
        (f"{HEAD},state,objective,metric,folder\ns,,,,,FAIL,0.5,,x,y\n", "Expected 9 fields"),
        ("study,state,objective,metric,folder,folder\n", "two columns have the same name"),
        (
            f"{HEAD},state,objective,metric,folder\ns,,,,,FAIL,much,,x\n",
            "column objective does not",
        ),
        (f"{HEAD},state,objective,metric,folder\ns,,1.5,,,FAIL,1,,x\n", "column number does"),
        (b"study\xff\n", "cannot be read: 'utf-8' codec"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, text, reason):
    path = tmp_path / "results.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ResultsError, match=reason):
        load_results(path)


def test_each_kind_of_file_is_told_from_the_other(tmp_path):
    write(tmp_path / "results.csv", [run(0)])
    history = load_history(tmp_path / "results.csv")
    assert history.empty
    write_csv(history, tmp_path / "history.csv")
    pd.testing.assert_frame_equal(load_history(tmp_path / "history.csv"), history)
    with pytest.raises(ResultsError, match="has epochs, and no runs"):
        load_results(tmp_path / "history.csv")
    (tmp_path / "results.csv").rename(tmp_path / "my_history.csv")
    with pytest.raises(ResultsError, match="has runs, and no epochs"):
        load_history(tmp_path / "my_history.csv")


def test_a_journal_is_no_table(tmp_path):
    (tmp_path / "study.journal").write_text("{}")
    with pytest.raises(ResultsError, match=f"is no table; name {tmp_path}"):
        load_results(tmp_path / "study.journal")
