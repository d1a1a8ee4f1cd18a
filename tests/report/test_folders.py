"""Runs that no study knows: single ones, and those of a stock sweeper."""

import fcntl
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from resnet_sweep.report.columns import parameters_of
from resnet_sweep.report.folders import is_run, multirun_source, single_runs_source
from resnet_sweep.report.results import load_results, table_of

CONFIG = {
    "optimizer": {"lr": 0.1, "betas": [0.9, 0.99]},
    "model": {"depth": 50},
    "trainer": {"seed": 7},
    "objective": {"metric": "val_accuracy"},
}


def write_run(folder: Path, overrides=(), *, lr=0.1, result=None, config=CONFIG, **hydra) -> Path:
    files = folder / ".hydra"
    files.mkdir(parents=True)
    (files / "overrides.yaml").write_text(json.dumps(list(overrides)))
    (files / "hydra.yaml").write_text(json.dumps({"hydra": {"mode": "RUN", **hydra}}))
    content = OmegaConf.create(config)
    if OmegaConf.select(content, "optimizer.lr", default=None) is not None:
        content.optimizer.lr = lr
    OmegaConf.save(content, files / "config.yaml")
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def trial(sweep: Path, number: int, overrides=(), **more) -> Path:
    choices = {
        key: value for key, _, value in (o.partition("=") for o in overrides) if key == "model"
    }
    hydra = {"mode": "MULTIRUN", "job": {"num": number}, "runtime": {"choices": choices}}
    return write_run(sweep / "trials" / str(number), overrides, **hydra, **more)


def complete(objective: float, **more) -> dict:
    return {
        "state": "COMPLETE",
        "objective": objective,
        "best": {"epoch": 3, "val_accuracy": objective, "train_loss": 0.3},
        "last": {"epoch": 4, "val_accuracy": objective - 0.01, "train_loss": 0.2},
        "seconds": 12.5,
        "images_per_s": 100.0,
        **more,
    }


FAILED = {
    "state": "FAIL",
    "objective": None,
    "seconds": 1.0,
    "error": {"kind": "non_finite", "message": "the loss\nis bad", "type": "E", "traceback": "T"},
}


def multirun(folder: Path, *, is_over: bool = False):
    return table_of([multirun_source(folder, is_over=is_over)])


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "multirun.yaml").write_text("{hydra: {sweeper: {_target_: hydra.Basic}}}")
    fixed = "data=digits"
    trial(tmp_path, 0, ["optimizer.lr=0.1", "model=resnet50", fixed], lr=0.1, result=FAILED)
    trial(
        tmp_path, 1, ["optimizer.lr=1e-2", "model=resnet50", fixed], lr=0.01, result=complete(0.6)
    )
    trial(tmp_path, 2, ["optimizer.lr=0.1", "model=plain50", fixed], lr=0.1)
    trial(
        tmp_path, 10, ["optimizer.lr=1e-2", "model=plain50", fixed], lr=0.01, result=complete(0.8)
    )
    return tmp_path


def test_best_first_then_those_without_an_objective(sweep):
    # One runs: it holds its folder.
    held = os.open(sweep / "trials" / "2", os.O_RDONLY)
    reading = "import sys, resnet_sweep as r; print(*r.load_results(sys.argv[1])['state'])"
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, "-c", reading, sweep], capture_output=True, text=True, check=True
        )
    finally:
        os.close(held)
    assert done.stdout.split() == ["COMPLETE", "COMPLETE", "FAIL", "RUNNING"]
    table = load_results(sweep)
    assert table["number"].tolist() == [10, 1, 0, 2]
    assert table["error_kind"].tolist()[2:] == ["non_finite", "lost"]
    assert table["objective"].dropna().tolist() == [0.8, 0.6]
    assert set(table["study"]) == {sweep.name}
    assert table["ticket"].isna().all()
    assert set(table["attempt"]) == {0}


def test_only_what_was_swept_has_columns_typed_as_configured(sweep):
    table = load_results(sweep)
    assert parameters_of(table) == ["optimizer.lr", "model"]
    assert str(table["optimizer.lr"].dtype) == "float64"
    assert sorted(table["model"]) == ["plain50", "plain50", "resnet50", "resnet50"]


def test_metrics_errors_and_folders_are_those_of_the_trials(sweep):
    table = load_results(sweep).set_index("number")
    assert table.loc[10, ["best_epoch", "last_val_accuracy", "last_train_loss"]].tolist() == [
        *(3, 0.79, 0.2)
    ]
    assert table.loc[0, ["error_kind", "error"]].tolist() == ["non_finite", "E: the loss is bad"]
    assert table.loc[10, "folder"] == str(sweep / "trials" / "10")
    assert table.loc[1, "seed"] == 7


def test_what_has_no_result_at_the_end_is_lost(sweep):
    row = multirun(sweep, is_over=True).set_index("number").loc[2]
    assert (row["state"], row["error_kind"]) == ("FAIL", "lost")


def test_of_another_application_it_is_not_known_that_it_is_over(tmp_path):
    trial(tmp_path, 0, ["a=1"], config={"a": 1})
    assert multirun(tmp_path)["state"].tolist() == ["RUNNING"]


def test_a_sweeper_may_leave_no_file_of_its_own(sweep):
    before = load_results(sweep)
    (sweep / "multirun.yaml").unlink()
    pd.testing.assert_frame_equal(load_results(sweep), before)


def test_single_runs_below_the_folder_are_no_trials(sweep):
    write_run(sweep / "runs" / "one")
    assert len(load_results(sweep)) == 4


