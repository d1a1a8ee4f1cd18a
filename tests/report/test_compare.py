import io
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from studies import study_of_every_kind

from resnet_sweep.faults import ConfigError
from resnet_sweep.report.columns import parameters_of
from resnet_sweep.report.compare import compare
from resnet_sweep.report.formats import to_text
from resnet_sweep.report.results import load_results
from resnet_sweep.report.statistics import (
    difference_of_proportions,
    mcnemar,
    t_interval,
    welch_difference,
)

N = 200


def runs(parameters, *columns, **settings):
    """A table of completed runs; ``columns`` are names and values by turns."""
    num = len(next(iter(parameters.values()))) if parameters else len(columns[1])
    table = pd.DataFrame(
        {
            "study": pd.array(["s"] * num, dtype="string"),
            "number": pd.array(range(num), dtype="Int64"),
            "state": pd.array(["COMPLETE"] * num, dtype="string"),
            **parameters,
            "objective": [0.99] * num,
            "metric": pd.array(["best_val_accuracy"] * num, dtype="string"),
            "num_val_images": pd.array([N] * num, dtype="Int64"),
            "num_test_images": pd.array([N] * num, dtype="Int64"),
            "folder": pd.array([f"gone/{i}" for i in range(num)], dtype="string"),
            **settings,
        }
    )
    for name, values in zip(columns[::2], columns[1::2], strict=True):
        if name in table:
            table[name] = values
        else:
            table.insert(table.columns.get_loc("metric"), name, values)
    return table


def test_settings_of_both_are_matched_by_the_values_of_their_parameters():
    a = runs({"model": ["r", "p"], "optimizer.lr": [0.1, 0.01]}, "last_val_accuracy", [0.5, 0.7])
    b = runs(
        {"optimizer.lr": [0.01, 0.1, 1.0], "model": ["p", "r", "r"]},
        *("last_val_accuracy", [0.8, 0.45, 0.1]),
    )
    found = compare(a, b, ("a.csv", "b.csv"))
    assert found.columns.tolist() == [
        *(
            "model",
            "optimizer.lr",
            "metric",
            "a",
            "b",
            "difference",
            "difference_low",
            "difference_high",
            "method",
            "mcnemar_p",
        ),
        *("verdict", "num_a", "num_b"),
    ]
    assert found["model"].tolist() == ["r", "p"]
    assert found["difference"].tolist() == pytest.approx([-0.05, 0.1])
    expected = difference_of_proportions(160, N, 140, N)
    assert found.loc[1, ["difference", "difference_low", "difference_high"]].tolist() == list(
        expected
    )
    assert found["method"].tolist() == ["unpaired: no predictions"] * 2
    texts = [f"{one:.2f}" for one in expected]
    assert found["verdict"].tolist() == [
        "no difference shown",
        f"b better by {texts[0]} ({texts[1]} to {texts[2]})",
    ]
    assert found["metric"].tolist() == ["last_val_accuracy"] * 2
    assert found[["num_a", "num_b"]].to_numpy().tolist() == [[1, 1], [1, 1]]
    assert (found.attrs["num_unmatched_a"], found.attrs["num_unmatched_b"]) == (0, 1)
    assert found.attrs["names"] == ("a.csv", "b.csv")
    assert found["num_a"].dtype == "Int64"


def test_two_files_without_their_folders_are_enough(tmp_path):
    made = study_of_every_kind(tmp_path / "study")
    table = load_results(tmp_path / "study")
    made.close()
    shutil.rmtree(tmp_path / "study")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(to_text(table, "csv"))
    found = compare(*(load_results(tmp_path / name) for name in ("a.csv", "b.csv")))
    assert found[["lr", "model", "metric"]].to_numpy().tolist() == [[0.1, "res", "objective"]]
    assert found["difference"].tolist() == [0.0]
    # What only looks like a table of ours, a spreadsheet's for instance, will do as well.
    cells = pd.read_csv(io.StringIO(to_text(table, "csv")), dtype=str, keep_default_na=False)
    cells["objective"] = pd.to_numeric(cells["objective"])
    assert compare(table, cells)["difference"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pd.array([1, 2], dtype="Int64"), [1.0, 2.0]),
        (["1e-3", "x"], pd.Series([0.001, "x"], dtype=object)),
        (["true", "false"], pd.array([True, False], dtype="boolean")),
        (pd.Series([[1, 2], None], dtype=object), ["[1,2]", "null"]),
        ([0.5, math.nan], pd.Series(["0.5", None], dtype=object)),
        (pd.array([True, None], dtype="boolean"), ["True", ""]),
    ],
)
def test_values_are_what_they_say_whichever_type_a_table_gives_them(left, right):
    found = compare(
        runs({"x": left}, "last_val_accuracy", [0.5, 0.7]),
        runs({"x": right}, "last_val_accuracy", [0.6, 0.8]),
    )
    assert found["difference"].tolist() == pytest.approx([0.1, 0.1])
    assert found.attrs["num_unmatched_a"] == found.attrs["num_unmatched_b"] == 0


