"""The page: its words, its table, and that it is one safe file."""

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
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
from resnet_sweep.report.page.words import key_figures, summary
from resnet_sweep.report.plots.pareto import front_of

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


def words(content) -> str:
    return " ".join(summary(content))


def test_the_summary_says_how_it_stands_what_is_best_and_how_sure_that_is():
    text = words(tables.lr_trials())
    assert text.startswith("6 runs: 6 completed. The best is trial 4 (")
    assert "the best of 20 epochs: optimistic" in text
    assert re.search(r"95% interval 0\.\d{4} to 0\.\d{4}, 600 images\): above chance", text)
    assert "within 45 min by 2 workers on 2 slots" in text


def test_the_summary_of_a_running_sweep_says_how_long_it_goes_on():
    assert "about 60 s left" in words(tables.odd()["running"])


def test_the_summary_names_runs_that_may_be_as_good():
    rows = [RUN(i, {"lr": i}, objective=0.7 - i / 100, last=0.69) for i in range(3)]
    text = words(dataclasses.replace(tables.lr_trials(), runs=frame(rows)))
    assert "2 other runs have an interval that reaches into its own" in text


def test_a_run_that_is_wholly_better_does_not_reach_into_the_interval_of_the_best():
    rows = [RUN(0, {"lr": 0}, objective=0.9, last=0.6), RUN(1, {"lr": 1}, objective=0.8, last=0.75)]
    text = words(dataclasses.replace(tables.lr_trials(), runs=frame(rows)))
    assert "reaches into its own" not in text
    assert "1 other run ends clearly better" in text


def test_an_equal_trial_that_was_not_run_again_is_no_rival():
    rows = [RUN(i, {"lr": 0}, objective=0.9, last=0.6) for i in range(2)]
    rows[1].facts["duplicate_of"] = 0
    text = words(dataclasses.replace(tables.lr_trials(), runs=frame(rows)))
    assert "reaches into its own" not in text
    assert "chosen out of" not in text


def test_of_repeats_the_best_trial_is_named_by_its_mean():
    text = words(tables.repeats())
    assert (
        "The best is trial 0 (lr=1): best_val_accuracy mean 0.7200 over 3 seeds (95% t interval "
        "0.6703 to 0.7697), each the best of 20 epochs: optimistic." in text
    )
    assert "3 of its 3 runs learned" in text
    # Its own runs are no rivals.
    assert "1 other trial has an interval that reaches into its own" in text
    assert "chosen out of 4 trials" in text
    assert "0.95" not in text
    figure, last = key_figures(tables.repeats())[:2]
    assert (figure.value, figure.label) == ("0.7200", "best mean val_accuracy")
    assert figure.note == "over 3 seeds, best of 20 epochs: optimistic"
    assert last.note == "95% t interval 0.6503 to 0.7497"


def test_a_half_failed_trial_that_is_best_says_so():
    runs = tables.repeats().runs
    text = words(PageContent("half", tables.START, runs[runs["number"] == 2]))
    assert "mean 0.9500 over 2 of its 3 seeds" in text


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


def test_studies_that_cannot_be_compared_have_a_best_each():
    content = tables.two_studies()
    text = words(content)
    assert (
        "The objectives of these studies cannot be compared: best_val_accuracy (more is better), "
        "last_val_loss (less is better)." in text
    )
    assert "s_accuracy: The best is trial 7" in text
    assert "s_loss: The best is trial 5" in text
    assert [(f.value, f.label) for f in key_figures(content)[:2]] == [
        ("0.6400", "best val_accuracy of s_accuracy"),
        ("1.5000", "best last_val_loss of s_loss"),
    ]
    table = runs_table(content.runs)
    assert next(column for column in table.columns if column.name == "metric").is_main


@pytest.mark.parametrize("command", [None, "python -m x"])
def test_that_the_best_was_chosen_is_said_and_what_checks_it_where_anything_can(command):
    rows = [RUN(i, {"lr": i}, objective=i, last=0.7) for i in range(3)]
    content = PageContent(
        "x", tables.START, frame(rows), confirm_command=command, rerun_command="rerun"
    )
    checks = ": study=confirm with fresh seeds checks it, by the command below" if command else ""
    assert f"It was chosen out of 3 runs, and luck has a part in that{checks}." in words(content)
    assert ("confirm" in words(content)) is bool(command)
    assert (f'<pre class="command">{command}</pre>' in page_html(content)) is bool(command)


def _compared(verdict: str = "no difference shown", method: str = "same images", **setting):
    numbers = {"difference": 0.12, "difference_low": 0.01, "difference_high": 0.2}
    row = {"parameter": "model", "a": "deep", "b": "flat", "split": "last epoch", **numbers}
    return pd.DataFrame([row | setting | {"method": method, "verdict": verdict, "mcnemar_p": 0.5}])


