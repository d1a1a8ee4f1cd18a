"""Which trial is the best: by means, and only among runs with one objective."""

import pandas as pd
import pytest
import tables

from resnet_sweep.report.columns import frame
from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.plots.all import figures_of
from resnet_sweep.report.plots.curves import curves
from resnet_sweep.report.plots.figure import Figure, NoFigure, Points
from resnet_sweep.report.plots.history import history
from resnet_sweep.report.plots.importances import importances
from resnet_sweep.report.plots.means import means
from resnet_sweep.report.plots.parallel import parallel
from resnet_sweep.report.plots.parameters import parameters
from resnet_sweep.report.plots.pareto import pareto
from resnet_sweep.report.plots.parts import parts_of
from resnet_sweep.report.plots.ranking import ranking
from resnet_sweep.report.plots.trials import best_order, best_rows, trials_of

RUN = tables.run


def numbers_of(runs, rows) -> list[int]:
    return runs["number"][list(rows)].tolist()


def test_trials_rank_by_their_mean_and_those_with_a_failed_run_come_last():
    runs = tables.repeats().runs
    trials = trials_of(runs)
    assert [numbers_of(runs, trial.rows)[0] for trial in trials] == [0, 1, 3, 2]
    assert [trial.is_whole for trial in trials] == [True, True, True, False]
    assert trials[0].mean == pytest.approx(0.72)
    # Neither the luckiest seed of trial 1 nor the half-failed trial 2 is the best.
    assert set(numbers_of(runs, best_rows(runs))) == {0}
    assert numbers_of(runs, best_order(runs)) == [0, 0, 0, 1, 1, 1, 3, 3, 3, 2, 2]


def test_single_runs_are_trials_of_their_own():
    rows = [RUN(None, {"p": i}, objective=i / 10, folder=f"/a/{i}") for i in range(3)]
    assert [trial.rows for trial in trials_of(frame(rows))] == [(2,), (1,), (0,)]


def test_without_a_direction_more_is_better():
    rows = [RUN(i, {"p": i}, objective=i / 10, direction=None) for i in range(3)]
    assert best_order(frame(rows)) == [2, 1, 0]


def test_runs_of_one_metric_are_compared_over_studies():
    rows = [RUN(i, {"p": i}, study=f"s{i % 2}", objective=i / 10) for i in range(4)]
    # One that failed has told of no metric.
    rows.append(RUN(4, {"p": 4}, "FAIL", study="s3", metric=None, direction=None))
    (part,) = parts_of(frame(rows))
    assert part.name == ""
    assert best_order(frame(rows)) == [3, 2, 1, 0]


@pytest.mark.parametrize(
    "other",
    [
        {"metric": "last_val_loss", "direction": "minimize"},
        {"metric": "last_val_accuracy"},
        {"direction": "minimize"},
        {"metric": None},
    ],
)
def test_runs_that_differ_in_metric_or_direction_are_not_compared(other):
    rows = [RUN(i, {"p": i}, study="a", objective=i / 10) for i in range(2)]
    rows += [RUN(i, {"p": i}, study="b", objective=i / 10, **other) for i in range(2)]
    parts = parts_of(frame(rows))
    assert [(part.name, part.rows.tolist()) for part in parts] == [("a", [0, 1]), ("b", [2, 3])]


def test_a_folder_of_runs_with_two_metrics_has_two_parts():
    rows = [RUN(i, {"p": i}, metric=f"m{i % 2}", objective=i / 10) for i in range(4)]
    rows.append(RUN(4, {"p": 4}, "FAIL", metric=None))
    parts = parts_of(frame(rows))
    assert [part.name for part in parts] == ["lr_trials: m0", "lr_trials: m1"]
    assert sorted(i for part in parts for i in part.rows) == [0, 1, 2, 3, 4]


def test_studies_with_one_and_with_two_objectives_are_not_compared():
    two = tables.two_objectives(12)
    rows = [RUN(i, {"width": i / 10}, study="one", objective=i / 10) for i in range(5)]
    rows += [
        RUN(i, {"width": i / 10}, study="two", objective_0=i / 10, objective_1=i / 5)
        for i in range(5)
    ]
    parts = parts_of(frame(rows))
    assert [part.name for part in parts] == ["one", "two"]
    assert isinstance(pareto(frame(rows)), Figure)
    assert len(parts_of(two.runs)) == 1


@pytest.mark.parametrize("compute", [history, importances, parameters])
def test_figures_of_studies_that_cannot_be_compared_are_one_each(compute):
    runs = tables.two_studies().runs
    found = compute(runs)
    assert isinstance(found, Figure)
    assert found.choices == ("s_accuracy", "s_loss")
    assert found.choice_name == "study"
    for panel in found.panels:
        keys = {key for mark in panel.marks for key in getattr(mark, "keys", ())}
        assert set(runs["study"][list(keys)]) <= {panel.choice}