def test_both_sides_are_means_over_seeds_and_repeats():
    values = [0.5, 0.52, 0.54, 0.7]
    a = runs({"lr": [1, 1, 1, 2], "params_seed": [0, 1, 2, 0]}, "last_val_accuracy", values)
    b = runs({"lr": [1, 1, 2, 2]}, "last_val_accuracy", [0.6, 0.64, 0.7, 0.8])
    found = compare(a, b)
    expected = welch_difference([0.6, 0.64], values[:3])
    assert found["lr"].tolist() == [1, 2]
    assert found.loc[0, ["difference", "difference_low", "difference_high"]].tolist() == list(
        expected
    )
    assert found["method"].tolist() == [*("Welch t of 3 and 2 runs", "no interval: one run of a")]
    assert found.loc[1, "difference"] == pytest.approx(0.05)
    assert math.isnan(found.loc[1, "difference_low"])
    assert found[["num_a", "num_b"]].to_numpy().tolist() == [[3, 2], [1, 2]]


A_VALUES, B_VALUES = [0.5, 0.6, 0.7, 0.8], [0.53, 0.61, 0.72, 0.83]


@pytest.mark.parametrize(
    ("seeds", "settings"),
    [
        ({"seed": [3, 1, 2, 0]}, {}),
        ({"seed": ["3", "1", "2", "0"]}, {}),
        ({"repeat": [3, 1, 2, 0]}, {}),
        ({}, {"trainer.seed": [3, 1, 2, 0]}),
    ],
)
def test_runs_of_the_same_seeds_are_paired(seeds, settings):
    numbers = {key: range(4) for key in {**seeds, **settings}}
    own = {key: numbers[key] for key in settings}
    a = runs({"lr": [1] * 4} | own, "last_val_accuracy", A_VALUES)
    b = runs({"lr": [1] * 4} | settings, "last_val_accuracy", [B_VALUES[i] for i in (3, 1, 2, 0)])
    row = compare(a.assign(**{key: numbers[key] for key in seeds}), b.assign(**seeds)).iloc[0]
    expected = t_interval([0.03, 0.01, 0.02, 0.03])
    assert row["difference":"difference_high"].tolist() == pytest.approx(list(expected))
    assert row["method"] == "paired t over 4 seeds"
    assert math.isnan(row["mcnemar_p"])
    assert row["difference_low"] > 0 > welch_difference(B_VALUES, A_VALUES).low


@pytest.mark.parametrize("seeds", [[0, 1, 2, 4], [0, 1, 2, 2], [0, 1, 2, None]])
def test_runs_of_other_seeds_are_not_paired(seeds):
    a = runs({"lr": [1] * 4}, "last_val_accuracy", A_VALUES).assign(seed=range(4))
    b = runs({"lr": [1] * 4}, "last_val_accuracy", B_VALUES)
    row = compare(a, b.assign(seed=pd.array(seeds, dtype="Int64"))).iloc[0]
    assert row["method"] == "Welch t of 4 and 4 runs"


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([0.5, 0.6], [0.55, math.inf], "a value is not finite"),
        ([0.5, 0.6], [0.6, 0.7], "nothing varies between the runs of a setting"),
        ([0.5, 0.6], [0.6, math.nan], "one run of b"),
        ([math.nan, math.nan], [0.6, 0.7], "not known of a"),
    ],
)
def test_why_there_is_no_interval_is_told(a, b, reason):
    tables = [runs({"lr": [1, 1]}, "objective", one).assign(seed=[0, 1]) for one in (a, b)]
    row = compare(*tables).iloc[0]
    assert math.isnan(row["difference_low"])
    assert row["method"] == f"no interval: {reason}"