def test_a_rival_that_was_compared_run_by_run_is_told_of_by_that_comparison():
    rows = [
        RUN(0, {"model": "deep", "lr": 1}, objective=0.8, last=0.8),
        RUN(1, {"model": "flat", "lr": 1}, objective=0.79, last=0.79),
        RUN(2, {"model": "flat", "lr": 2}, objective=0.78, last=0.79),
    ]
    content = PageContent("x", tables.START, frame(rows))
    assert "2 other runs have an interval" in words(content)
    verdict = "deep better by 0.12 (0.01 to 0.20)"
    text = words(dataclasses.replace(content, groups=_compared(verdict, lr=1)))
    told = f"with trial 1 (model=flat lr=1) on the same images after the last epoch: {verdict}."
    assert f"Compared {told}" in text
    # The one that differs in two parameters was compared with nothing.
    assert "1 further run has an interval" in text
    for groups in (_compared(method="unpaired: other images", lr=1), _compared(lr=2)):
        assert "Compared with" not in words(dataclasses.replace(content, groups=groups))


def test_seeds_that_end_alike_are_told_of_without_an_interval():
    rows = [
        RUN(i // 2, {"lr": i // 2}, repeat=i % 2, objective=0.7 + i % 2 / 10, last=0.6)
        for i in range(4)
    ]
    content = PageContent("x", tables.START, frame(rows))
    text = words(content)
    assert "its mean accuracy is 0.6000 (no interval: all seeds the same); 2 of its 2" in text
    assert "Trial 1 has the same mean." in text
    assert "It was chosen out of 2 trials" in text
    figure = key_figures(content)[1]
    assert (figure.value, figure.label) == ("0.6000", "its mean last-epoch accuracy")
    assert figure.note == "no interval: all seeds the same"


def test_many_trials_that_tie_are_counted():
    rows = [RUN(i, {"lr": i}, objective=0.7, last=0.6) for i in range(6)]
    text = words(PageContent("x", tables.START, frame(rows)))
    assert "Trial 1, trial 2, trial 3 and 2 more have the same best_val_accuracy." in text


def test_the_front_of_two_objectives_is_marked_and_the_file_names_its_run():
    content = dataclasses.replace(tables.two_objectives(12), best_yaml="best.yaml")
    front = front_of(content.runs)
    column = next(one for one in runs_table(content.runs).columns if one.name == "front")
    assert column.is_main
    assert [column.cell(row) for row in range(12)] == [
        "yes" if i in front else "" for i in range(12)
    ]
    # Tables of studies begin with the front.
    order = [*front, *(i for i in range(12) if i not in front)]
    content = dataclasses.replace(content, runs=content.runs.iloc[order].reset_index(drop=True))
    name = f"trial {content.runs['number'][0]}"
    assert f"best.yaml has {name} (" in words(content)
    assert f"), the first of these {len(front)}: none is better" in words(content)
    taken = content.runs.assign(front="x")
    assert "pareto_front" in [one.name for one in runs_table(taken).columns]
    assert "front" not in [one.name for one in runs_table(tables.lr_trials().runs).columns]


def test_without_accuracies_no_groups_are_compared_and_that_is_said():
    rows = [RUN(i, {"db": "ab"[i % 2]}, metric=None, objective=i) for i in range(4)]
    groups = _compared("not known").assign(difference=float("nan"))
    for told in (groups, groups[:0]):
        text = page_html(PageContent("x", tables.START, frame(rows), groups=told))
        assert '<section id="groups">' not in text
        assert "No groups compared: no accuracy is known of these runs." in text
    assert "No groups compared" not in page_html(tables.odd()["foreign"])
    assert "No groups compared" not in page_html(tables.lr_trials())


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


def test_an_objective_that_is_no_best_epoch_is_not_called_optimistic():
    rows = [RUN(0, {}, metric="last_val_accuracy", objective=0.7, last=0.7)]
    content = dataclasses.replace(tables.lr_trials(), runs=frame(rows))
    assert "optimistic" not in words(content)
    assert "optimistic" not in runs_table(content.runs).columns[2].subtitle
    assert key_figures(content)[0].label == "best last_val_accuracy"


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


def test_a_best_run_is_not_called_alone_where_others_have_no_interval():
    rows = [RUN(0, {"p": 1}, objective=0.9, last=0.9), RUN(1, {"p": 2}, objective=0.5)]
    assert "reaches into its own" not in words(
        dataclasses.replace(tables.lr_trials(), runs=frame(rows))
    )
