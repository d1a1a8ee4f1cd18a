import io
import json
import math
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from studies import HOSTILE, study_of_every_kind

from resnet_sweep.faults import ConfigError
from resnet_sweep.report.cells import from_cells
from resnet_sweep.report.columns import Row, frame
from resnet_sweep.report.formats import to_text
from resnet_sweep.report.results import load_results
from resnet_sweep.report.text import one_line

FORMATS = ("md", "csv", "latex", "json")
NASTY = (*HOSTILE, "<script>alert(1)</script>", "a|b", "\\|", "a_b_ _c", "{x}", "50 % & #1", "^~$")
NASTY += ("--x", "[1]", "*", "`code`", "&amp;", "![x](y)", "''", "\\hline", "\r", "-")


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "number": pd.array([0, 1, None], dtype="Int64"),
            "state": pd.array(["COMPLETE", "FAIL", None], dtype="string"),
            "optimizer.lr": [1e-4, 0.0025, math.nan],
            "mixed": pd.Series([None, [1, 2], math.nan], dtype=object),
            "objective": [2 / 3, 0.5, math.inf],
            "learned": pd.array([True, False, None], dtype="boolean"),
            "seconds": [12.3456, 1234.5, math.nan],
            "started": pd.array(["2026-01-02T03:04:05.678901", None, None], "datetime64[us]"),
        }
    )


def test_markdown_is_a_rounded_table_with_numbers_at_the_right(table):
    assert to_text(table, "md").splitlines() == [
        "| number | state | optimizer.lr | mixed | objective | learned | seconds | started |",
        "| ---: | --- | ---: | --- | ---: | --- | ---: | --- |",
        "| 0 | COMPLETE | 0.0001 | null | 0.6667 | true | 12.3 | 2026-01-02 03:04:05 |",
        r"| 1 | FAIL | 0.0025 | \[1, 2\] | 0.5000 | false | 1234.5 |  |",
        "|  |  |  |  | inf |  |  |  |",
    ]


def test_latex_is_a_tabular_that_needs_no_package(table):
    assert to_text(table[["state", "mixed", "objective"]], "latex").splitlines() == [
        r"\begin{tabular}{llr}",
        r"\hline",
        r"state & mixed & objective \\",
        r"\hline",
        r"COMPLETE & null & 0.6667 \\",
        r"FAIL & {[}1, 2] & 0.5000 \\",
        r" &  & inf \\",
        r"\hline",
        r"\end{tabular}",
    ]


def test_json_is_a_list_of_rows_with_all_digits(table):
    text = to_text(table, "json")
    assert json.loads(text, parse_constant=pytest.fail) == [
        {
            **{"number": 0, "state": "COMPLETE", "optimizer.lr": 1e-4, "mixed": None},
            **{"objective": 2 / 3, "learned": True, "seconds": 12.3456},
            "started": "2026-01-02T03:04:05.678901",
        },
        {
            **{"number": 1, "state": "FAIL", "optimizer.lr": 0.0025, "mixed": [1, 2]},
            **{"objective": 0.5, "learned": False, "seconds": 1234.5, "started": None},
        },
        {
            **dict.fromkeys(("number", "state", "optimizer.lr", "mixed"), None),
            **{"objective": "inf", "learned": None, "seconds": None, "started": None},
        },
    ]
    assert text.count("\n") == 5


def test_csv_has_all_digits(table):
    cells = pd.read_csv(io.StringIO(to_text(table, "csv")), dtype=str, keep_default_na=False)
    assert cells["objective"].tolist() == [repr(2 / 3), "0.5", "inf"]
    assert cells["learned"].tolist() == ["true", "false", ""]
    assert cells["mixed"].tolist() == ["null", "[1, 2]", ""]


def test_csv_is_read_back_as_it_was(tmp_path):
    made = study_of_every_kind(tmp_path / "study")
    table = load_results(tmp_path / "study")
    made.close()
    (tmp_path / "results.csv").write_text(to_text(table, "csv"))
    pd.testing.assert_frame_equal(load_results(tmp_path / "results.csv"), table)


@given(st.lists(st.text(), min_size=1))
def test_any_text_stays_in_its_csv_cell(texts):
    table = pd.DataFrame({"x": pd.array(texts, dtype="string"), "y": range(len(texts))})
    text = to_text(table, "csv")
    cells = pd.read_csv(io.StringIO(text, newline=""), dtype=str, keep_default_na=False)
    assert cells["y"].tolist() == [str(i) for i in range(len(texts))]
    for cell, expected in zip(cells["x"], texts, strict=True):
        # What looks like a number or like null stands in quotes of its own.
        assert cell == expected or json.loads(cell) == expected


