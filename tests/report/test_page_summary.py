"""The page's summary: what is best, and how sure that is."""

import dataclasses
import re

import pandas as pd
import pytest
import tables

from resnet_sweep.report.columns import frame
from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.page.page import page_html
from resnet_sweep.report.page.table import runs_table
from resnet_sweep.report.page.words import key_figures, summary
from resnet_sweep.report.plots.pareto import front_of

RUN = tables.run


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


def test_an_objective_that_is_no_best_epoch_is_not_called_optimistic():
    rows = [RUN(0, {}, metric="last_val_accuracy", objective=0.7, last=0.7)]
    content = dataclasses.replace(tables.lr_trials(), runs=frame(rows))
    assert "optimistic" not in words(content)
    assert "optimistic" not in runs_table(content.runs).columns[2].subtitle
    assert key_figures(content)[0].label == "best last_val_accuracy"


def test_a_best_run_is_not_called_alone_where_others_have_no_interval():
    rows = [RUN(0, {"p": 1}, objective=0.9, last=0.9), RUN(1, {"p": 2}, objective=0.5)]
    assert "reaches into its own" not in words(
        dataclasses.replace(tables.lr_trials(), runs=frame(rows))
    )