def test_a_difference_of_accuracies_lies_between_minus_1_and_1():
    a = runs({"lr": [1, 1]}, "last_val_accuracy", [0.0, 0.3])
    b = runs({"lr": [1, 1]}, "last_val_accuracy", [1.0, 0.8])
    assert compare(a, b).loc[0, "difference_high"] == 1
    a, b = (one.assign(objective=one["last_val_accuracy"]) for one in (a, b))
    names = ["last_val_accuracy"]
    assert compare(a.drop(columns=names), b.drop(columns=names)).loc[0, "difference_high"] > 1


def test_what_only_one_side_has_stays_beside():
    a = runs({"lr": [1, 1], "batch": [32, 64]}, "last_val_accuracy", [0.5, 0.6])
    b = runs({"lr": [1, 1], "model": ["r", "p"]}, "last_val_accuracy", [0.7, 0.8])
    found = compare(a, b)
    assert found[["lr", "batch", "model"]].to_numpy().tolist() == [
        *([1, 32, "r"], [1, 32, "p"], [1, 64, "r"], [1, 64, "p"])
    ]
    assert (found.attrs["only_a"], found.attrs["only_b"]) == (["batch"], ["model"])


def test_a_setting_that_was_loaded_with_a_table_matches_the_others_parameter():
    a = runs({"lr": [1, 2], "batch": [32, 64]}, "last_val_accuracy", [0.5, 0.6])
    b = runs({"lr": [1, 2]}, "last_val_accuracy", [0.7, 0.8], batch=[32, 32])
    assert parameters_of(b) == ["lr"]
    found = compare(a, b)
    assert found[["lr", "batch"]].to_numpy().tolist() == [[1, 32]]
    assert (found.attrs["num_unmatched_a"], found.attrs["num_unmatched_b"]) == (1, 1)


def test_the_test_split_goes_before_the_last_epoch_and_that_before_the_objective():
    a = runs({"lr": [1]}, "test_accuracy", [0.5], "last_val_accuracy", [0.6])
    b = runs({"lr": [1]}, "test_accuracy", [0.7], "last_val_accuracy", [0.9])
    assert compare(a, b).loc[0, ["metric", "a", "b"]].tolist() == ["test_accuracy", 0.5, 0.7]
    b["test_accuracy"] = math.nan
    assert compare(a, b).loc[0, ["metric", "a"]].tolist() == ["last_val_accuracy", 0.6]
    found = compare(a, b.drop(columns="last_val_accuracy")).iloc[0]
    assert found[["metric", "difference"]].tolist() == ["objective", 0.0]
    assert math.isnan(found["difference_low"])
    assert found["method"] == "no interval: one run each"


def test_objectives_of_different_metrics_are_not_compared():
    a = runs({"lr": [1]})
    b = runs({"lr": [1]}, "metric", pd.array(["last_val_loss"], dtype="string"))
    with pytest.raises(ConfigError, match=r"x: best_val_accuracy; y: last_val_loss"):
        compare(a, b, ("x", "y"))


def test_runs_on_the_same_images_are_paired_where_their_predictions_are_there():
    images = {"name": np.arange(N).astype(str), "label": np.zeros(N, int)}
    last = {"gone/0": np.arange(N) >= 100, "gone/1": np.arange(N) >= 150}
    a = runs({"lr": [1]}, "last_val_accuracy", [0.5])
    b = runs({"lr": [1]}, "last_val_accuracy", [0.75])
    b["folder"] = "gone/1"
    row = compare(a, b, load_predictions=lambda folder: {**images, "last": last[folder]}).iloc[0]
    assert row[["difference", "method"]].tolist() == [0.25, "same images"]
    assert row["mcnemar_p"] == mcnemar(50, 0)
    assert 0.15 < row["difference_low"] < 0.25 < row["difference_high"] < 0.35


