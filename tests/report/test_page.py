"""The page: its words, its table, and that it is one safe file."""

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tables

from resnet_sweep.report.columns import frame
from resnet_sweep.report.page.comparisons import comparisons
from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.page.failures import failures
from resnet_sweep.report.page.means import means_tables
from resnet_sweep.report.page.page import page_html, write_page
from resnet_sweep.report.page.pictures import script_json
from resnet_sweep.report.page.table import runs_table
from resnet_sweep.report.page.verdicts import verdicts
from resnet_sweep.report.report import Report
from resnet_sweep.report.source import Source

RUN = tables.run


class Elements(HTMLParser):
    """What a browser without scripts would see: elements, and texts outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        if self.tags[-1:] not in (["script"], ["style"]):
            self.texts.append(data)


def test_means_over_repeats_have_a_table():
    (table,) = means_tables(tables.repeats().runs)
    assert [(row.name, row.setting, row.num_runs) for row in table.rows] == [
        ("trial 0", "lr=1", "3"),
        ("trial 1", "lr=0.1", "3"),
        ("trial 3", "lr=0.001", "3"),
        ("trial 2", "lr=0.01", "2 of 3"),
    ]
    assert table.rows[0].cells == (
        ("mean best_val_accuracy", "0.7200 (0.6703 to 0.7697)"),
        ("worst to best", "0.7000 to 0.7400"),
        ("mean last accuracy", "0.7000 (0.6503 to 0.7497)"),
        ("learned", "100%"),
    )
    assert "Means over repeats" in page_html(tables.repeats())
    assert "Means over repeats" not in page_html(tables.lr_trials())


def test_a_picture_that_fails_leaves_the_page(monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise ZeroDivisionError(tables.HOSTILE)

    monkeypatch.setattr("resnet_sweep.report.plots.all.history", fail)
    monkeypatch.setattr("resnet_sweep.report.page.pictures.parallel", fail)
    text = page_html(tables.search(30))
    elements = Elements(text)
    said = " ".join(elements.texts)
    assert "\u201cHow the search went\u201d could not be drawn: ZeroDivisionError: " in said
    assert "\u201cAll parameters at once\u201d could not be drawn" in said
    assert "img" not in elements.tags
    assert 'id="picture-parameters"' in text
    assert 'id="picture-history"' not in text
    assert "Traceback" in caplog.text


def test_numbers_too_large_for_a_picture_cost_no_picture(caplog):
    text = page_html(tables.extremes())
    assert "could not be drawn" not in text
    assert caplog.text == ""
    for name in ("parameters", "parallel", "history"):
        assert f'id="picture-{name}"' in text


def test_a_comparison_without_other_settings_names_none():
    table = tables.lr_trials().groups[:1].drop(columns="optimizer.lr")
    (row,) = comparisons(table)
    assert row["setting"] == ""
    assert '<td data-label="at">-</td>' in page_html(
        dataclasses.replace(tables.lr_trials(), groups=table)
    )
    (row,) = comparisons(table.assign(study="lr_trials"))
    assert row["setting"] == "lr_trials"


@pytest.mark.parametrize(
    ("published", "said", "last", "expected"),
    [
        (0.73, True, 0.64, "learned, as published; published 0.73, measured 0.64"),
        (0.49, False, 0.64, "learned; published: did not learn; published 0.49, measured 0.64"),
        (None, False, 0.5, "did not learn, as published"),
        (0.73, True, 0.5, "did not learn; published: learned; published 0.73, measured 0.64"),
        (0.73, None, 0.64, "learned; published 0.73, measured 0.64"),
        (0.73, None, None, "published 0.73, measured 0.64"),
    ],
)
def test_a_verdict_sets_published_beside_measured(published, said, last, expected):
    facts = {"objective": 0.64, "published": published, "published_learned": said, "last": last}
    # The columns are there as soon as anything is published.
    other = RUN(1, {"lr": 2}, published=0.1, published_learned=True)
    (verdict, waiting) = verdicts(frame([RUN(0, {"lr": 1}, **facts), other]))
    assert verdict.text == expected
    assert waiting.text == "not measured: complete"


def test_repeats_share_a_verdict():
    facts = {"published": 0.6, "published_learned": True}
    rows = [
        RUN(0, {}, objective=value, last=value, repeat=i, **facts)
        for i, value in enumerate([0.5, 0.7])
    ]
    (verdict,) = verdicts(frame(rows))
    assert verdict.pair.measured == pytest.approx(0.6)
    assert verdict.text.startswith("1 of 2 runs learned; published: learned")


def test_the_table_sorts_by_number_with_what_is_missing_nowhere():
    values = [10.0, 9.0, float("nan"), float("inf"), 1e-5, -float("inf")]
    rows = [RUN(i, {"p": "x"}, objective=value) for i, value in enumerate(values)]
    column = next(c for c in runs_table(frame(rows)).columns if c.name == "objective")
    assert column.texts == ("-inf", "1e-05", "9.0000", "10.0000", "inf")
    assert column.index == (3, 2, -1, 4, 1, 0)


def test_times_carry_their_seconds_for_the_filter():
    seconds = [7500.0, 3.14159, float("nan"), float("inf"), 7500.0]
    rows = [RUN(i, {"p": i}, seconds=value) for i, value in enumerate(seconds)]
    content = PageContent("x", tables.START, frame(rows))
    column = next(c for c in runs_table(content.runs).columns if c.name == "seconds")
    assert column.texts == ("3.1 s", "2 h 5 min", "inf")
    assert column.numbers == (3.142, 7500.0, 1e300)
    assert '"numbers":[3.142,7500.0,1e+300]' in page_html(content)


def test_mixed_values_sort_numbers_first():
    rows = [RUN(i, {"p": value}) for i, value in enumerate(["b", 10, 9, None, "A", [2]])]
    column = next(c for c in runs_table(frame(rows)).columns if c.name == "p")
    assert column.texts == ("9", "10", "[2]", "A", "b", "null")


def test_what_all_runs_share_stands_beside_the_table():
    table = runs_table(tables.lr_trials().runs)
    assert ("optimizer.momentum", "0.9") in table.constant
    assert "optimizer.momentum" not in [column.name for column in table.columns]


def test_accuracies_stand_with_their_intervals():
    column = next(
        c for c in runs_table(tables.lr_trials().runs).columns if c.name == "last_val_accuracy"
    )
    assert re.fullmatch(r"0\.\d{4} \(0\.\d{4} to 0\.\d{4}\)", column.cell(0))


def test_failures_are_grouped_by_kind_and_message():
    rows = [RUN(i, {}, "FAIL", error_kind="oom", error="OutOfMemoryError: x") for i in range(7)]
    rows.append(RUN(7, {}, "FAIL"))
    folder = rows[0].facts["folder"]
    first, second = failures(frame(rows), {folder: "Traceback ..."})
    assert (first.name, first.num_runs) == ("oom", 7)
    assert first.failures[0].num_runs == 7
    assert len(first.failures[0].examples) == 5
    assert first.failures[0].examples[0][2] == "Traceback ..."
    assert second.failures[0].message == "no reason was kept"


@pytest.mark.parametrize("name", list(tables.odd()))
def test_a_study_that_has_not_gone_well_has_a_page(name, tmp_path: Path):
    content = tables.odd()[name]
    write_page(content, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert f"<h1>{content.title}</h1>" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["table"]["numRows"] == len(content.runs)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("empty", "No run has been found yet."),
        ("failed", "No run has completed with an objective."),
        ("strange", "5 runs: 5 completed."),
        ("running", "No parameter importances: it needs four completed runs"),
        ("two objectives", "(the Pareto front)"),
    ],
)
def test_what_is_missing_is_said(name, sentence):
    assert sentence in page_html(tables.odd()[name])


def test_the_page_asks_no_network_for_anything():
    elements = Elements(page_html(tables.lr_trials()))
    for tag, name, value in elements.attributes:
        if name in ("src", "href", "action", "data", "srcset"):
            assert value == "data:,", (tag, name, value)


def test_without_scripts_the_summary_and_the_first_rows_are_there():
    elements = Elements(page_html(tables.search(150)))
    text = " ".join(elements.texts)
    assert "150 runs:" in text
    assert elements.tags.count("tr") == 101


def test_hostile_texts_make_no_element():
    calm, hostile = (Elements(page_html(c)) for c in (tables.lr_trials(), tables.hostile()))
    assert "img" not in hostile.tags
    assert "b" not in hostile.tags
    assert hostile.tags.count("script") == calm.tags.count("script") == 3
    assert not [name for _, name, _ in hostile.attributes if name.startswith("on")]
    assert tables.HOSTILE in "".join(hostile.texts)


def test_json_in_a_script_ends_neither_the_script_nor_a_line():
    text = script_json({"a": "</script><!--&\u2028\u2029"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": "</script><!--&\u2028\u2029"}


def test_a_lone_surrogate_does_not_stop_the_page(tmp_path: Path):
    content = dataclasses.replace(tables.lr_trials(), title="caf\udce9")
    write_page(content, tmp_path / "report.html")
    assert "caf\\udce9" in (tmp_path / "report.html").read_text()


def test_the_page_needs_neither_matplotlib_nor_torch():
    code = (
        "import sys; import resnet_sweep.report.page.page;"
        "bad = {'matplotlib', 'torch', 'optuna', 'plotly', 'sqlalchemy', 'sklearn'};"
        "print(sorted(bad & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_runs_whose_batch_norm_saw_parts_of_a_batch_are_told():
    parts: list[int | None] = [8, None, 8]
    rows = [RUN(i, {"lr": i}, objective=0.5, microbatch=num) for i, num in enumerate(parts)]
    content = Report([Source("s", tuple(rows))]).content()
    assert [note for note in content.notes if "batch norm saw one part at a time" in note]
    said = " ".join(Elements(page_html(content)).texts)
    assert "microbatch: in 2 runs a batch went through the network in parts, of up to 8" in said
    (column,) = (one for one in runs_table(content.runs).columns if one.name == "microbatch")
    assert column.is_main
    assert [column.cell(row) for row in range(3)] == ["8", "", "8"]
    rows = [RUN(i, {"lr": i}, objective=0.5, microbatch=8) for i in range(2)]
    assert ("microbatch", "8") in runs_table(frame(rows)).constant
    whole = Report([Source("s", tuple(RUN(i, {"lr": i}, objective=0.5) for i in range(2)))])
    assert "microbatch" not in page_html(whole.content())


def test_images_that_were_left_out_are_told():
    rows = [RUN(i, {"lr": i}, objective=0.5, num_skipped_images=1) for i in range(2)]
    said = " ".join(Elements(page_html(Report([Source("s", tuple(rows))]).content())).texts)
    assert "1 broken image was left out of the data of all runs" in said
    rows = [RUN(i, {"lr": i}, objective=0.5) for i in range(2)]
    said = " ".join(Elements(page_html(Report([Source("s", tuple(rows))]).content())).texts)
    assert "broken image" not in said
