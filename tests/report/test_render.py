"""Tables as text for a terminal."""

import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from studies import HOSTILE, StudyOnDisk, study_of_every_kind

from resnet_sweep.report.aggregate import aggregate
from resnet_sweep.report.columns import Row, frame
from resnet_sweep.report.render import render
from resnet_sweep.report.report import Report
from resnet_sweep.report.results import load_results
from resnet_sweep.report.shaping import shape
from resnet_sweep.report.source import Source
from resnet_sweep.report.summary import render_summary
from resnet_sweep.report.terminal import run_table


@pytest.fixture
def every_kind(tmp_path: Path) -> Iterator[StudyOnDisk]:
    made = study_of_every_kind(tmp_path)
    yield made
    made.close()


def cells(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


def grid(text: str) -> list[str]:
    return text.split("\n\n")[0].splitlines()


def run(number: int | None, parameters: dict, told: dict | None = None, **facts) -> Row:
    known = {
        **{"study": "s", "ticket": number, "number": number, "attempt": 0, "state": "COMPLETE"},
        **{"objective": 0.69, "metric": "best_val_accuracy", "direction": "maximize"},
        **{"best_val_accuracy": 0.69, "last_val_accuracy": 0.66, "num_val_images": 600},
        **{"last_val_accuracy_low": 0.621, "last_val_accuracy_high": 0.697, "learned": True},
        **{"chance_accuracy": 0.5, "seconds": 83.24, "images_per_s": 412.3, "best_epoch": 7},
        **{"epochs": 20, "peak_memory_mib": 812.5, "folder": f"/out/trials/{number}"},
    }
    return Row(known | facts, parameters, told or {})


def lr_trials() -> pd.DataFrame:
    rows = []
    published = {0.0001: (0.73, True), 0.01: (None, False), 0.0025: (0.49, False)}
    for number, (lr, (value, learned)) in enumerate(published.items()):
        parameters = {"optimizer.lr": lr, "optimizer.momentum": 0.9, "model": f"resnet{number}"}
        facts = {"published": value, "published_learned": learned, "learned": number == 0}
        rows.append(run(number, parameters, **facts))
    rows.append(run(3, {"optimizer.lr": 1.0, "optimizer.momentum": 0.9, "model": "x"}))
    return frame(rows)


def test_the_whole_table():
    assert render(lr_trials()).splitlines() == [
        "number  state     objective  optimizer.lr  model    published             best_epoch"
        "        last_val_accuracy  learned        seconds  images_per_s  peak_memory_mib",
        "     0  COMPLETE     0.6900        0.0001  resnet0  0.7300 learned                 7"
        "  0.6600 (0.621 to 0.697)  learned           83.2           412            812.5",
        "     1  COMPLETE     0.6900          0.01  resnet1  did not learn                  7"
        "  0.6600 (0.621 to 0.697)  did not learn     83.2           412            812.5",
        "     2  COMPLETE     0.6900        0.0025  resnet2  0.4900 did not learn           7"
        "  0.6600 (0.621 to 0.697)  did not learn     83.2           412            812.5",
        "     3  COMPLETE     0.6900             1  x                                       7"
        "  0.6600 (0.621 to 0.697)  learned           83.2           412            812.5",
        "",
        "in all trials: optimizer.momentum=0.9",
        "objective: the best val_accuracy of all epochs, which is optimistic",
        "in brackets: 95% interval of one run's accuracy at that epoch",
        "learned: the last epoch's 95% interval lies above chance (0.5000)",
    ]


@pytest.mark.parametrize(
    ("width", "header"),
    [
        (60, "number  objective      lr  model    learned"),
        (80, "number  objective      lr  model    published             learned"),
        (
            120,
            "number  state     objective      lr  model    published                  "
            " last_val_accuracy  learned        seconds",
        ),
    ],
)
def test_what_says_least_goes_first(width, header):
    text = render(lr_trials(), width)
    lines = grid(text)
    assert lines[0] == header
    assert max(map(cells, lines)) <= width
    assert "…" not in "".join(lines)
    assert ("in brackets" in text) == ("last_val_accuracy" in header)


@pytest.mark.parametrize("width", [20, 60, 80, 120, None])
def test_a_line_a_trial_whatever_the_values_are(tmp_path, width):
    made = StudyOnDisk(tmp_path, [{"text": text, "same": "x"} for text in HOSTILE])
    for ticket, text in enumerate(HOSTILE):
        parameters = {"text": text, "same": "x"}
        made.add(ticket, parameters, values=ticket / 10, told=text, more={"a": text})
    text = render(load_results(tmp_path), width)
    lines = text.splitlines()
    assert len(lines) == 1 + len(HOSTILE) + 2
    assert lines[-1] == "in all trials: same=x"
    assert "\x1b" not in text
    assert max(map(cells, grid(text))) <= (width or 999)
    if width is None or width >= 60:
        assert "[bold]markup[/]" in text
        assert "two\\nlines" in text


def test_texts_stand_at_the_left_and_an_empty_one_is_seen():
    rows = [run(i, {"optimizer.name": name, "n": i}) for i, name in enumerate(["", " a", "bc"])]
    lines = grid(render(frame(rows), 60))
    start = lines[0].index("name")
    assert [line[start : start + 4].rstrip() for line in lines] == ["name", "''", " a", "bc"]


def test_null_is_a_choice_and_missing_is_blank():
    rows = [run(0, {"a": None}), run(1, {"a": "x"}), run(2, {})]
    lines = grid(render(frame(rows)))
    start = lines[0].index("  a  ") + 2
    assert [line[start : start + 4].rstrip() for line in lines] == ["a", "null", "x", ""]
    rows = [run(i, {"grad_clip": clip}) for i, clip in enumerate([None, 1.0, 0.25])]
    lines = grid(render(frame([*rows, run(3, {})])))
    end = lines[0].index("grad_clip") + len("grad_clip")
    assert [line[end - 4 : end].lstrip() for line in lines[1:]] == ["null", "1", "0.25", ""]


def test_what_a_person_needs(every_kind):
    text = render(load_results(every_kind.path))
    assert "non_finite: NonFinite: the loss is nan" in text
    assert "interrupted: stopped" in text
    assert "duplicate_of" in text
    assert "2 more trials are yet to be drawn" in text
    assert "1 more trial has not begun" in text
    assert "nan" not in text.replace("is nan", "")
    assert "NA" not in text
    assert "folder" not in text


def test_of_a_long_error_the_beginning_is_enough(every_kind):
    lines = grid(render(load_results(every_kind.path), 60))
    assert max(map(cells, lines)) <= 60
    assert "objective" in lines[0]
    assert "non_finite: Non" in "".join(lines)


def test_a_long_table_can_be_cut(tmp_path):
    made = StudyOnDisk(tmp_path, [{"i": i} for i in range(50)])
    for i in range(30):
        made.add(i, {"i": i}, values=i / 10)
    lines = render(load_results(tmp_path), num_rows=10, notes=["a note"]).splitlines()
    assert len(lines) == 15
    assert lines[-3:] == ["20 more rows are not shown", "20 more trials have not begun", "a note"]


def test_single_runs_are_known_by_their_folders_also_beside_trials():
    rows = [run(0, {"a": 1}), run(None, {"a": 2}, folder="/out/runs/one\n", study="runs")]
    lines = grid(render(frame(rows)))
    assert lines[0].startswith("folder  study  number")
    assert lines[1].startswith("        s           0")
    assert lines[2].startswith("one\\n   runs")


def test_two_objectives_and_numbers_that_are_none():
    rows = [
        run(0, {}, metric=None, objective=None, objective_0=math.inf, objective_1=1e-7),
        run(1, {}, metric=None, objective=None, objective_0=math.nan, state="FAIL", error="E"),
    ]
    lines = grid(render(frame(rows)))
    assert lines[0].split()[2:4] == ["objective_0", "objective_1"]
    assert lines[1].split()[2:4] == ["inf", "1e-07"]
    assert "nan" not in lines[2]


def test_repeats_have_a_line_each():
    rows = [run(0, {"a": 1}, repeat=repeat, objective=repeat / 4) for repeat in range(3)]
    lines = grid(render(frame(rows)))
    assert [line.split()[:2] for line in lines] == [["number", "repeat"]] + [
        ["0", str(repeat)] for repeat in range(3)
    ]


def test_nothing_has_begun(tmp_path):
    StudyOnDisk(tmp_path / "new", n_trials=0)
    assert render(load_results(tmp_path / "new")) == "no trial has started"
    StudyOnDisk(tmp_path / "planned", [{"a": 1}])
    assert render(load_results(tmp_path / "planned"), 80) == "1 more trial has not begun"


def test_a_summary_loses_what_all_rows_share_before_it_is_cut():
    table = pd.DataFrame(
        {
            "parameter": ["model"] * 2,
            "optimizer.lr": [0.1, 0.2],
            "difference": [0.1, math.nan],
            "difference_low": [0.05, math.nan],
            "difference_high": [0.15, math.nan],
            "num_failed": [0, 0],
            "verdict": ["resnet50 better by 0.11 (0.05 to 0.16), as it is said", "not known"],
        }
    )
    assert render_summary(table).splitlines() == [
        "parameter  optimizer.lr               difference  verdict",
        "model               0.1  0.1000 (0.050 to 0.150)  " + table["verdict"][0],
        "model               0.2                           not known",
    ]
    narrow = render_summary(table, 57).splitlines()
    assert narrow[0] == " lr               difference  verdict"
    assert max(map(cells, narrow)) == 57
    assert render_summary(table.head(0)) == "nothing to show"


def test_what_is_in_brackets_is_said_of_means_where_there_is_something():
    values = [(0, 0.8), (0, 0.82), (1, 0.7), (1, 0.72)]
    rows = [run(i, {"a": a}, repeat=i % 2, objective=value) for i, (a, value) in enumerate(values)]
    means = aggregate(frame(rows), ["a"])
    text = render_summary(means)
    assert "0.8100 (0.683 to 0.937)" in text
    assert text.splitlines()[-3:] == [
        "",
        "objective: of each run the best of all epochs, which is optimistic",
        "in brackets: 95% t interval of the mean over seeds",
    ]
    assert "brackets" not in render_summary(aggregate(frame(rows), []))
    assert "one run's accuracy" in render(frame(rows))


def test_means_stand_in_the_order_of_their_trials():
    values = [(0, 0.7), (0, 0.7), (1, 0.9), (1, 0.9)]
    rows = [run(i // 2, {"a": a}, repeat=i % 2, objective=v) for i, (a, v) in enumerate(values)]
    means = run_table(Report([Source("s", tuple(rows))]), None).split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in means] == ["a", "0", "1"]


def test_it_warns_of_values_that_depend_on_the_order(tmp_path):
    from resnet_sweep.report.sources import open_sources

    made = StudyOnDisk(tmp_path, n_trials=2)
    made.begin(0, {"x": 0.5}, worker="s-0")
    made.begin(1, {"x": 0.25}, worker="s-1")
    (source,) = open_sources(tmp_path)
    assert "depend on the order in which trials ended" in source.notes[0]


def test_a_filter_that_leaves_nothing_says_so():
    table = lr_trials()
    assert render(shape(table, filter="state=FAIL")) == "no run matches the filter"
    kept = shape(table, filter="state=FAIL")
    assert render_summary(aggregate(kept, ["model"])) == "no run matches the filter"
    assert render_summary(shape(kept, columns="model")) == "no run matches the filter"
    assert render(table.head(0)) == "no trial has started"


def test_why_a_mean_has_no_interval_is_said():
    rows = [
        run(0, {"model": "one", "lr": 0.1}),
        *(run(i, {"model": "several", "lr": 0.1 * i}, objective=0.1 * i) for i in (1, 2)),
        *(run(i, {"model": "same", "lr": 0.1}, objective=0.5) for i in (3, 4)),
    ]
    line = "no interval: one run; runs that differ in more than their seeds; "
    text = render_summary(aggregate(frame(rows), ["model"]))
    assert text.splitlines()[-1] == f"{line}runs that are all the same"
    assert "no interval: one run" in render_summary(aggregate(frame(rows[:1]), ["model"]))


def test_the_exact_test_is_explained_where_it_stands():
    table = pd.DataFrame({"a": ["x"], "b": ["y"], "mcnemar_p": [0.04]})
    assert render_summary(table).splitlines()[-1].startswith("mcnemar_p: ")
    assert "mcnemar_p" not in render_summary(table.assign(mcnemar_p=math.nan))


def test_settings_that_were_asked_for_are_shown():
    rows = [run(i, {"lr": 0.1 * (i + 1)}) for i in range(3)]
    for i, row in enumerate(rows[:2]):
        row.settings = {"trainer.epochs": 5, "data.image_size": 32 * (i + 1)}
    text = render(frame(rows))
    assert "data.image_size" in text.splitlines()[0]
    assert "in all trials: trainer.epochs=5" in text.splitlines()
    assert "trainer.epochs" in render(frame(rows[:1])).splitlines()[0]


def test_the_pareto_front_is_named():
    values = [(0.9, 2.0), (0.8, 1.0), (0.7, 3.0)]
    rows = [
        run(i, {"lr": i}, objective=None, objective_0=first, objective_1=second)
        for i, (first, second) in enumerate(values)
    ]
    for row in rows:
        row.facts |= {"direction": "maximize,minimize", "metric": None}
    table = frame(rows)
    assert "2 on the Pareto front: trials 0, 1" in render(table).splitlines()
    assert "front" not in render(shape(table, filter="number!=0"))
    assert ", 19, ..." in render(pd.concat([table.assign(number=i) for i in range(30)]))


def in_parts(*sizes: int | None) -> list[Row]:
    return [run(i, {"lr": 0.1 * (i + 1)}, microbatch=size) for i, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((16, None, 8, None), "in 2 runs a batch went through the network in parts, of up to 16 "),
        ((8, 8), "in all runs a batch went through the network in parts, of up to 8 images"),
        ((None, 8), "in 1 run a batch"),
    ],
)
def test_runs_whose_batch_norm_saw_parts_of_a_batch_are_told(sizes, said):
    table = frame(in_parts(*sizes))
    for width in (None, 60):
        text = render(table, width)
        # The words stand also where there is no room for the column.
        assert ("microbatch" in text.splitlines()[0]) == (width is None)
        assert text.splitlines()[-1].startswith(f"microbatch: {said}")
        assert "batch norm saw one part at a time" in text.splitlines()[-1]
    assert said in render_summary(aggregate(table, []))


def test_means_without_a_run_in_parts_say_nothing_of_them():
    table = frame(in_parts(None, None, 8))
    table["state"] = pd.Series(["COMPLETE", "COMPLETE", "FAIL"], dtype="string")
    assert "microbatch" not in render_summary(aggregate(table, []))
    assert "microbatch" not in render(frame(in_parts(None, None)))


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((1, 1), "1 broken image was left out of the data of all runs;"),
        ((3, None, 3), "3 broken images were left out of the data of 2 runs;"),
        ((3, None, 1, None), "up to 3 broken images were left out of the data of 2 runs;"),
        ((None, 1), "1 broken image was left out of the data of 1 run;"),
        ((1,), "1 broken image was left out of the data of the run;"),
        ((None, None), None),
    ],
)
def test_images_that_were_left_out_are_told(numbers, said):
    rows = [run(i, {"lr": 0.1 * (i + 1)}, num_skipped_images=num) for i, num in enumerate(numbers)]
    lines = render(frame(rows), 60).splitlines()
    told = [line for line in lines if line.startswith("data.on_corrupt=skip: ")]
    assert (told == []) == (said is None)
    assert said is None or said in told[0]
