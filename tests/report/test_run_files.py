"""What a run has left in its folder, whole or not."""

import json
import logging
import math
from pathlib import Path

import pytest

from resnet_sweep.report.runs import (
    facts_of,
    of_kind,
    read_config,
    read_metrics,
    read_result,
    read_settings,
)


def test_a_folder_that_is_gone_tells_nothing(tmp_path: Path):
    gone = tmp_path / "gone"
    assert read_result(gone) == {}
    assert read_metrics(gone) == []
    assert read_config(gone) is None
    assert read_settings(gone, None) == {}
    assert facts_of(read_result(gone), gone) == {}


@pytest.mark.parametrize(
    "content", [b'{"torn', b"", b"[1]", b"\xff", b"[" * 100_000, b'{"last": 1, "error": [1]}']
)
def test_a_result_that_is_torn_or_not_ours_tells_nothing(tmp_path: Path, content):
    (tmp_path / "result.json").write_bytes(content)
    assert facts_of(read_result(tmp_path), tmp_path) == {}


def test_what_cannot_be_read_is_told(tmp_path: Path, caplog):
    names = ("result.json", "metrics.csv", ".hydra/config.yaml")
    for name in names:
        (tmp_path / name).mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert read_result(tmp_path) == {}
        assert read_metrics(tmp_path) == []
        assert read_config(tmp_path) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / name} cannot be read: Is a directory" for name in names
    ]


@pytest.mark.parametrize("content", ["a: [1", "\x00", "- 1", ""])
def test_a_configuration_that_is_torn_is_none(tmp_path: Path, content):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(content)
    assert read_settings(tmp_path, None) == {}
    assert read_config(tmp_path) is None


def test_what_cannot_be_resolved_stays_as_it_was_written(tmp_path: Path):
    (tmp_path / ".hydra").mkdir()
    text = "a: 1e-3\nb: ${a}\nc: [1, '${a}']\nd: ${nothing:}\ne: {}\nf: ${oc.env:NOT_SET_X}\n"
    (tmp_path / ".hydra" / "config.yaml").write_text(text)
    assert read_settings(tmp_path, None) == {
        **{"a": 1e-3, "b": 1e-3, "c": [1, 1e-3], "d": "${nothing:}", "e": {}},
        "f": "${oc.env:NOT_SET_X}",
    }
    assert read_settings(tmp_path, ["c", "x"]) == {"c": [1, 1e-3]}
    (tmp_path / ".hydra" / "config.yaml").write_text("a: ${\nb: 1")
    assert read_settings(tmp_path, None) == {"a": "${", "b": 1}


@pytest.mark.parametrize(
    ("content", "epochs"),
    [
        ("epoch,val_loss,lr\n1,0.5,\n2,inf,1\n", [1, 2]),
        ("epoch,val_loss\n1,0.5\n2\n", [1]),
        ("epoch,val_loss\n1,0.5\n\n2,0.4\n", [1, 2]),
        ("epoch,val_loss\n,0.5\ninf,0.5\n3,0.5\n", [3]),
        ("epoch,val_loss\n1,much\n", []),
        ("step,val_loss\n1,0.5\n", []),
        ("epoch,val_loss\n", []),
        ("", []),
    ],
)
def test_whole_lines_of_metrics_count(tmp_path: Path, content, epochs):
    (tmp_path / "metrics.csv").write_text(content)
    assert [int(row["epoch"]) for row in read_metrics(tmp_path)] == epochs


def test_numbers_of_a_run_that_goes_on_are_those_of_its_last_epoch(tmp_path: Path):
    (tmp_path / "metrics.csv").write_text("epoch,val_loss,val_accuracy\n1,0.5,0.25\n2,nan,0.75\n")
    facts = facts_of(read_result(tmp_path), tmp_path)
    assert (facts["epochs"], facts["last_val_accuracy"]) == (2, 0.75)
    assert math.isnan(facts["last_val_loss"])
    assert "last_train_loss" not in facts


@pytest.mark.parametrize(("num", "facts"), [(0, {}), (2, {"num_skipped_images": 2}), (True, {})])
def test_images_that_were_left_out_are_a_fact_where_there_are_any(tmp_path: Path, num, facts):
    assert facts_of({"num_skipped_images": num}, tmp_path) == facts


def test_facts_of_wrong_types_are_left_out(tmp_path: Path):
    result = {
        **{"seed": True, "num_val_images": 2**70, "device": 5, "metric": None},
        **{"seconds": 10**400, "images_per_s": "fast", "chance_accuracy": 1},
        "best": {"epoch": math.nan, "val_loss": math.inf},
        "last": {"epoch": 3.0, "val_loss": False},
        "error": {"message": "a\nb", "type": "E"},
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert facts_of(read_result(tmp_path), tmp_path) == {
        **{"chance_accuracy": 1.0, "best_val_loss": math.inf, "epochs": 3},
        **{"error_kind": "", "error": "E: a b"},
    }


def test_kinds():
    assert of_kind(int, 3.0) == 3
    assert of_kind(int, 3.5) is None
    assert of_kind(float, 3) == 3.0
    assert of_kind(str, "x") == "x"
    assert of_kind(str, 3) is None
