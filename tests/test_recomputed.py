"""The tables of a real sweep, recomputed from what it has left by plain pandas and Optuna."""

import json
import math
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from commands import SMALL, Command
from omegaconf import OmegaConf
from optuna.storages.journal import JournalFileBackend
from scipy.stats import norm

from resnet_sweep import load_history, load_results

SWEEP = (
    *("-m", *SMALL, "data.num_test=30", "hydra.sweep.dir=swept", "hydra.sweeper.repeats=2"),
    *("optimizer.lr=1e-2,1e-3,1e38", "hydra/launcher=basic"),
)
CURVE = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def wilson(num_right: float, num: int) -> tuple[float, float]:
    z = norm.ppf(0.975)
    centre = (num_right + z**2 / 2) / (num + z**2)
    half = z / (num + z**2) * math.sqrt(num_right * (num - num_right) / num + z**2 / 4)
    return centre - half, centre + half


@pytest.mark.slow
def test_numbers_are_those_of_the_files_and_of_the_study(command: Command, tmp_path):
    done = command(*SWEEP)
    assert done.returncode == 3, done.stderr
    folder = tmp_path / "swept"
    table, history = load_results(folder), load_history(folder)
    _check_study(folder, table, history)
    complete = table[table["state"] == "COMPLETE"]
    assert len(complete) == 4
    for _, row in complete.iterrows():
        _check_run(row, history)
    (failed,) = table[table["state"] == "FAIL"].to_dict("records")
    assert (failed["error_kind"], failed["optimizer.lr"]) == ("non_finite", 1e38)
    # What the sweep itself has written is the same.
    pd.testing.assert_frame_equal(load_results(folder / "results.csv"), table)
    pd.testing.assert_frame_equal(load_history(folder / "results.csv"), history)
    # And it says so far from here.
    (folder / "results.csv").rename(tmp_path / "alone.csv")
    alone = load_results(tmp_path / "alone.csv").drop(columns="folder")
    pd.testing.assert_frame_equal(alone, table.drop(columns="folder"))


def _check_study(folder: Path, table: pd.DataFrame, history: pd.DataFrame) -> None:
    name = OmegaConf.load(folder / "multirun.yaml").hydra.sweeper.study_name
    backend = JournalFileBackend(str(folder / "study.journal"))
    study = optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend))
    assert set(table["study"]) == {study.study_name}
    assert set(table["direction"]) == {study.direction.name.lower()}
    means = table[table["state"] == "COMPLETE"].groupby("number")["objective"].mean()
    for trial in study.trials:
        rows = table[table["number"] == trial.number]
        assert set(rows["optimizer.lr"]) == {trial.params["optimizer.lr"]}
        assert set(rows["started"]) == {trial.datetime_start}
        if trial.value is not None:
            assert means[trial.number] == trial.value
        told = history[(history["number"] == trial.number) & (history["repeat"] == 0)]
        reported = told.set_index("epoch")["reported"].dropna().to_dict()
        assert reported == trial.intermediate_values
    assert table["number"].iloc[0] == study.best_trial.number


def _check_run(row: pd.Series, history: pd.DataFrame) -> None:
    folder = Path(row["folder"])
    metrics = pd.read_csv(folder / "metrics.csv")
    best, last = metrics.loc[metrics["val_accuracy"].idxmax()], metrics.iloc[-1]
    for key in CURVE:
        assert row[f"best_{key}"] == best[key]
        assert row[f"last_{key}"] == last[key]
    assert (row["best_epoch"], row["epochs"]) == (best["epoch"], last["epoch"])
    assert row["objective"] == row[row["metric"]] == metrics["val_accuracy"].max()
    own = history[history["folder"] == row["folder"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(own[list(metrics)].astype("float64"), metrics.astype("float64"))
    with np.load(folder / "predictions.npz") as stored:
        right, label = stored["last"] == stored["label"], stored["label"]
        test_right = stored["test"] == stored["test_label"]
    assert (row["num_val_images"], row["num_test_images"]) == (len(right), len(test_right))
    assert row["last_val_accuracy"] == pytest.approx(right.mean(), abs=1e-12)
    ends = row["last_val_accuracy_low"], row["last_val_accuracy_high"]
    assert ends == pytest.approx(wilson(right.sum(), len(right)))
    assert row["test_accuracy"] == pytest.approx(test_right.mean(), abs=1e-12)
    ends = row["test_accuracy_low"], row["test_accuracy_high"]
    assert ends == pytest.approx(wilson(test_right.sum(), len(test_right)))
    chance = max(np.bincount(label).max() / len(label), 1 / 10)
    assert row["chance_accuracy"] == pytest.approx(chance)
    assert row["learned"] == (row["last_val_accuracy_low"] > row["chance_accuracy"])
    result = json.loads((folder / "result.json").read_text())
    for key in ("seed", "seconds", "images_per_s", "device", "precision"):
        assert row[key] == result[key]
