"""The table of epochs."""

import math
from pathlib import Path

import pandas as pd
from studies import StudyOnDisk, study_of_every_kind

import resnet_sweep
from resnet_sweep.report.files import read_csv, write_csv
from resnet_sweep.report.results import load_history

FIRST = ["study", "ticket", "number", "repeat", "attempt", "epoch"]


def write_metrics(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.csv").write_text(text)


def test_epochs_stand_beside_what_the_pruner_was_told(tmp_path):
    made = StudyOnDisk(tmp_path, [{"x": 1}, {"x": 2}, {"x": 3}])
    for ticket in range(2):
        number = made.begin(ticket, {"x": ticket + 1})
        made.report(number, step1=0.25, step2=0.5)
    write_metrics(tmp_path / "trials" / "0", "epoch,val_accuracy,lr\n1,0.25,1\n2,0.5,\n3,nan,2\n")
    table = load_history(tmp_path)
    assert table.columns.tolist() == [*FIRST, "val_accuracy", "lr", "reported", "folder"]
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == {
        **{"study": "string", "folder": "string"},
        **dict.fromkeys(FIRST[1:], "Int64"),
        **dict.fromkeys(("val_accuracy", "lr", "reported"), "float64"),
    }
    # Of the second one only the study knows: its folder is gone.
    assert table["number"].tolist() == [0, 0, 0, 1, 1]
    assert table["epoch"].tolist() == [1, 2, 3, 1, 2]
    assert table["reported"].fillna(-1).tolist() == [0.25, 0.5, -1, 0.25, 0.5]
    assert table["val_accuracy"].isna().tolist() == [False, False, True, True, True]
    pd.testing.assert_frame_equal(resnet_sweep.load_history(tmp_path), table)


def test_of_repeats_the_first_one_reports(tmp_path):
    made = StudyOnDisk(tmp_path, [{}], attrs={"identity": {"repeats": 2}})
    number = made.begin(0, {})
    made.report(number, step1=0.25)
    made.end(number, values=0.5, repeat_values=[0.25, 0.75])
    for repeat in range(2):
        folder = tmp_path / "trials" / str(number) / str(repeat)
        write_metrics(folder, f"epoch,val_accuracy\n1,{0.25 + repeat / 2}\n")
    table = load_history(tmp_path)
    assert table["repeat"].tolist() == [0, 1]
    assert table["val_accuracy"].tolist() == [0.25, 0.75]
    assert table["reported"].fillna(-1).tolist() == [0.25, -1]


def test_only_the_last_attempt_counts(tmp_path):
    made = StudyOnDisk(tmp_path, [{}])
    lost = made.begin(0, {})
    made.report(lost, step1=0.1, step2=0.2)
    made.end(lost, "FAIL", failure="lost")
    made.report(made.begin(0, {}, attempt=1), step1=0.1)
    table = load_history(tmp_path)
    assert (table["number"].tolist(), table["attempt"].tolist()) == ([1], [1])


def test_nothing_has_begun(tmp_path):
    StudyOnDisk(tmp_path, [{}])
    table = load_history(tmp_path)
    assert table.empty
    assert table.columns.tolist() == [*FIRST, "reported", "folder"]
    assert str(table["epoch"].dtype) == "Int64"
    write_csv(table, tmp_path / "history.csv")
    pd.testing.assert_frame_equal(read_csv(tmp_path / "history.csv"), table)


def test_a_task_may_measure_under_any_name_and_the_file_keeps_it(tmp_path):
    made = StudyOnDisk(tmp_path, [{}, {}])
    made.report(made.begin(0, {}), step5=math.inf)
    made.begin(1, {})
    names = "state,seed,started,reported,objective,learned,a\nb,number,folder,epoch"
    header = names.replace("a\nb", '"a\nb"')
    write_metrics(tmp_path / "trials" / "0", f"{header}\n{','.join('0123456789')}\n")
    write_metrics(tmp_path / "trials" / "1", "epoch,b\n1,2.5\n")
    table = load_history(tmp_path)
    assert table.columns.tolist() == [
        *FIRST,
        *("state", "seed", "started", "objective", "learned", "a\nb", "b", "reported", "folder"),
    ]
    assert table["started"].fillna(-1).tolist() == [-1, 2.0, -1]
    assert table["number"].tolist() == [0, 0, 1]
    assert table["epoch"].tolist() == [5, 9, 1]
    write_csv(table, tmp_path / "history.csv")
    pd.testing.assert_frame_equal(load_history(tmp_path / "history.csv"), table)


def test_studies_that_measure_different_things_stand_one_after_another(tmp_path):
    for name, column in (("a", "loss"), ("b", "score")):
        made = StudyOnDisk(tmp_path / name, [{}], name=name)
        made.begin(0, {})
        write_metrics(tmp_path / name / "trials" / "0", f"epoch,{column}\n1,0.5\n")
    StudyOnDisk(tmp_path / "c", [{}], name="c")
    table = load_history(tmp_path)
    assert table.columns.tolist() == [*FIRST, "loss", "score", "reported", "folder"]
    assert table["study"].tolist() == ["a", "b"]
    write_csv(table, tmp_path / "history.csv")
    pd.testing.assert_frame_equal(load_history(tmp_path / "history.csv"), table)


def test_a_running_sweep_has_a_history(tmp_path):
    made = study_of_every_kind(tmp_path)
    assert load_history(tmp_path)["reported"].tolist() == [0.3, 0.6]
    made.close()
