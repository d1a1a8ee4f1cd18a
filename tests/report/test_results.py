"""The table of a study: from its storage and from what its trials left on disk."""

import json
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import optuna
import pandas as pd
import pytest
from omegaconf import OmegaConf
from studies import StudyOnDisk, study_of_every_kind

import resnet_sweep
from resnet_sweep.faults import ConfigError, ResultsError
from resnet_sweep.report.columns import objectives_of, parameters_of, told_of
from resnet_sweep.report.results import load_results
from resnet_sweep.report.statistics import wilson

ALWAYS_FIRST = ["study", "ticket", "number", "repeat", "attempt", "state"]


@pytest.fixture
def every_kind(tmp_path: Path) -> Iterator[StudyOnDisk]:
    made = study_of_every_kind(tmp_path)
    yield made
    made.close()


def write_result(folder: Path, **result) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result))


def test_a_row_a_ticket_best_first(every_kind):
    table = load_results(every_kind.path)
    assert table["state"].tolist() == [
        *("COMPLETE", "COMPLETE", "PRUNED", "FAIL", "RUNNING"),
        *("WAITING",) * 5,
    ]
    assert table["number"].tolist()[:7] == [0, 7, 1, 2, 4, 5, 6]
    assert table["number"].isna().tolist() == [False] * 7 + [True] * 3
    assert table["ticket"].tolist() == [0, 7, 1, 2, 3, 4, 6, 5, 8, 9]
    assert table["objective"].dropna().tolist() == [0.5, 0.5, 0.2]


def test_columns_and_their_types(every_kind):
    table = load_results(str(every_kind.path))
    assert table.columns.tolist() == [
        *ALWAYS_FIRST,
        *("lr", "model", "objective", "metric", "direction", "best_epoch"),
        *("seconds", "worker", "slot", "started", "ended", "duplicate_of"),
        *("error_kind", "error", "folder"),
    ]
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == {
        **dict.fromkeys(("study", "state", "model", "metric", "direction"), "string"),
        **dict.fromkeys(("worker", "slot", "error_kind", "error", "folder"), "string"),
        **dict.fromkeys(("ticket", "number", "repeat", "attempt", "best_epoch"), "Int64"),
        **dict.fromkeys(("lr", "objective", "seconds"), "float64"),
        **dict.fromkeys(("started", "ended"), "datetime64[us]"),
        "duplicate_of": "Int64",
    }
    assert parameters_of(table) == ["lr", "model"]
    assert set(table["direction"]) == {"maximize"}


def test_reasons_attempts_and_folders(every_kind):
    table = load_results(every_kind.path).set_index("number")
    assert table.loc[2, ["error_kind", "error"]].tolist() == [
        *("non_finite", "NonFinite: the loss is nan")
    ]
    assert table.loc[4, ["attempt", "worker", "slot", "folder"]].tolist() == [
        *(1, "s-1", "gpu1", str(every_kind.path / "trials" / "4"))
    ]
    assert pd.isna(table.loc[4, "error"])
    assert table.loc[5, ["error_kind", "error"]].tolist() == ["interrupted", "stopped"]
    assert table.loc[6, ["error_kind", "error"]].tolist() == ["lost", "its worker is gone"]
    assert table.loc[7, "duplicate_of"] == 0


def test_all_attempts_stand_behind_the_last_one(every_kind):
    table = load_results(every_kind.path, attempts="all")
    of_ticket = table[table["ticket"] == 3]
    assert of_ticket["number"].tolist() == [4, 3]
    assert of_ticket["attempt"].tolist() == [1, 0]
    assert of_ticket["state"].tolist() == ["RUNNING", "FAIL"]
    assert of_ticket["error_kind"].tolist()[1] == "lost"
    with pytest.raises(ConfigError, match="attempts=first"):
        load_results(every_kind.path, attempts="first")  # type: ignore[arg-type]


def test_minimising_puts_the_smallest_first_and_pruned_ones_behind(tmp_path):
    made = StudyOnDisk(tmp_path, [{}] * 4, directions=["minimize"])
    made.add(0, {}, values=0.5)
    made.add(1, {}, "PRUNED", 0.1)
    made.add(2, {}, values=0.3)
    made.add(3, {}, values=math.inf)
    table = load_results(tmp_path)
    assert table["number"].tolist() == [2, 0, 3, 1]
    assert set(table["direction"]) == {"minimize"}


