import json
import math

import numpy as np
import pandas as pd

from resnet_sweep.training.folder import RunFolder


def test_metrics_are_written_anew_and_read_back_equal(tmp_path):
    folder = RunFolder(tmp_path / "run")
    rows = [{"epoch": 1, "val_loss": 0.1 + 0.2}, {"epoch": 2, "val_loss": 1e-17}]
    folder.write_metrics([*rows, {"epoch": 3, "val_loss": 0.0}])
    folder.write_metrics(rows)
    table = pd.read_csv(folder.metrics_csv)
    assert table.to_dict("records") == rows


def test_result_is_strict_json_whatever_the_numbers_are(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_result({"a": math.nan, "b": [math.inf, 1.5], "c": {"d": (1, 2)}})
    text = folder.result_json.read_text()
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": [1, 2]}}


def test_predictions_need_no_pickle(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_predictions(
        ["cat.1", "dog.2"], np.array([0, 1]), np.array([0, 0]), np.ones(2, int)
    )
    with np.load(folder.predictions_npz, allow_pickle=False) as stored:
        assert stored["name"].tolist() == ["cat.1", "dog.2"]
        assert stored["label"].tolist() == [0, 1]
        assert stored["best"].tolist() == [0, 0]
        assert stored["last"].tolist() == [1, 1]