def test_a_loss_is_best_when_it_is_smallest_and_nan_is_last(tmp_path):
    for number, loss in enumerate([0.5, math.nan, 0.2, math.inf, 0.9, -math.inf]):
        result = complete(loss, direction="minimize", metric="best_val_loss")
        trial(tmp_path, number, [f"optimizer.lr={number + 1}"], lr=number + 1.0, result=result)
    assert multirun(tmp_path)["number"].tolist() == [5, 2, 0, 4, 3, 1]


def test_lists_stay_lists_and_groups_are_their_choices(tmp_path):
    for number, betas in enumerate([[0.9, 0.99], [0.8, 0.9]]):
        config = {"optimizer": {"betas": betas, "lr": 1.0}, "model": {"depth": 50}}
        overrides = [f"optimizer.betas={betas}", f"model=m{number}"]
        trial(tmp_path, number, overrides, result=complete(0.5), config=config)
    table = multirun(tmp_path)
    assert table["optimizer.betas"].tolist() == [[0.9, 0.99], [0.8, 0.9]]
    assert table["model"].tolist() == ["m0", "m1"]


def test_what_the_configuration_lacks_is_told_as_it_was_typed(tmp_path):
    for number, value in enumerate(["null", "x", "${nothing:1}"]):
        trial(tmp_path, number, [f"+a={value}"], result=complete(0.5), config={"b": 1})
    assert multirun(tmp_path)["a"].tolist() == [None, "x", "${nothing:1}"]


def test_a_sweep_of_one_shows_what_was_typed(tmp_path):
    trial(tmp_path, 0, ["optimizer.lr=0.5"], lr=0.5, result=complete(0.5))
    assert multirun(tmp_path)["optimizer.lr"].tolist() == [0.5]


def test_an_empty_sweep_is_an_empty_table(tmp_path):
    (tmp_path / "multirun.yaml").write_text("{hydra: {sweeper: {_target_: hydra.Basic}}}")
    table = load_results(tmp_path)
    assert table.empty
    assert "objective" in table


def test_a_trial_killed_while_hydra_wrote_its_files_is_a_row(tmp_path):
    folder = trial(tmp_path, 0, ["optimizer.lr=0.5"])
    (folder / ".hydra" / "overrides.yaml").unlink()
    (folder / ".hydra" / "hydra.yaml").write_text("hydra: {job: [")
    other = trial(tmp_path, 1, ["optimizer.lr=0.5"])
    (other / ".hydra" / "config.yaml").write_text("")
    table = multirun(tmp_path, is_over=True)
    assert table["state"].tolist() == ["FAIL", "FAIL"]


@pytest.mark.parametrize(
    "config",
    [
        {"trainer": "x", "optimizer": {"lr": 1}},
        {"trainer": {"seed": "odd"}},
        {"trainer": {"seed": 2**70}, "objective": 3},
        {"trainer": {"seed": "${nothing:}"}, "objective": "${oc.env:NOT_SET_ANYWHERE}"},
    ],
)
def test_configurations_of_others_may_hold_anything(tmp_path, config):
    trial(tmp_path, 0, ["optimizer.lr=0.5", "objective=1"], config=config, result={"objective": []})
    table = multirun(tmp_path)
    assert len(table) == 1
    assert table["objective"].isna().all()


def test_single_runs_lie_side_by_side(tmp_path):
    write_run(tmp_path / "b", ["optimizer.lr=0.5"], lr=0.5, result=complete(0.5))
    write_run(tmp_path / "a", [], lr=0.1, result=complete(0.75))
    write_run(tmp_path / "c", ["optimizer.lr=2"], lr=2.0, result=FAILED)
    (tmp_path / "README.md").write_text("not a run")
    (tmp_path / "empty").mkdir()
    table = load_results(tmp_path)
    assert [Path(folder).name for folder in table["folder"]] == ["a", "b", "c"]
    assert table["number"].isna().all()
    # What one of them has left as it is has a value all the same.
    assert table["optimizer.lr"].tolist() == [0.1, 0.5, 2.0]
    assert len(load_results(tmp_path / "a")) == 1
    source = single_runs_source(tmp_path, [tmp_path / "c"])
    assert source.rows[0].traceback == "T"


def test_paths_may_be_relative_and_links(tmp_path, monkeypatch):
    write_run(tmp_path / "real" / "a", result=complete(0.75))
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert load_results("link")["folder"].tolist() == [str(tmp_path / "link" / "a")]
    assert len(load_results(["link", "real", tmp_path / "real", "./real"])) == 1
    monkeypatch.chdir(tmp_path / "real")
    assert set(load_results(".")["study"]) == {"real"}
    assert is_run(Path("a"))


def test_single_runs_differ_in_what_they_are_and_not_in_how_they_were_typed(tmp_path):
    """The second was started by a file of pinned values: nothing was typed."""
    pinned = {"model": {"depth": 18}, "optimizer": {"lr": 0.5}}
    open_ = {"num_classes": None, "device": "auto", "threads": None}
    closed = {"num_classes": 10, "device": "cpu", "threads": 2}
    for name, lr, facts, typed in (
        ("a", 0.25, open_, ["optimizer.lr=0.25", "model=resnet18"]),
        ("b", 0.5, closed, []),
    ):
        config = pinned | {"optimizer": {"lr": lr}, "trainer": facts}
        choices = {"model": "resnet18"}
        runtime = {"mode": "RUN", "runtime": {"choices": choices}}
        write_run(tmp_path / name, typed, lr=lr, config=config, **runtime)
    table = load_results(tmp_path)
    assert parameters_of(table) == ["optimizer.lr", "model"]
    assert sorted(table["optimizer.lr"]) == [0.25, 0.5]
    assert table["model"].tolist() == ["resnet18"] * 2
