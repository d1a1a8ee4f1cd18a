import math

import numpy as np
import pandas as pd
import pytest

from resnet_sweep.report.groups import compare_groups
from resnet_sweep.report.paired import read_predictions
from resnet_sweep.report.statistics import (
    difference_of_proportions,
    mcnemar,
    paired_difference,
    t_interval,
)

N = 100
FIXED = [
    *("study", "ticket", "number", "repeat", "attempt", "state"),
    *("objective", "metric", "direction", "best_val_accuracy", "last_val_accuracy"),
    *("test_accuracy", "num_val_images", "num_test_images", "seconds", "seed"),
    *("duplicate_of", "error_kind", "error", "folder"),
]


def runs(rows, parameters):
    """A table as load_results gives it."""
    rows = [
        {"study": "s", "number": i, "state": "COMPLETE", "seed": 0, "num_val_images": N} | row
        for i, row in enumerate(rows)
    ]
    names = [*FIXED[:6], *parameters, *FIXED[6:]]
    table = pd.DataFrame(rows, columns=names)
    whole = ("ticket", "number", "repeat", "seed", "duplicate_of", "num_val_images")
    table = table.astype(dict.fromkeys((*whole, "num_test_images"), "Int64"))
    numbers = ("objective", "best_val_accuracy", "last_val_accuracy", "test_accuracy")
    table = table.astype(dict.fromkeys(numbers, "float64"))
    return table.astype(dict.fromkeys(("study", "state", "folder"), "string"))


def write_predictions(folder, correct, *, test=None, name="image"):
    """A run that gets the images right for which ``correct`` is true."""
    folder.mkdir(exist_ok=True)
    labels = np.arange(len(correct)) % 2
    names = np.array([f"{name}{i}" for i in range(len(correct))])
    arrays = {"name": names, "label": labels, "best": labels, "last": labels ^ ~correct}
    if test is not None:
        arrays |= {"test_name": names, "test_label": labels, "test": labels ^ ~test}
    np.savez_compressed(folder / "predictions.npz", **arrays)


def save_array(path):
    with path.open("wb") as stream:
        np.save(stream, np.ones(3))


def two_runs(tmp_path, **more):
    rng = np.random.default_rng(0)
    rows, correct = [], []
    for model, share in (("resnet50", 0.8), ("plain50", 0.55)):
        correct.append(rng.random(N) < share)
        write_predictions(tmp_path / model, correct[-1])
        accuracy = correct[-1].mean()
        rows.append({"model": model, "optimizer.lr": 1e-4, "last_val_accuracy": accuracy})
        rows[-1] |= {"folder": str(tmp_path / model), "best_val_accuracy": 0.99} | more
    return rows, correct


def test_one_pair_is_compared_on_the_images_that_both_have_seen(tmp_path):
    rows, (res, plain) = two_runs(tmp_path)
    found = compare_groups(runs(rows, ["model", "optimizer.lr"]))
    assert found.columns.tolist() == [
        *("parameter", "a", "b", "optimizer.lr", "num_pairs", "split", "a_accuracy"),
        *("b_accuracy", "difference", "difference_low", "difference_high", "method"),
        *("mcnemar_p", "verdict"),
    ]
    row = found.iloc[0]
    only_res, only_plain = int((res & ~plain).sum()), int((plain & ~res).sum())
    assert len(found) == 1
    assert row[["parameter", "a", "b", "optimizer.lr", "num_pairs", "split"]].tolist() == [
        *("model", "resnet50", "plain50", 1e-4, 1, "last epoch")
    ]
    assert (row["a_accuracy"], row["b_accuracy"]) == (res.mean(), plain.mean())
    interval = row[["difference", "difference_low", "difference_high"]].tolist()
    assert interval == list(paired_difference(only_res, only_plain, N))
    assert row["mcnemar_p"] == mcnemar(only_res, only_plain)
    assert row["method"] == "same images"
    texts = [f"{one:.2f}" for one in interval]
    assert row["verdict"] == f"resnet50 better by {texts[0]} ({texts[1]} to {texts[2]})"
    assert found.dtypes.astype(str).to_dict() == {
        **dict.fromkeys(("parameter", "a", "b", "split", "method", "verdict"), "string"),
        **dict.fromkeys(("optimizer.lr", "a_accuracy", "b_accuracy", "mcnemar_p"), "float64"),
        **dict.fromkeys(("difference", "difference_low", "difference_high"), "float64"),
        "num_pairs": "Int64",
    }


