import json
import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from studies import HOSTILE, StudyOnDisk, study_of_every_kind

import resnet_sweep
from resnet_sweep.faults import ConfigError
from resnet_sweep.report.render import render
from resnet_sweep.report.results import load_results, write_results
from resnet_sweep.study.folder import StudyFolder


@pytest.fixture
def every_kind(tmp_path: Path) -> Iterator[StudyOnDisk]:
    made = study_of_every_kind(tmp_path)
    yield made
    made.close()


def test_a_row_a_ticket_best_first(every_kind):
    table = load_results(every_kind.path)
    assert table["state"].tolist() == [
        *("COMPLETE", "COMPLETE", "PRUNED", "FAIL", "RUNNING"),
        *("WAITING",) * 5,
    ]
    assert table["number"].tolist()[:7] == [0, 7, 1, 2, 4, 5, 6]
    assert table["number"].isna().tolist() == [False] * 7 + [True] * 3
    assert table["objective"].dropna().tolist() == [0.5, 0.5, 0.2]


def test_columns_and_their_types(every_kind):
    table = load_results(str(every_kind.path))
    assert table.columns.tolist() == [
        *("number", "state", "objective", "lr", "model", "best_epoch", "seconds", "attempt"),
        *("worker", "slot", "error", "started", "ended", "duplicate_of", "folder"),
    ]
    for name, dtype in {
        "number": "Int64",
        "objective": "float64",
        "lr": "float64",
        "best_epoch": "float64",
        "seconds": "float64",
        "attempt": "Int64",
        "started": "datetime64[us]",
        "duplicate_of": "Int64",
    }.items():
        assert table[name].dtype == dtype, name


def test_reasons_attempts_and_folders(every_kind):
    table = load_results(every_kind.path).set_index("number")
    assert table.loc[2, "error"] == "non_finite: NonFinite: the loss is nan"
    assert table.loc[4, ["attempt", "worker", "slot", "error", "folder"]].tolist() == [
        *(1, "s-1", "gpu1", "", "trials/4")
    ]
    assert table.loc[5, "error"] == "interrupted: stopped"
    assert table.loc[7, "duplicate_of"] == 0


def test_minimising_puts_the_smallest_first_and_pruned_ones_behind(tmp_path):
    made = StudyOnDisk(tmp_path, [{}] * 3, directions=["minimize"])
    made.add(0, {}, values=0.5)
    made.add(1, {}, "PRUNED", 0.1)
    made.add(2, {}, values=0.3)
    assert load_results(tmp_path)["number"].tolist() == [2, 0, 1]


def test_several_objectives_have_columns_and_the_front_comes_first(tmp_path):
    made = StudyOnDisk(tmp_path, [{}] * 4, directions=["maximize", "minimize"])
    for ticket, pair in enumerate([(0.5, 3.0), (0.9, 5.0), (0.8, 6.0)]):
        made.add(ticket, {}, values=pair)
    table = load_results(tmp_path)
    assert table["objective_0"].tolist()[:3] == [0.9, 0.5, 0.8]
    assert table["objective_1"].tolist()[:3] == [5.0, 3.0, 6.0]
    assert "objective" not in table


def test_values_keep_their_types(tmp_path):
    planned = [
        {"a": 1, "b": None, "c": True, "d": "1", "e": None, "f": [1, 2]},
        {"a": 2, "b": 2, "c": False, "d": 1, "e": "x", "f": [3, 4]},
        {"a": 3, "b": 0.5, "c": True, "d": "x"},
    ]
    StudyOnDisk(tmp_path, planned)
    table = load_results(tmp_path)
    assert table["a"].dtype == "Int64"
    assert table["b"].dtype == "float64"
    assert table["c"].tolist() == [True, False, True]
    assert table["d"].tolist() == ["1", 1, "x"]
    assert table["e"].tolist()[:2] == [None, "x"]
    assert math.isnan(table["e"].tolist()[2])
    assert table["f"].tolist()[:2] == [[1, 2], [3, 4]]


def test_measurements_come_from_result_json_and_from_the_trial(tmp_path):
    made = StudyOnDisk(tmp_path, [{}] * 4)
    for ticket in range(4):
        made.add(ticket, {}, values=1.0 - ticket / 10, memory_mib=100, classes=["a", "b"])
    contents = [
        {"last": {"val_accuracy": 0.25}, "seed": 7, "seconds": 99.0, "best": "unlike ours"},
        ["no", "mapping"],
    ]
    for number, content in enumerate(contents):
        (tmp_path / "trials" / str(number)).mkdir(parents=True)
        (tmp_path / "trials" / str(number) / "result.json").write_text(json.dumps(content))
    (tmp_path / "trials" / "2").mkdir()
    (tmp_path / "trials" / "2" / "result.json").write_text('{"torn')
    table = load_results(tmp_path)
    assert table["last_val_accuracy"].tolist()[0] == 0.25
    assert table["seed"].dropna().tolist() == [7]
    # The worker's clock saw all of the trial.
    assert set(table["seconds"]) == {10.0}
    assert table["memory_mib"].tolist() == [100.0] * 4
    assert table["classes"].tolist() == ['["a", "b"]'] * 4


def test_repeats_are_one_row_with_their_means(tmp_path):
    made = StudyOnDisk(tmp_path, [{}])
    number = made.add(0, {}, values=0.5, repeat_values=[0.25, 0.75])
    for repeat in range(2):
        folder = tmp_path / "trials" / str(number) / str(repeat)
        folder.mkdir(parents=True)
        result = {"seed": 7 + repeat, "images_per_s": 100 + 50 * repeat, "seconds": 3}
        (folder / "result.json").write_text(json.dumps(result))
    row = load_results(tmp_path).iloc[0]
    assert (row["seed"], row["images_per_s"], row["seconds"]) == (7, 125, 10)


