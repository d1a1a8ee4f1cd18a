"""Figures: what is computed, before anything is drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
import tables

from resnet_sweep.report.columns import frame
from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.curves import curves
from resnet_sweep.report.plots.figure import Bars, Figure, Line, NoFigure, Points
from resnet_sweep.report.plots.groups import groups, luck_of
from resnet_sweep.report.plots.history import history
from resnet_sweep.report.plots.importances import importances
from resnet_sweep.report.plots.intermediate import intermediate
from resnet_sweep.report.plots.parallel import parallel
from resnet_sweep.report.plots.parameters import parameters
from resnet_sweep.report.plots.pareto import front_of, pareto
from resnet_sweep.report.plots.plotly import drawn, escaped
from resnet_sweep.report.plots.png import write_pngs
from resnet_sweep.report.plots.ranking import ranking
from resnet_sweep.report.plots.timeline import timeline

RUN = tables.run


def figure(value: Figure | NoFigure) -> Figure:
    assert isinstance(value, Figure), value
    return value


def test_ranking_shows_the_interval_of_the_last_epoch_and_none_of_the_best():
    panel = figure(ranking(tables.lr_trials().runs)).panels[0]
    best, last = panel.marks
    assert isinstance(best, Points)
    assert isinstance(last, Points)
    assert best.intervals == ()
    assert all(low < x < high for x, (low, high) in zip(last.x, last.intervals, strict=True))
    assert [rule.at for rule in panel.rules] == [0.5]
    # The best run stands at the top.
    assert last.keys[0] == 0
    assert last.y[0] == max(last.y)


def test_curves_have_a_panel_a_metric_and_a_key_a_run():
    content = tables.lr_trials()
    found = figure(curves(content.runs, content.history))
    assert found.choices[:2] == ("val_accuracy", "train_accuracy")
    panel = found.panels[0]
    assert sorted(line.key for line in panel.marks) == list(range(6))
    assert [rule.label for rule in panel.rules] == ["chance"]
    for line in panel.marks:
        folder = content.runs["folder"][line.key]
        epochs = content.history[content.history["folder"] == folder]
        assert line.x == tuple(epochs["epoch"])
        assert line.y == tuple(epochs["val_accuracy"])


def test_of_many_runs_the_curves_of_the_200_best_are_drawn():
    content = tables.search(400)
    shapes = {n: np.linspace(0.5, 0.6, 4) for n in range(400)}
    rows = [RUN(n, {}, study="search") for n in range(400)]
    history_ = tables.epochs_of(rows, shapes)
    found = figure(curves(content.runs, history_))
    keys = {line.key for line in found.panels[0].marks}
    assert len(keys) == 200
    assert max(keys) < 201 + (content.runs["state"] == "COMPLETE").sum()
    assert "200 best of" in found.caption


def test_a_long_curve_keeps_its_last_epoch():
    rows = [RUN(0, {"a": 1}, objective=0.5)]
    long = tables.epochs_of(rows, {0: np.linspace(0, 1, 10_001)})
    line = figure(curves(frame(rows), long)).panels[0].marks[0]
    assert len(line.x) <= 251
    assert line.x[-1] == 10_001


def test_numbers_too_large_for_a_picture_are_left_out_of_it():
    content = tables.extremes()
    drawn_ = figure(parameters(content.runs))
    for panel in drawn_.panels:
        json.dumps(drawn(panel), allow_nan=False)
        assert all(abs(y) < 1 for mark in panel.marks for y in mark.y)
    found = parallel(content.runs)
    assert isinstance(found, dict)
    assert len(found[""]["data"]) == 4
    (panel,) = figure(history(content.runs)).panels
    assert max(panel.marks[1].y) == 0.8


def test_parameters_draw_completed_and_pruned_runs_only():
    content = tables.search(120)
    found = figure(parameters(content.runs, content.log_parameters))
    states = content.runs["state"]
    panel = next(panel for panel in found.panels if panel.title == "optimizer.lr")
    assert panel.x.scale == "log"
    pruned, complete = panel.marks
    assert set(states[list(pruned.keys)]) == {"PRUNED"}
    assert set(states[list(complete.keys)]) == {"COMPLETE"}
    assert complete.x == tuple(content.runs["optimizer.lr"][list(complete.keys)])


def test_a_ranking_of_one_run_leaves_room_for_its_axis_and_the_name_of_chance():
    runs = frame([RUN(0, {"p": 1}, objective=0.7, last=0.6)])
    panel = figure(ranking(runs)).panels[0]
    margin = drawn(panel)["layout"]["margin"]
    # Ticks and title below take fifty pixels.
    assert panel.height_px - margin["t"] - 50 > 30
    assert margin["t"] > 20


def test_history_goes_by_the_time_at_which_runs_ended_and_the_best_never_falls():
    content = tables.search(120)
    points, best = figure(history(content.runs)).panels[0].marks
    assert isinstance(best, Line)
    assert list(best.y) == sorted(best.y)
    assert best.y[-1] == content.runs["objective"].max()
    ended = content.runs["ended"][list(points.keys)].tolist()
    assert [time for _, time in sorted(zip(points.x, ended, strict=True))] == sorted(ended)


def test_history_falls_where_less_is_better():
    _, best = figure(history(tables.odd()["foreign"].runs)).panels[0].marks
    assert set(best.y) == {0.0}


def test_the_parameter_that_decides_is_the_most_important():
    rng = np.random.default_rng(0)
    rows = [
        RUN(i, {"matters": float(x), "noise": float(y)}, objective=float(-((x - 0.5) ** 2)))
        for i, (x, y) in enumerate(rng.uniform(size=(80, 2)))
    ]
    found = figure(importances(frame(rows)))
    bars = found.panels[0].marks[0]
    assert isinstance(bars, Bars)
    assert bars.labels[0].startswith("matters")
    assert sum(bars.end) == pytest.approx(1)
    assert bars.end[0] > 0.8


@pytest.mark.parametrize("objectives", [[0.5] * 6, [0.1, 0.2], [float("nan")] * 6])
def test_importances_say_why_they_are_not_there(objectives):
    rows = [RUN(i, {"p": i}, objective=value) for i, value in enumerate(objectives)]
    found = importances(frame(rows))
    assert isinstance(found, NoFigure)
    assert "needs four completed runs" in found.reason


def test_the_pareto_front_is_what_no_other_run_beats():
    rows = [
        RUN(i, {}, direction="maximize,minimize", objective_0=a, objective_1=b)
        for i, (a, b) in enumerate([(1, 1), (2, 2), (1, 2), (2, 2), (0, 0), (3, float("nan"))])
    ]
    assert sorted(front_of(frame(rows))) == [0, 1, 3, 4]


def test_the_pareto_front_agrees_with_optuna():
    import optuna

    runs = tables.two_objectives(60).runs
    study = optuna.create_study(directions=["maximize", "minimize"])
    for values in zip(runs["objective_0"], runs["objective_1"], strict=True):
        study.add_trial(optuna.trial.create_trial(values=values))
    assert sorted(front_of(runs)) == sorted(trial.number for trial in study.best_trials)
    assert isinstance(pareto(runs), Figure)


def test_parallel_coordinates_have_a_line_a_completed_run():
    content = tables.search(60)
    found = parallel(content.runs, content.log_parameters)
    assert isinstance(found, dict)
    found = found[""]
    complete = content.runs.index[content.runs["state"] == "COMPLETE"]
    assert {trace["meta"]["key"] for trace in found["data"]} == set(complete)
    json.dumps(found, allow_nan=False)


def test_the_timeline_has_a_lane_a_slot_and_no_time_is_lost():
    content = tables.search(50)
    panel = figure(timeline(content.attempts, content.made_at)).panels[0]
    assert [name for _, name in panel.y.ticks] == [f"cuda:{i}" for i in range(4)]
    total = sum(e - s for bars in panel.marks for s, e in zip(bars.start, bars.end, strict=True))
    assert total == pytest.approx(content.attempts["seconds"].sum(), rel=0.02)


def test_a_bar_belongs_to_the_run_that_went_on_from_it():
    start = tables.START
    rows = [
        RUN(
            0,
            {},
            objective=0.5,
            attempt=1,
            started=start.replace(hour=8),
            ended=start.replace(hour=9),
        ),
        RUN(1, {}, objective=0.6, started=start, ended=start.replace(hour=9)),
    ]
    lost = RUN(0, {}, "FAIL", started=start, ended=start.replace(hour=8), folder="/tmp/old")
    lost.facts["number"] = 7
    panel = figure(timeline(frame([lost, *rows]), start, frame(rows))).panels[0]
    keys = {bars.colour: bars.keys for bars in panel.marks}
    assert keys == {palette.BLUE: (0, 1), palette.STATES["FAIL"]: (0,)}


def test_bars_of_many_attempts_are_joined():
    panel = figure(timeline(tables.search(5000).attempts, tables.START)).panels[0]
    assert sum(len(bars.start) for bars in panel.marks) < 4 * 900


def test_a_running_attempt_lasts_until_now_and_attempts_without_a_slot_lie_side_by_side():
    start = tables.START
    rows = [RUN(i, {}, "RUNNING", started=start) for i in range(2)]
    panel = figure(timeline(frame(rows), start.replace(hour=8))).panels[0]
    assert [name for _, name in panel.y.ticks] == ["lane 1", "lane 2"]
    bars = panel.marks[0]
    assert [e - s for s, e in zip(bars.start, bars.end, strict=True)] == [3600, 3600]


def test_a_cross_stands_where_a_run_was_pruned():
    content = tables.search(60)
    crosses = figure(intermediate(content.runs, content.history)).panels[0].marks[-1]
    assert crosses.symbol == "cross"
    for key, x in zip(crosses.keys, crosses.x, strict=True):
        assert content.runs["state"][key] == "PRUNED"
        folder = content.runs["folder"][key]
        assert x == content.history.loc[content.history["folder"] == folder, "epoch"].max()


def test_groups_are_a_forest_around_no_difference():
    panel = figure(groups(tables.lr_trials().groups)).panels[0]
    assert [rule.at for rule in panel.rules] == [0]
    assert panel.marks[0].x == (0.04, 0.0, 0.11)
    assert panel.y.ticks[2][1] == "resnet50 vs plain50  lr=0.0001"


def test_groups_of_several_studies_name_theirs():
    table = tables.lr_trials().groups.assign(study=["a", "b", "b"])
    panel = figure(groups(table)).panels[0]
    assert panel.y.ticks[2][1] == "resnet50 vs plain50  b: lr=0.0001"


def test_p_values_are_counted():
    table = tables.lr_trials().groups
    assert "3 p values were looked at" in figure(groups(table)).caption
    assert "about 0.15 of them" in luck_of(table)
    assert luck_of(table[:1]) == ""


def test_nothing_is_drawn_of_groups_that_are_not_known():
    table = tables.lr_trials().groups.assign(difference=float("nan"))
    assert groups(table) == NoFigure()


def test_texts_for_plotly_are_neither_tags_nor_templates():
    assert escaped("<b>%{x}&\n") == "&lt;b&gt;&#37;{x}&amp;<br>"


def test_all_figures_can_be_written_as_json():
    content = tables.hostile()
    found = [
        curves(content.runs, content.history),
        parameters(content.runs),
        history(content.runs),
        importances(content.runs),
        timeline(content.attempts, content.made_at),
        groups(content.groups),
        ranking(content.runs),
    ]
    for one in found:
        for panel in figure(one).panels:
            text = json.dumps(drawn(panel), allow_nan=False)
            assert "<script" not in text
            assert "<img" not in text
            assert "%{x}&" not in text


PNGS = {
    "lr_trials": [
        *("published", "ranking", "curves_val_accuracy", "curves_train_accuracy"),
        *("curves_val_loss", "curves_train_loss", "curves_lr", "groups", "parameters"),
        *("importances", "history", "timeline"),
    ],
    "seeds": ["ranking", "means", "parameters", "importances", "history"],
    "trade_off": ["parameters_objective_0", "parameters_objective_1", "importances", "pareto"],
}


@pytest.mark.parametrize(
    "content", [tables.lr_trials(), tables.repeats(), tables.two_objectives(12)], ids=list(PNGS)
)
def test_pictures_for_papers_are_written(tmp_path: Path, content: PageContent):
    paths = write_pngs(content, tmp_path / "png")
    names = [path.stem for path in paths if path.suffix == ".png"]
    assert set(PNGS[content.title]) <= set(names)
    if content.title != "trade_off":
        assert names == PNGS[content.title]
    for path in paths:
        head = path.read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(head[16:20], "big") > 600
    assert set(paths) == set((tmp_path / "png").iterdir())


def test_pictures_of_choices_with_like_names_have_files_of_their_own(tmp_path: Path):
    names = ["a/b", "a b", "A b", "\u00e9"]
    rows = [RUN(i, {"p": i}, study=name, objective=i / 10) for name in names for i in range(3)]
    content = PageContent("names", tables.START, frame(rows))
    paths = [path.name for path in write_pngs(content, tmp_path)]
    assert [name for name in paths if name.startswith("history")] == [
        "history_a_b.png",
        "history_a_b-2.png",
        "history_A_b-3.png",
        "history.png",
    ]
    assert len(set(map(str.lower, paths))) == len(paths)


def test_a_picture_for_papers_that_fails_leaves_the_others(tmp_path: Path, monkeypatch, caplog):
    def fail(*_: object) -> Figure:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("resnet_sweep.report.plots.all.history", fail)
    names = [path.stem for path in write_pngs(tables.repeats(), tmp_path)]
    assert names == ["ranking", "means", "parameters", "importances"]
    assert "the picture history cannot be drawn" in caplog.text


def test_pictures_of_hostile_names_stay_in_their_folder(tmp_path: Path):
    for path in write_pngs(tables.hostile(), tmp_path / "png"):
        assert path.parent == tmp_path / "png"
        assert path.exists()