def test_the_other_group_may_be_the_better_one(tmp_path):
    rows, _ = two_runs(tmp_path)
    row = compare_groups(runs(rows[::-1], ["model", "optimizer.lr"])).iloc[0]
    assert (row["a"], row["b"]) == ("plain50", "resnet50")
    assert row["difference"] < row["difference_high"] < 0
    assert row["verdict"].startswith("resnet50 better by 0.2")


def test_the_test_split_goes_before_the_last_epoch(tmp_path):
    rows, _ = two_runs(tmp_path, num_test_images=N)
    for row, share in zip(rows, (0.6, 0.6), strict=True):
        test = np.arange(N) < share * N
        write_predictions(tmp_path / row["model"], np.ones(N, bool), test=test)
        row["test_accuracy"] = share
    row = compare_groups(runs(rows, ["model", "optimizer.lr"])).iloc[0]
    assert row[["split", "a_accuracy", "difference", "mcnemar_p", "verdict"]].tolist() == [
        *("test", 0.6, 0.0, 1.0, "no difference shown")
    ]
    rows[0]["test_accuracy"] = math.nan
    assert compare_groups(runs(rows, ["model", "optimizer.lr"])).iloc[0]["split"] == "last epoch"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "no predictions"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "unreadable predictions"),
        (lambda path: path.write_bytes(b""), "unreadable predictions"),
        (lambda path: save_array(path), "unreadable predictions"),
        (lambda path: np.savez(path, name=np.array(["x"])), "unreadable predictions"),
        (
            lambda path: np.savez(path, name=np.array([None]), label=np.ones(1), last=np.ones(1)),
            "unreadable predictions",
        ),
        (lambda path: write_predictions(path.parent, np.ones(N, bool)), "predictions of another"),
        (
            lambda path: write_predictions(
                path.parent,
                read_predictions(str(path.parent))["last"] == np.arange(N) % 2,
                name="x",
            ),
            "other images",
        ),
    ],
)
def test_what_cannot_be_paired_is_compared_by_its_counts_and_says_why(tmp_path, spoil, reason):
    rows, (res, plain) = two_runs(tmp_path)
    spoil(tmp_path / "plain50" / "predictions.npz")
    row = compare_groups(runs(rows, ["model", "optimizer.lr"])).iloc[0]
    expected = difference_of_proportions(int(res.sum()), N, int(plain.sum()), N)
    assert row["difference":"difference_high"].tolist() == list(expected)
    assert row["method"].startswith(f"unpaired: {reason}")
    assert math.isnan(row["mcnemar_p"])


def test_folders_that_are_not_there_or_not_known_do_not_matter():
    rows = [{"model": "a", "last_val_accuracy": 0.9}, {"model": "b", "last_val_accuracy": 0.4}]
    found = compare_groups(runs(rows, ["model"]))
    assert found.iloc[0]["method"] == "unpaired: no predictions"
    rows[0]["folder"], rows[1]["num_val_images"] = "trials/0", None
    row = compare_groups(runs(rows, ["model"])).iloc[0]
    assert row["difference"] == pytest.approx(0.5)
    assert math.isnan(row["difference_low"])
    assert row["method"] == "no interval: number of images not known"
    assert row["verdict"] == "no interval"