def test_repeats_that_were_taken_up_again_are_read_where_they_ran(tmp_path):
    made = StudyOnDisk(tmp_path, [{}, {}])
    lost = made.add(0, {}, "FAIL", failure="lost", repeat_values=[0.25])
    # What a task tells is of its last run.
    again = made.add(0, {}, values=0.5, attempt=1, repeat_values=[0.25, 0.75], images_per_s=150)
    pruned = made.add(1, {}, "PRUNED", 0.1)
    for run, speed in ((f"{lost}/0", 100), (f"{again}/1", 150), (f"{pruned}/0", 90)):
        folder = tmp_path / "trials" / run
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({"images_per_s": speed}))
    assert load_results(tmp_path)["images_per_s"].tolist() == [125, 90]


def test_names_that_are_taken_get_a_prefix(tmp_path):
    planned = [{"number": 0.5, "seconds": 0.25, "error": "x", "memory": 1.0}]
    made = StudyOnDisk(tmp_path, planned)
    made.add(0, planned[0], values=0.5, memory=7)
    row = load_results(tmp_path).iloc[0]
    assert (row["number"], row["params_number"], row["params_error"]) == (0, 0.5, "x")
    assert (row["params_seconds"], row["seconds"]) == (0.25, 10.0)
    assert {row["params_memory"], row["memory"]} == {1.0, 7.0}


def test_no_trial_yet_and_none_that_did_not_fail(tmp_path):
    StudyOnDisk(tmp_path / "new", n_trials=0)
    table = load_results(tmp_path / "new")
    assert table.empty
    assert "objective" in table
    assert render(table) == "no trial has started"
    made = StudyOnDisk(tmp_path / "failed", [{"lr": 0.1}, {"lr": 0.2}])
    for ticket in range(2):
        made.add(ticket, {"lr": (ticket + 1) / 10}, "FAIL", failure="exception", error="E: bad")
    table = load_results(tmp_path / "failed")
    assert table["state"].tolist() == ["FAIL", "FAIL"]
    assert table["objective"].isna().all()
    assert "exception: E: bad" in render(table)


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"it has no multirun\.yaml"):
        load_results(tmp_path)
    with pytest.raises(ConfigError, match="it is not a folder"):
        load_results(tmp_path / "nothing")


def test_csv_reads_back_equal_whatever_the_values_are(tmp_path):
    made = StudyOnDisk(tmp_path, [{"text": text} for text in HOSTILE])
    for ticket, text in enumerate(HOSTILE):
        made.add(ticket, {"text": text}, values=ticket / 10)
    table = load_results(tmp_path)
    write_results(table, StudyFolder(tmp_path))
    again = pd.read_csv(tmp_path / "results.csv", keep_default_na=False)
    assert again["text"].tolist() == table["text"].tolist() == list(reversed(HOSTILE))
    assert again["objective"].tolist() == table["objective"].tolist()
    assert not list(tmp_path.glob(".results.csv*"))


def test_it_is_part_of_the_public_api(every_kind):
    pd.testing.assert_frame_equal(
        resnet_sweep.load_results(every_kind.path), load_results(every_kind.path)
    )


def test_text_has_a_line_a_trial_whatever_the_values_are(tmp_path):
    made = StudyOnDisk(tmp_path, [{"text": text, "same": "x"} for text in HOSTILE])
    for ticket, text in enumerate(HOSTILE):
        made.add(ticket, {"text": text, "same": "x"}, values=ticket / 10)
    text = render(load_results(tmp_path))
    lines = text.splitlines()
    assert len(lines) == 1 + len(HOSTILE) + 2
    assert lines[-1] == "in all trials: same=x"
    assert "\x1b" not in text
    assert "[bold]markup[/]" in text
    assert "two\\nlines" in text
    assert max(map(cells, lines)) < 80


def cells(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


def test_text_says_what_a_person_needs(every_kind):
    text = render(load_results(every_kind.path))
    assert "non_finite: NonFinite: the loss is nan" in text
    assert "interrupted: stopped" in text
    assert "duplicate_of" in text
    assert "2 more trials are yet to be drawn" in text
    assert "nan" not in text.replace("is nan", "")
    assert "NA" not in text


def test_text_fits_a_narrow_terminal(every_kind):
    text = render(load_results(every_kind.path), width=60)
    assert max(map(cells, text.split("\n\n")[0].splitlines())) <= 60
    assert "objective" in text.splitlines()[0]


def test_text_of_a_long_table_can_be_cut(tmp_path):
    made = StudyOnDisk(tmp_path, [{"i": i} for i in range(50)])
    for i in range(30):
        made.add(i, {"i": i}, values=i / 10)
    lines = render(load_results(tmp_path), num_rows=10).splitlines()
    assert len(lines) == 14
    assert lines[-2:] == ["20 more rows are not shown", "20 more trials have not begun"]


def test_text_warns_of_values_that_depend_on_the_order(tmp_path):
    made = StudyOnDisk(tmp_path, n_trials=2)
    made.begin(0, {"x": 0.5}, worker="s-0")
    made.begin(1, {"x": 0.25}, worker="s-1")
    assert "depend on the order in which trials ended" in render(load_results(tmp_path))