def test_of_studies_that_differ_in_more_no_parameter_is_judged_over_all():
    rows = [RUN(i, {"lr": 0.1**i, "b": i % 2}, study=f"s{i % 2}", objective=i) for i in range(12)]
    runs = frame(rows)
    for compute in (importances, parameters):
        for by_study, choices in ((True, ("s0", "s1")), (False, ())):
            found = compute(runs, by_study=by_study)
            assert isinstance(found, Figure)
            assert found.choices == choices
    assert list(parallel(runs)) == [""]
    rows = [RUN(i, {"lr": i, "b": i % 3}, study=f"s{i % 2}", objective=i) for i in range(12)]
    content = PageContent("x", tables.START, frame(rows), studies_differ=True)
    figures = figures_of(content)
    for name in ("parameters", "importances"):
        found = figures[name]()
        assert isinstance(found, Figure)
        assert found.choices == ("s0", "s1")
    assert list(parallel(content.runs, by_study=True)) == ["s0", "s1"]


def test_the_history_of_each_study_goes_its_own_way():
    found = history(tables.two_studies().runs)
    assert isinstance(found, Figure)
    accuracy, loss = (panel.marks[1].y for panel in found.panels)
    assert list(accuracy) == sorted(accuracy)
    assert list(loss) == sorted(loss, reverse=True)


def test_the_history_of_repeats_goes_by_means():
    runs = tables.repeats().runs
    found = history(runs)
    assert isinstance(found, Figure)
    (panel,) = found.panels
    points, best = panel.marks
    # The half-failed trial has no mean of all its seeds.
    assert points.y == pytest.approx((0.72, 0.67, 0.51))
    assert all(y == pytest.approx(0.72) for y in best.y)
    assert panel.y.title == "mean best_val_accuracy"
    assert "repeat" not in points.labels[0]


def test_parallel_coordinates_are_of_one_study_each():
    runs = tables.two_studies().runs
    found = parallel(runs)
    assert isinstance(found, dict)
    assert list(found) == ["s_accuracy", "s_loss"]
    for study, figure in found.items():
        keys = [trace["meta"]["key"] for trace in figure["data"]]
        assert set(runs["study"][keys]) == {study}


def test_the_ranking_of_repeats_shows_means():
    runs = tables.repeats().runs
    found = ranking(runs)
    assert isinstance(found, Figure)
    best, last = found.panels[0].marks
    assert isinstance(last, Points)
    assert best.x[0] == pytest.approx(0.72)
    assert last.x[0] == pytest.approx(0.70)
    low, high = last.intervals[0]
    # Student's with two degrees of freedom: 4.303 * 0.02 / sqrt(3).
    assert (low, high) == (pytest.approx(0.6503, abs=1e-4), pytest.approx(0.7497, abs=1e-4))
    assert len(last.x) == 4


def test_the_ranking_of_runs_and_means_names_both_intervals():
    runs = tables.repeats().runs
    mixed = pd.concat([runs, tables.lr_trials().runs], ignore_index=True)
    found = ranking(mixed)
    assert isinstance(found, Figure)
    assert "95% interval of a run, t interval of a mean over seeds" in found.legend[1].label
    assert "t interval" in found.caption
    assert "A single run's interval" in found.caption
    found = ranking(runs)
    assert isinstance(found, Figure)
    assert "single run" not in found.caption


def test_means_are_drawn_with_their_runs():
    runs = tables.repeats().runs
    found = means(runs)
    assert isinstance(found, Figure)
    (panel,) = found.panels
    mean, dots = panel.marks
    assert mean.x[0] == pytest.approx(0.72)
    assert len(mean.x) == len(mean.intervals) == 4
    assert len(dots.x) == 11
    assert panel.y.ticks[0][1] == "trial 0  lr=1"
    assert panel.y.ticks[3][1] == "trial 2 (2 of 3 runs)  lr=0.01"
    assert "two seeds" in found.caption
    three = means(runs[runs["number"] != 2].reset_index(drop=True))
    assert isinstance(three, Figure)
    assert "two seeds" not in three.caption
    assert means(tables.lr_trials().runs) == NoFigure()


def test_curves_of_all_runs_of_the_best_trial_are_thick():
    runs = tables.repeats().runs
    history_ = runs[["study", "ticket", "number", "repeat", "attempt", "folder"]].assign(
        epoch=1, val_accuracy=0.6
    )
    found = curves(runs, history_)
    assert isinstance(found, Figure)
    thick = {line.key for line in found.panels[0].marks if line.width > 2}
    assert set(numbers_of(runs, thick)) == {0}
    assert len(thick) == 3
    assert "runs of the best trial are drawn thicker" in found.caption


def test_the_best_of_each_study_come_first():
    assert best_order(tables.two_studies().runs)[:4] == [7, 13, 6, 12]