def test_without_an_epochs_accuracy_nothing_is_known_and_the_best_epoch_is_not_used():
    rows = [
        {"model": name, "objective": 0.9, "best_val_accuracy": 0.9, "lr": lr}
        for lr in (0.1, 0.2)
        for name in "ab"
    ]
    # A task that tells no accuracies has nothing to compare.
    assert compare_groups(runs(rows, ["model", "lr"])).empty
    bare = runs(rows, ["model", "lr"]).drop(columns=["last_val_accuracy", "test_accuracy", "seed"])
    assert compare_groups(bare).empty
    rows[0]["last_val_accuracy"] = rows[1]["last_val_accuracy"] = 0.5
    row = compare_groups(runs(rows, ["model", "lr"])).iloc[1]
    assert row["num_pairs"] == 0
    assert row["verdict"] == "not known"
    assert row["split":"mcnemar_p"].isna().all()


def test_better_is_only_what_the_interval_and_the_exact_test_call_so(tmp_path):
    # Five images of 40 that only one of them gets right: p is 0.0625.
    rows = []
    for model, num in (("resnet18", 40), ("plain18", 35)):
        correct = np.arange(40) < num
        write_predictions(tmp_path / model, correct)
        rows.append({"model": model, "last_val_accuracy": num / 40, "num_val_images": 40})
        rows[-1]["folder"] = str(tmp_path / model)
    row = compare_groups(runs(rows, ["model"])).iloc[0]
    assert row["difference_low"] > 0
    assert row["mcnemar_p"] == 0.0625
    assert row["verdict"] == "not sure: interval and McNemar's test disagree"


def test_differences_that_only_rounding_makes_are_none():
    rows = [
        {"model": model, "seed": seed, "last_val_accuracy": value}
        for model, values in (("a", (0.1 + 0.2, 0.8)), ("b", (0.3, 0.7 + 0.1)))
        for seed, value in enumerate(values)
    ]
    assert compare_groups(runs(rows, ["model"])).iloc[0]["difference"] == 0.0


def test_several_seeds_are_compared_by_the_spread_of_their_differences():
    accuracies = {("a", 1): 0.70, ("b", 1): 0.60, ("a", 2): 0.74, ("b", 2): 0.62}
    accuracies |= {("a", 3): 0.71, ("b", 3): 0.60, ("a", 4): 0.99}
    rows = [
        {"model": model, "seed": seed, "last_val_accuracy": accuracy}
        for (model, seed), accuracy in accuracies.items()
    ]
    row = compare_groups(runs(rows, ["model"])).iloc[0]
    assert (row["num_pairs"], row["method"]) == (3, "t over 3 seeds")
    assert row["a_accuracy"] == pytest.approx((0.70 + 0.74 + 0.71) / 3)
    assert row["difference":"difference_high"].tolist() == list(
        t_interval(np.array([0.70, 0.74, 0.71]) - np.array([0.60, 0.62, 0.60]))
    )
    assert math.isnan(row["mcnemar_p"])
    same = [row | {"last_val_accuracy": 0.5} for row in rows]
    row = compare_groups(runs(same, ["model"])).iloc[0]
    assert (row["verdict"], row["difference"]) == ("no interval", 0.0)
    assert row["method"] == "no interval: all differences are the same"


def test_a_difference_of_accuracies_is_no_more_than_1():
    accuracies = {("a", 1): 1.0, ("b", 1): 0.0, ("a", 2): 0.9, ("b", 2): 0.3}
    rows = [
        {"model": model, "seed": seed, "last_val_accuracy": accuracy}
        for (model, seed), accuracy in accuracies.items()
    ]
    row = compare_groups(runs(rows, ["model"])).iloc[0]
    assert row["difference_low":"difference_high"].tolist() == [-1.0, 1.0]


def test_repeats_pair_where_seeds_are_not_known_and_swept_seeds_are_repetitions():
    rows = [
        {"model": model, "repeat": repeat, "seed": None, "last_val_accuracy": 0.5}
        for model in "ab"
        for repeat in (0, 1)
    ]
    assert compare_groups(runs(rows, ["model"]))["num_pairs"].tolist() == [2]
    swept = [row | {"params_seed": row["repeat"], "repeat": None} for row in rows]
    found = compare_groups(runs(swept, ["model", "params_seed"]))
    assert found["num_pairs"].tolist() == [2]
    assert "params_seed" not in found