def test_several_objectives_have_columns_and_the_front_comes_first(tmp_path):
    made = StudyOnDisk(tmp_path, [{}] * 4, directions=["maximize", "minimize"])
    before = load_results(tmp_path)
    StudyOnDisk(tmp_path / "empty", n_trials=0, directions=["maximize", "minimize"])
    assert objectives_of(load_results(tmp_path / "empty")) == ["objective_0", "objective_1"]
    assert objectives_of(before) == ["objective_0", "objective_1"]
    assert before["objective_1"].isna().all()
    for ticket, pair in enumerate([(0.5, 3.0), (0.9, 5.0), (0.8, 6.0)]):
        made.add(ticket, {}, values=pair)
    table = load_results(tmp_path)
    assert table["objective_0"].tolist()[:3] == [0.9, 0.5, 0.8]
    assert table["objective_1"].tolist()[:3] == [5.0, 3.0, 6.0]
    assert "objective" not in table
    assert set(table["direction"]) == {"maximize,minimize"}


def test_values_keep_their_types_and_parts_of_the_space(tmp_path):
    planned = [
        {"a": 1, "b": None, "c": True, "d": "1", "e": None, "f": [1, 2]},
        {"a": 2, "b": 2, "c": False, "d": 1, "e": "x", "f": [3, 4]},
        {"a": 3, "b": 0.5, "c": True, "d": "x"},
    ]
    StudyOnDisk(tmp_path, planned)
    table = load_results(tmp_path)
    assert parameters_of(table) == list("abcdef")
    assert [str(table[name].dtype) for name in "abcdef"] == [
        *("Int64", "object", "boolean", "object", "object", "object")
    ]
    assert table["b"].tolist() == [None, 2, 0.5]
    assert table["d"].tolist() == ["1", 1, "x"]
    assert table["e"].tolist()[:2] == [None, "x"]
    assert math.isnan(table["e"].tolist()[2])
    assert table["f"].tolist()[:2] == [[1, 2], [3, 4]]


def test_measurements_come_from_the_files_and_from_the_trial(tmp_path):
    made = StudyOnDisk(tmp_path, [{}] * 4)
    for ticket in range(4):
        made.add(ticket, {}, values=1.0 - ticket / 10, memory_mib=100, classes=["a", "b"])
    last = {"epoch": 4, "val_accuracy": 0.25, "train_loss": math.nan}
    more = {"num_val_images": 600, "chance_accuracy": 0.5, "metric": "best_val_accuracy"}
    more |= {"microbatch": 16, "compiled": False, "prepare_s": 0.5, "num_skipped_images": 2}
    write_result(tmp_path / "trials" / "0", last=last, seed=7, seconds=99.0, best="odd", **more)
    write_result(tmp_path / "trials" / "2", microbatch=None, num_skipped_images=0)
    (tmp_path / "trials" / "1").mkdir()
    (tmp_path / "trials" / "1" / "metrics.csv").write_text(
        "epoch,val_loss,lr\n1,0.5,1\n2,0.25,1\n3,0."
    )
    table = load_results(tmp_path)
    first = table.iloc[0]
    assert (first["epochs"], first["last_val_accuracy"], first["seed"]) == (4, 0.25, 7)
    low, high = wilson(0.25 * 600, 600)
    assert (first["last_val_accuracy_low"], first["last_val_accuracy_high"]) == (low, high)
    assert first["learned"] is False or not first["learned"]
    assert table["learned"].isna().tolist() == [False, True, True, True]
    # It was killed while it wrote its third line.
    assert (table["epochs"].tolist()[1], table["last_val_loss"].tolist()[1]) == (2, 0.25)
    assert str(table["microbatch"].dtype) == "Int64"
    assert table["microbatch"].tolist() == [16, pd.NA, pd.NA, pd.NA]
    assert table["num_skipped_images"].tolist() == [2, pd.NA, pd.NA, pd.NA]
    # The worker's clock saw all of the trial.
    assert set(table["seconds"]) == {10.0}
    assert told_of(table) == ["memory_mib", "classes"]
    assert table["memory_mib"].tolist() == [100] * 4
    assert table["classes"].tolist() == [["a", "b"]] * 4