class Cells(HTMLParser):
    """The texts of a page's table cells."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.tags, self.is_inside = [], set(), False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.is_inside = True
            self.texts.append("")

    def handle_endtag(self, tag):
        self.is_inside = self.is_inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.is_inside:
            self.texts[-1] += data


def cells_of_markdown(text):
    page = Cells(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))
    assert page.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    return page.texts


def table_of_texts(head, text):
    return pd.DataFrame({head: pd.array([text], dtype="string"), "y": ["z"]})


@given(st.text(min_size=1), st.text())
def test_any_text_stays_in_its_markdown_cell(head, text):
    found = cells_of_markdown(to_text(table_of_texts(head, text), "md"))
    assert found == [one_line(head).strip(), "y", one_line(text).strip(), "z"]


@pytest.mark.parametrize("text", NASTY)
def test_nasty_texts_stay_in_their_markdown_cells(text):
    found = cells_of_markdown(to_text(table_of_texts(text or "x", text), "md"))
    assert found[2:] == [one_line(text).strip(), "z"]


def out_of_latex(cell):
    """What LaTeX would print; anything else that it would obey fails."""
    words = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^"}
    words |= {"textless": "<", "textgreater": ">", "textbar": "|"}
    tokens = (
        r"\\(?P<word>[a-z]+)\{\}|\\(?P<char>[&%$#_{}])|\{(?P<kept>.?)\}|(?P<plain>[^\\&%$#_{}~^])"
    )
    printed = ""
    while cell:
        match = re.match(tokens, cell, re.DOTALL)
        assert match, cell
        printed += words[match["word"]] if match["word"] else ""
        printed += match["char"] or match["kept"] or match["plain"] or ""
        cell = cell[match.end() :]
    return printed


@pytest.mark.parametrize("text", NASTY)
def test_nasty_texts_stay_in_their_latex_cells(text):
    row = to_text(table_of_texts("x", text), "latex").split("\n")[4]
    cell, rest = row[: row.rindex(" & z")], row[row.rindex(" & z") :]
    assert rest == r" & z \\"
    assert out_of_latex(cell) == one_line(text)
    assert not cell.startswith(("[", "*"))
    assert "--" not in cell


@given(st.text())
def test_any_text_stays_in_its_latex_cell(text):
    row = to_text(table_of_texts("x", text), "latex").split("\n")[4]
    assert out_of_latex(row[: row.rindex(" & z")]) == one_line(text)


@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())))
def test_any_values_are_json(values):
    table = pd.DataFrame({"x": pd.Series(values, dtype=object)})
    found = [row["x"] for row in json.loads(to_text(table, "json"), parse_constant=pytest.fail)]
    assert len(found) == len(values)
    for one, value in zip(found, values, strict=True):
        if isinstance(value, float) and not math.isfinite(value):
            assert one == (None if math.isnan(value) else str(value))
        else:
            assert one == value


@pytest.mark.parametrize("format", FORMATS)
def test_tables_without_rows_or_columns_have_a_text(table, format):
    heads = to_text(table[:0], format)
    assert heads.endswith("\n")
    assert heads == "[]\n" if format == "json" else "optimizer.lr" in heads
    assert to_text(pd.DataFrame(), format).strip() in ("", "[]")
    assert to_text(pd.DataFrame(index=range(2)), format).strip() in ("", "[]")


def test_an_unknown_format_is_told_with_those_there_are(table):
    with pytest.raises(ConfigError, match="--format=xls: is not known; choose one of: md, csv"):
        to_text(table, "xls")


def test_numbers_of_a_column_are_rounded_alike():
    table = pd.DataFrame({"sampled": [0.000123456, 0.1], "few": [1e-5, 10.0]})
    assert to_text(table, "md").splitlines()[2:] == [
        "| 0.0001235 | 1e-05 |",
        "| 0.1000 | 10 |",
    ]


def test_numbers_with_null_among_them_stand_at_the_right_and_come_back():
    rows = [Row({"study": "s"}, {"grad_clip": clip}) for clip in (None, 1.0, 0.25)]
    table = frame([*rows, Row({"study": "s"})])
    lines = to_text(table[["grad_clip"]], "md").splitlines()
    assert lines == ["| grad_clip |", "| ---: |", "| null |", "| 1 |", "| 0.25 |", "|  |"]
    text = to_text(table, "csv")
    found = from_cells(pd.read_csv(io.StringIO(text), dtype=object, keep_default_na=False))
    assert list(map(repr, found["grad_clip"])) == ["None", "1.0", "0.25", "nan"]