def test_a_row_each_pair_of_values_and_setting_in_the_order_of_the_plan():
    rows = [
        {"ticket": ticket, "model": model, "lr": lr, "bias": bias, "last_val_accuracy": 0.5}
        for ticket, (lr, model, bias) in enumerate(
            (lr, model, bias) for lr in (1, 2) for model in "cba" for bias in (True, False)
        )
    ]
    table = runs(rows, ["model", "lr", "bias"]).sample(frac=1, random_state=0)
    found = compare_groups(table)
    models = found[found["parameter"] == "model"]
    assert len(models) == 2 * 2 * 3
    assert list(zip(models["a"], models["b"], strict=True))[:3] == [
        *(("c", "b"), ("c", "a"), ("b", "a"))
    ]
    biases = found[found["parameter"] == "bias"]
    assert len(biases) == 2 * 3
    assert set(zip(biases["a"], biases["b"], strict=True)) == {("true", "false")}
    assert biases["model"].notna().all()
    assert models["model"].isna().all()
    assert found["lr"].dtype == "Int64"


def test_null_is_a_value_and_a_parameter_without_a_part_is_none():
    rows = [
        {"scheduler": None, "last_val_accuracy": 0.5},
        {"scheduler": "cosine", "last_val_accuracy": 0.6},
        {"scheduler": math.nan, "last_val_accuracy": 0.6},
    ]
    table = runs(rows, ["scheduler"])
    table["scheduler"] = pd.Series([None, "cosine", math.nan], dtype=object)
    found = compare_groups(table)
    assert list(zip(found["a"], found["b"], strict=True)) == [("null", "cosine")]


@pytest.mark.parametrize(
    "values", [["a"] * 6, list("abcdef"), [1, 2, 1, 2, 1, 2], [[1], [2], [1], [2], [1], [2]]]
)
def test_numbers_constants_and_names_of_many_things_are_no_groups(values):
    rows = [{"x": value, "last_val_accuracy": 0.5, "seed": 0} for value in values]
    found = compare_groups(runs(rows, ["x"]))
    assert found.empty
    assert found.columns.tolist()[:4] == ["parameter", "a", "b", "num_pairs"]


def test_only_completed_runs_of_the_same_study_that_were_run_themselves_count():
    a, b = ({"model": name, "last_val_accuracy": 0.5} for name in "ab")
    for other in ({"state": "FAIL"}, {"state": "PRUNED"}, {"study": "t"}, {"seed": 7}):
        assert compare_groups(runs([a, b | other], ["model"])).empty
    again = b | {"seed": 1, "duplicate_of": 1}
    table = runs([a, b, a | {"seed": 1}, again], ["model"])
    assert compare_groups(table)["num_pairs"].tolist() == [1]
    both = [row | {"study": study} for study in "st" for row in (a, b)]
    assert compare_groups(runs(both, ["model"]))["study"].tolist() == ["s", "t"]


def test_a_parameter_with_a_columns_name_keeps_out_of_its_way():
    rows = [{"model": name, "b": 3, "method": "x", "last_val_accuracy": 0.5} for name in "mn"]
    row = compare_groups(runs(rows, ["model", "b", "method"])).iloc[0]
    assert row[["a", "b", "params_b", "params_method"]].tolist() == ["m", "n", 3, "x"]


@pytest.mark.parametrize("table", [runs([], ["model"]), runs([], []), pd.DataFrame()])
def test_no_runs_have_no_groups(table):
    assert compare_groups(table).empty


def test_small_differences_are_told_with_more_decimals():
    rows = [
        {"model": model, "seed": seed, "last_val_accuracy": 0.5 + shift}
        for model, shifts in (("a", (0.0021, 0.0020, 0.0019)), ("b", (0, 0, 0)))
        for seed, shift in enumerate(shifts)
    ]
    verdict = compare_groups(runs(rows, ["model"])).iloc[0]["verdict"]
    assert verdict == "a better by 0.0020 (0.0018 to 0.0022)"