def test_runs_of_one_setting_without_parameters_are_compared():
    row = compare(runs({}, "last_val_accuracy", [0.5]), runs({}, "last_val_accuracy", [0.6])).iloc[
        0
    ]
    assert row["difference"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ({"lr": [1, 3]}, {"lr": [2]}, "x has lr=1,3; y has lr=2; compare sweeps that have values"),
        ({"lr": [1]}, {"momentum": [2]}, "x has lr=1; y has momentum=2; .*a parameter in common"),
        ({"lr": [1]}, {}, "y has no parameter"),
        ({"lr": range(9)}, {"b": [1]}, r"x has lr=0,1,2,3,4,\.\.\. \(9 values\)"),
    ],
)
def test_nothing_in_common_is_told_with_what_each_has(left, right, message):
    a = runs(left, "last_val_accuracy", [0.5] * len(left["lr"]))
    b = runs(right, "last_val_accuracy", [0.5])
    with pytest.raises(ConfigError, match=message):
        compare(a, b, ("x", "y"))


def test_only_completed_runs_count_and_a_table_without_any_has_no_rows():
    a = runs({"lr": [1, 2]}, "last_val_accuracy", [0.5, 0.6])
    failed = a.assign(state=pd.array(["FAIL", "COMPLETE"], dtype="string"))
    assert compare(a, failed)["lr"].tolist() == [2]
    for empty in (a.assign(state="FAIL"), a[:0], pd.DataFrame()):
        found = compare(a, empty, ("x", "y"))
        assert found.empty
        assert found.attrs["note"] == "no completed run in y"
        assert found.attrs["num_unmatched_a"] == 2
        assert found.columns.tolist()[-2:] == ["num_a", "num_b"]


def test_parameters_called_like_a_column_are_renamed_and_infinities_have_no_interval():
    table = runs({"a": [1, 1]}, "objective", [math.inf, 0.5])
    row = compare(table, table.assign(objective=[0.4, 0.5])).iloc[0]
    assert row["params_a"] == 1
    assert row["a"] == math.inf
    assert row["difference"] == -math.inf
    assert math.isnan(row["difference_low"])


def test_what_each_side_keeps_fixed_matches_nothing_and_is_told():
    score = "last_val_accuracy"
    a, b = (
        runs(
            {"lr": lrs, "trainer.epochs": [num] * 2},
            *(score, [0.5, 0.6], "epochs", [num] * 2, "seed", seeds),
        )
        for lrs, num, seeds in (([0.1, 0.2], 5, [0, 0]), ([0.2, 0.1], 3, [1, 2]))
    )
    found = compare(a, b)
    assert found.attrs["also_differ"] == {"trainer.epochs": ("5", "3"), "seed": ("0", "1 2")}
    assert found["lr"].tolist() == [0.1, 0.2]
    assert "trainer.epochs" not in found
    assert compare(a, a).attrs["also_differ"] == {}
    b["trainer.epochs"] = [5, 3]
    # What varies on one side is a setting to match.
    assert compare(a, b)[["lr", "trainer.epochs"]].to_numpy().tolist() == [[0.2, 5.0]]


def test_two_files_tell_how_long_their_runs_trained():
    a, b = (
        runs(
            {"lr": [0.1]},
            *("last_val_accuracy", [0.5], "epochs", [num], "seed", [num]),
            num_val_images=40 * num,
        )
        for num in (5, 3)
    )
    assert compare(a, b).attrs["also_differ"] == {
        "epochs": ("5", "3"),
        "num_val_images": ("200", "120"),
        "seed": ("5", "3"),
    }


def test_settings_that_were_loaded_with_both_tables_are_told():
    a, b = (
        runs(
            {"lr": [0.1]}, "last_val_accuracy", [0.5], **{"data.num_train": [num], "data.root": num}
        )
        for num in (300, 96)
    )
    assert compare(a, b).attrs["also_differ"] == {"data.num_train": ("300", "96")}


def test_of_losses_less_is_better():
    a, b = (
        runs({"lr": [0.1] * 3}, "direction", ["minimize"] * 3).assign(objective=values)
        for values in ([0.5, 0.51, 0.52], [0.31, 0.3, 0.32])
    )
    for table in (a, b):
        table["metric"] = "last_val_loss"
    row = compare(a, b).iloc[0]
    assert row["difference"] == pytest.approx(-0.2)
    assert row["verdict"].startswith("b better by 0.20 (0.1")
