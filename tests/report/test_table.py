import json
from pathlib import Path

import pandas as pd
import pytest

from resnet_sweep.report.table import load_sweep, render


def trial(
    sweep: Path,
    number: int,
    overrides: list[str],
    *,
    lr: float,
    result: dict | None,
    metric: str = "val_accuracy",
) -> None:
    folder = sweep / "trials" / str(number)
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
    (folder / ".hydra" / "hydra.yaml").write_text(json.dumps({"hydra": {"job": {"num": number}}}))
    config = {
        "optimizer": {"lr": lr, "betas": [0.9, 0.99]},
        "model": {"depth": 50},
        "trainer": {"seed": 7},
        "objective": {"metric": metric},
    }
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))


def complete(objective: float) -> dict:
    return {
        "state": "COMPLETE",
        "objective": objective,
        "best": {"epoch": 3, "val_accuracy": objective, "train_loss": 0.3},
        "last": {"epoch": 4, "val_accuracy": objective - 0.01, "train_loss": 0.2},
        "seconds": 12.5,
        "images_per_s": 100.0,
    }


FAILED = {
    "state": "FAIL",
    "objective": None,
    "seconds": 1.0,
    "error": {"kind": "non_finite", "message": "the loss\nis bad", "type": "E", "traceback": ""},
}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    fixed = "data=digits"
    trial(tmp_path, 0, ["optimizer.lr=0.1", "model=resnet50", fixed], lr=0.1, result=FAILED)
    trial(
        tmp_path, 1, ["optimizer.lr=1e-2", "model=resnet50", fixed], lr=0.01, result=complete(0.6)
    )
    trial(tmp_path, 2, ["optimizer.lr=0.1", "model=plain50", fixed], lr=0.1, result=None)
    trial(
        tmp_path, 10, ["optimizer.lr=1e-2", "model=plain50", fixed], lr=0.01, result=complete(0.8)
    )
    return tmp_path


def test_best_first_then_those_without_an_objective(sweep):
    table = load_sweep(sweep)
    assert table["number"].tolist() == [10, 1, 0, 2]
    assert table["state"].tolist() == ["COMPLETE", "COMPLETE", "FAIL", "RUNNING"]
    assert table["objective"].dropna().tolist() == [0.8, 0.6]


def test_only_what_was_swept_has_columns_typed_as_configured(sweep):
    table = load_sweep(sweep)
    assert table.columns.tolist()[:5] == ["number", "state", "objective", "optimizer.lr", "model"]
    assert "data" not in table
    assert table["optimizer.lr"].dtype == "float64"
    assert table["model"].tolist() == ["plain50", "resnet50", "resnet50", "plain50"]


def test_metrics_errors_and_folders_are_those_of_the_trials(sweep):
    table = load_sweep(sweep).set_index("number")
    assert table.loc[10, ["best_epoch", "last_val_accuracy", "last_train_loss"]].tolist() == [
        3,
        0.79,
        0.2,
    ]
    assert table.loc[0, "error"] == "non_finite: the loss is bad"
    assert table.loc[10, "folder"] == "trials/10"
    assert table.loc[1, "seed"] == 7


def test_what_has_no_result_at_the_end_is_lost(sweep):
    table = load_sweep(sweep, is_over=True).set_index("number")
    assert table.loc[2, "state"] == "FAIL"
    assert table.loc[2, "error"].startswith("lost: ")


def test_single_runs_below_the_folder_are_no_trials(sweep):
    run = sweep / "runs" / "one" / ".hydra"
    run.mkdir(parents=True)
    (run / "overrides.yaml").write_text("[]")
    (run / "config.yaml").write_text("{}")
    (run / "hydra.yaml").write_text(json.dumps({"hydra": {"mode": "RUN", "job": {"num": "???"}}}))
    assert len(load_sweep(sweep)) == 4


def test_a_loss_is_best_when_it_is_smallest(tmp_path):
    for number, loss in enumerate([0.5, 0.2, 0.9]):
        overrides = [f"optimizer.lr={number + 1}"]
        result = complete(loss)
        trial(tmp_path, number, overrides, lr=number + 1.0, result=result, metric="val_loss")
    assert load_sweep(tmp_path)["objective"].tolist() == [0.2, 0.5, 0.9]


def test_lists_are_shown_as_they_were_typed(tmp_path):
    for number, betas in enumerate(["[0.9,0.99]", "[0.8,0.9]"]):
        trial(tmp_path, number, [f"optimizer.betas={betas}"], lr=1.0, result=complete(0.5))
    assert load_sweep(tmp_path)["optimizer.betas"].tolist() == ["[0.9,0.99]", "[0.8,0.9]"]


def test_a_sweep_of_one_shows_what_was_typed(tmp_path):
    trial(tmp_path, 0, ["optimizer.lr=0.5"], lr=0.5, result=complete(0.5))
    assert load_sweep(tmp_path)["optimizer.lr"].tolist() == [0.5]


def test_an_empty_sweep_is_an_empty_table_and_says_so(tmp_path):
    table = load_sweep(tmp_path)
    assert table.empty
    assert "objective" in table
    assert render(table) == "no trial has started"


def test_text_shows_what_a_person_needs_and_no_nan(sweep):
    text = render(load_sweep(sweep))
    assert "0.8000" in text
    assert "non_finite: the loss" in text
    assert "nan" not in text.lower()
    assert "folder" not in text
    assert "error" not in render(load_sweep(sweep).head(2))


def test_csv_reads_back_equal(sweep, tmp_path):
    table = load_sweep(sweep)
    table.to_csv(tmp_path / "results.csv", index=False)
    again = pd.read_csv(tmp_path / "results.csv", keep_default_na=True).fillna({"error": ""})
    pd.testing.assert_frame_equal(again, table, check_dtype=False)