def repeats(path: Path) -> StudyOnDisk:
    """Two tickets of three runs: one taken up again and complete, one pruned in its second run."""
    made = StudyOnDisk(path, [{"lr": 0.1}, {"lr": 0.2}], attrs={"identity": {"repeats": 3}})
    lost = made.add(0, {"lr": 0.1}, "FAIL", failure="lost", repeat_values=[0.25])
    values = [0.25, 0.75, 0.5]
    again = made.add(0, {"lr": 0.1}, values=0.5, attempt=1, repeat_values=values, best_epoch=9)
    pruned = made.add(1, {"lr": 0.2}, "PRUNED", 0.1, repeat_values=[0.125])
    places = (f"{lost}/0", f"{again}/1", f"{again}/2", f"{pruned}/0", f"{pruned}/1")
    for seed, place in enumerate(places):
        write_result(path / "trials" / place, seed=seed, seconds=seed + 0.5)
    return made


def test_repeats_are_rows_wherever_they_ran(tmp_path):
    repeats(tmp_path)
    table = load_results(tmp_path)
    assert table["repeat"].tolist() == [0, 1, 2, 0, 1]
    assert table["objective"].tolist()[:4] == [0.25, 0.75, 0.5, 0.125]
    assert table["state"].tolist() == ["COMPLETE"] * 4 + ["PRUNED"]
    assert table["number"].tolist() == [1, 1, 1, 2, 2]
    assert table["seed"].tolist() == [0, 1, 2, 3, 4]
    assert table["seconds"].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    ran_in = [str(Path(folder).relative_to(tmp_path)) for folder in table["folder"]]
    assert ran_in == [f"trials/{run}" for run in ("0/0", "1/1", "1/2", "2/0", "2/1")]
    # The trial tells it of its last run only.
    assert "best_epoch" not in table
    everything = load_results(tmp_path, attempts="all")
    assert everything["state"].tolist() == ["COMPLETE"] * 3 + ["FAIL", "COMPLETE", "PRUNED"]
    assert everything["repeat"].tolist() == [0, 1, 2, 1, 0, 1]


def test_a_trial_that_failed_behind_its_runs_is_no_run_of_its_own_number(tmp_path):
    made = StudyOnDisk(tmp_path, [{}], attrs={"identity": {"repeats": 2}, "retry": {}})
    made.add(0, {}, "FAIL", failure="lost", repeat_values=[0.5, 0.75])
    table = load_results(tmp_path)
    assert table["state"].tolist() == ["COMPLETE", "COMPLETE", "FAIL"]
    assert table["repeat"].isna().tolist() == [False, False, True]


def test_published_values_stand_beside_what_was_measured(tmp_path):
    planned = [{"lr": 0.1, "model": "a"}, {"lr": 0.1, "model": "b"}, {"lr": 0.2, "model": "a"}]
    StudyOnDisk(tmp_path, planned)
    config = OmegaConf.load(tmp_path / "multirun.yaml")
    config.hydra.sweeper.published = [
        {"when": {"lr": 0.1, "model": "a"}, "objective": 0.73, "learned": True},
        {"when": {"lr": 0.2}, "learned": False},
    ]
    OmegaConf.save(config, tmp_path / "multirun.yaml")
    table = load_results(tmp_path)
    assert table["published"].tolist()[0] == 0.73
    assert table["published"].isna().tolist() == [False, True, True]
    assert table["published_learned"].tolist() == [True, pd.NA, False]


def test_names_that_are_taken_get_a_prefix(tmp_path):
    planned = [{"number": 0.5, "seconds": 0.25, "error": "x", "objective": 2, "memory": 1.0}]
    made = StudyOnDisk(tmp_path, planned)
    told = {"memory": 7, "repeat": "odd", "objective_1": [1], "best_epoch": "late", "epochs": 3}
    made.add(0, planned[0], values=0.5, **told)
    table = load_results(tmp_path)
    assert parameters_of(table) == [
        *("params_number", "params_seconds", "params_error", "params_objective", "memory")
    ]
    assert told_of(table) == [
        *("attrs_memory", "attrs_repeat", "attrs_objective_1", "attrs_best_epoch", "attrs_epochs")
    ]
    row = table.iloc[0]
    assert (row["number"], row["params_number"], row["seconds"]) == (0, 0.5, 10.0)
    assert (row["attrs_best_epoch"], row["attrs_objective_1"]) == ("late", [1])


def test_attributes_of_a_study_that_is_not_ours_may_be_anything(tmp_path):
    url = f"sqlite:///{tmp_path}/any.db"
    study = optuna.create_study(storage=url, study_name="foreign", direction="minimize")
    odd = {"worker": 5, "slot": ["a"], "attempt": "x", "duplicate_of": 2**70, "seconds": "fast"}
    odd |= {"folder": 3, "error": {"a": None}, "images_per_s": True, "peak_memory_mib": 2}
    odd |= {"ticket": "x"}
    for key, value in {"folder": 5, "identity": "x", "program": 7, "plan": 1}.items():
        study.set_user_attr(key, value)

    def objective(trial: optuna.Trial) -> float:
        for key, value in odd.items() if trial.number == 0 else ():
            trial.set_user_attr(key, value)
        return trial.suggest_float("x", 0, 1) if trial.number else 5.0

    study.optimize(objective, n_trials=2)
    table = load_results(url).sort_values("number")
    assert set(told_of(table)) == {f"attrs_{key}" for key in odd} - {"attrs_peak_memory_mib"}
    first = table.iloc[0]
    assert (first["peak_memory_mib"], first["attrs_duplicate_of"]) == (2.0, 2**70)
    assert (first["attrs_images_per_s"], first["attrs_error"]) == (True, {"a": None})
    assert pd.isna(first["ticket"])
    assert table["attempt"].tolist() == [0, 0]
    assert table["x"].isna().tolist() == [True, False]


def test_no_trial_yet_and_none_that_did_not_fail(tmp_path):
    StudyOnDisk(tmp_path / "new", n_trials=0)
    table = load_results(tmp_path / "new")
    assert table.empty
    assert objectives_of(table) == ["objective"]
    assert str(table["number"].dtype) == "Int64"
    made = StudyOnDisk(tmp_path / "failed", [{"lr": 0.1}, {"lr": 0.2}])
    for ticket in range(2):
        made.add(ticket, {"lr": (ticket + 1) / 10}, "FAIL", failure="exception", error="E: bad")
    table = load_results(tmp_path / "failed")
    assert table["state"].tolist() == ["FAIL", "FAIL"]
    assert table["objective"].isna().all()
    assert table["error"].tolist() == ["E: bad"] * 2


def test_times_are_those_of_the_trial(tmp_path):
    made = StudyOnDisk(tmp_path, [{}])
    made.add(0, {}, values=0.5, started_s=5.0)
    row = load_results(tmp_path).iloc[0]
    assert row["started"] == datetime(2026, 11, 24, 7, 0, 5)
    assert pd.notna(row["ended"])


CONFIG = {
    "model": {"depth": 50, "name": None},
    "same": "${model.depth}",
    "odd": "${resolver_of_the_application:1}",
    "list": [1, "${model.depth}"],
}


def with_configs(path: Path) -> StudyOnDisk:
    made = StudyOnDisk(path, [{"x": 1}, {"x": 2}, {"x": 3}])
    for ticket in range(2):
        number = made.add(ticket, {"x": ticket + 1}, values=1.0 - ticket)
        hydra = path / "trials" / str(number) / ".hydra"
        hydra.mkdir(parents=True)
        OmegaConf.save(OmegaConf.create({**CONFIG, "x": ticket + 1}), hydra / "config.yaml")
    return made


def test_the_configuration_on_request(tmp_path):
    with_configs(tmp_path)
    keys = ["model.depth", "x", "same", "model", "model.name"]
    table = load_results(tmp_path, config=keys)
    # What is a parameter has its column already.
    assert table.columns.tolist()[-5:] == ["folder", "model.depth", "same", "model", "model.name"]
    assert str(table["model.depth"].dtype) == "Int64"
    assert table["model.depth"].tolist() == [50, 50, pd.NA]
    assert table["same"].tolist()[:2] == [50, 50]
    assert table["model"].tolist()[0] == {"depth": 50, "name": None}
    everything = load_results(tmp_path, config="all")
    names = everything.columns.tolist()
    assert names[names.index("folder") + 1 :] == [
        *("model.depth", "model.name", "same", "odd", "list")
    ]
    assert everything["odd"].tolist()[0] == "${resolver_of_the_application:1}"
    assert everything["list"].tolist()[0] == [1, 50]


def test_a_key_that_no_run_has_is_refused(tmp_path):
    with_configs(tmp_path)
    with pytest.raises(ResultsError, match=r"config=model\.dept: .* no run(.|\n)*config=z: "):
        load_results(tmp_path, config=["model.dept", "x", "z"])


def test_a_study_without_folders_has_no_configuration_to_ask(tmp_path):
    made = StudyOnDisk(tmp_path, [{}])
    made.add(0, {}, values=0.5)
    assert len(load_results(tmp_path, config=["x"])) == 1


def test_it_is_part_of_the_public_api(every_kind):
    pd.testing.assert_frame_equal(
        resnet_sweep.load_results(every_kind.path), load_results(every_kind.path)
    )
