import math

import numpy as np
import pandas as pd
import pytest

from resnet_sweep.faults import ConfigError
from resnet_sweep.report.aggregate import aggregate
from resnet_sweep.report.statistics import t_interval


def runs(rows, **columns):
    """A table of runs of a model at seeds."""
    table = pd.DataFrame(
        [
            {"study": "s", "number": i, "state": "COMPLETE", "model": "a", "lr": 0.1}
            | {"objective": math.nan, "metric": "best_val_accuracy", "direction": "maximize"}
            | {"last_val_accuracy": math.nan, "seconds": 10.0, "folder": ""}
            | row
            for i, row in enumerate(rows)
        ],
        columns=[
            *("study", "number", "state", "model", "lr", "objective", "metric", "direction"),
            *("last_val_accuracy", *columns, "seconds", "folder"),
        ],
    )
    texts = dict.fromkeys(("study", "state", "model", "metric", "direction"), "string")
    numbers = dict.fromkeys(("lr", "objective", "last_val_accuracy", "seconds"), "float64")
    return table.astype({**texts, **numbers, "number": "Int64", **columns})


def test_means_over_seeds_and_all_else_with_their_intervals():
    rows = [
        {"model": model, "lr": lr, "objective": objective, "last_val_accuracy": objective - 0.1}
        | {"seconds": seconds, "learned": objective > 0.6}
        for model, lr, objective, seconds in [
            *(("a", 0.1, 0.5, 10.0), ("b", 0.1, 0.8, 20.0), ("b", 0.2, 0.9, 40.0)),
            *(("a", 0.1, 0.7, 10.0), ("b", 0.1, 0.6, 30.0)),
        ]
    ]
    found = aggregate(runs(rows, learned="boolean"), ["model"])
    assert found.columns.tolist() == [
        *("model", "num_runs", "num_pruned", "num_failed"),
        *("objective_mean", "objective_low", "objective_high", "objective_best"),
        *("objective_worst", "last_val_accuracy_mean", "last_val_accuracy_low"),
        *("last_val_accuracy_high", "share_learned", "seconds_mean"),
    ]
    assert found["model"].tolist() == ["b", "a"]
    assert found["model"].dtype == "string"
    assert found["num_runs"].dtype == "Int64"
    best = found.iloc[0]
    assert best["objective_mean"] == t_interval([0.8, 0.9, 0.6]).value
    assert (best["objective_best"], best["objective_worst"]) == (0.9, 0.6)
    assert best["last_val_accuracy_mean"] == pytest.approx((0.7 + 0.8 + 0.5) / 3)
    assert best["share_learned"] == pytest.approx(2 / 3)
    assert best["seconds_mean"] == 30.0


def test_an_interval_is_one_over_seeds_and_not_over_settings():
    rows = [
        {"model": model, "lr": lr, "objective": value, "last_val_accuracy": value}
        for model, lr, value in [
            *(("a", 0.1, 0.5), ("a", 0.2, 0.6), ("b", 0.1, 0.2), ("b", 0.1, 0.3)),
            # What has failed is in no mean.
            *(("c", 0.1, 0.4), ("c", 0.1, 0.45)),
        ]
    ]
    rows.append({"model": "c", "lr": 0.2, "state": "FAIL"})
    table = runs(rows)
    table.insert(4, "trainer.seed", range(len(rows)))
    found = aggregate(table, ["model"]).set_index("model")
    for name in ("objective", "last_val_accuracy"):
        assert found[f"{name}_low"].isna().to_dict() == {"a": True, "b": False, "c": False}
        assert found[f"{name}_mean"].notna().all()
    assert found.loc["a", ["objective_best", "objective_worst"]].tolist() == [0.6, 0.5]
    expected = t_interval([0.4, 0.45])
    assert found.loc["c", "objective_mean":"objective_high"].tolist() == list(expected)
    assert aggregate(table, ["model", "lr"])["objective_low"].isna().tolist() == [
        *(True, True, False, False, True)
    ]


def test_intervals_of_accuracies_end_at_0_and_1_and_those_of_losses_do_not():
    values = [{"objective": value, "last_val_accuracy": value} for value in (0.2, 0.99)]
    row = aggregate(runs(values), []).iloc[0]
    for name in ("objective", "last_val_accuracy"):
        assert (row[f"{name}_low"], row[f"{name}_high"]) == (0.0, 1.0)
    losses = [{**one, "metric": "last_val_loss"} for one in values]
    row = aggregate(runs(losses), []).iloc[0]
    assert row["objective_low"] < 0 < 1 < row["objective_high"]
    assert row["last_val_accuracy_low"] == 0


def test_a_setting_of_which_runs_have_failed_comes_behind_complete_ones():
    kinds = [("a", 0.95), ("a", None), ("b", 0.8), ("b", 0.8), ("c", 0.7), ("d", None)]
    rows = [
        {"model": model} | ({"state": "FAIL"} if value is None else {"objective": value})
        for model, value in kinds
    ]
    found = aggregate(runs(rows), ["model"])
    assert found["model"].tolist() == ["b", "c", "a", "d"]
    assert found["num_failed"].tolist() == [0, 0, 1, 1]
    assert aggregate(runs(rows), ["model"], is_ranked=False)["model"].tolist() == list("abcd")


@pytest.mark.parametrize("other", [{"direction": "minimize"}, {"metric": "last_val_accuracy"}])
def test_objectives_that_cannot_be_compared_are_not_ranked(other):
    kinds = [("a", 0.5, {}), ("a", 0.6, {}), ("b", 0.7, other), ("b", 0.9, other)]
    found = aggregate(
        runs([{"model": m, "objective": v, **more} for m, v, more in kinds]), ["model"]
    )
    assert found["model"].tolist() == ["a", "b"]
    wanted = [0.6, 0.7 if "direction" in other else 0.9]
    assert found["objective_best"].tolist() == wanted


def test_only_runs_that_ended_well_are_in_the_means_and_the_others_are_counted():
    states = ["COMPLETE", "PRUNED", "FAIL", "FAIL", "RUNNING", "WAITING", "COMPLETE"]
    rows = [{"state": state, "objective": i / 10} for i, state in enumerate(states)]
    rows += [{"model": "b", "state": "FAIL"}, {"model": "c", "state": "WAITING"}]
    found = aggregate(runs(rows), ["model"])
    assert found["model"].tolist() == ["a", "b"]
    assert found[["num_runs", "num_pruned", "num_failed"]].to_numpy().tolist() == [
        *([2, 1, 2], [0, 0, 1])
    ]
    assert found["objective_mean"].tolist()[0] == 0.3
    assert found.loc[1, "objective_mean":"objective_worst"].isna().all()


def test_a_single_run_carries_no_interval_and_the_smallest_is_best_when_it_shall_be():
    rows = [
        {"model": model, "objective": value, "direction": "minimize", "metric": "last_val_loss"}
        for model, value in (("a", 0.3), ("b", 0.2), ("b", 0.1), ("c", math.inf), ("d", math.nan))
    ]
    found = aggregate(runs(rows), ["model"])
    assert found["model"].tolist() == ["b", "a", "c", "d"]
    assert found["objective_best"].tolist()[:3] == [0.1, 0.3, math.inf]
    assert found["objective_worst"].tolist()[:3] == [0.2, 0.3, math.inf]
    assert found["objective_low"].isna().tolist() == [False, True, True, True]


def test_several_objectives_each_have_their_means_and_directions():
    table = runs([{"model": model, "direction": "maximize,minimize"} for model in "aab"])
    place = table.columns.get_loc("objective")
    table.insert(place, "objective_0", [0.5, 0.7, 0.6])
    table.insert(place + 1, "objective_1", [3.0, 5.0, 1.0])
    found = aggregate(table.drop(columns="objective"), ["model"])
    assert found["model"].tolist() == ["b", "a"]
    assert found.loc[1, ["objective_0_best", "objective_1_best"]].tolist() == [0.7, 3.0]
    assert found.loc[1, "objective_1_mean"] == 4.0
    assert "objective_mean" not in found


def test_a_reused_value_counts_once():
    rows = [{"objective": 0.5}, {"objective": 0.5, "duplicate_of": 0}, {"objective": 0.7}]
    table = runs(rows, duplicate_of="Int64")
    assert aggregate(table, ["model"])["num_runs"].tolist() == [2]
    # Where only the copy is left, it stands for both.
    assert aggregate(table[1:], ["model"])["num_runs"].tolist() == [2]


def test_missing_values_null_and_lists_are_settings_like_others():
    values = [None, math.nan, [1, 2], [1, 2], "x", 1, 1.0, True]
    table = runs([{"objective": 0.5} for _ in values])
    table["lr"] = pd.Series(values, dtype=object)
    found = aggregate(table, ["lr"])
    assert sorted(zip(map(repr, found["lr"]), found["num_runs"], strict=True)) == sorted(
        [("None", 1), ("nan", 1), ("[1, 2]", 2), ("'x'", 1), ("1", 2), ("True", 1)]
    )


def test_nothing_to_group_by_brings_all_runs_together_and_names_count_once():
    table = runs([{"objective": 0.4}, {"objective": 0.6}])
    assert aggregate(table, [])["objective_mean"].tolist() == [0.5]
    assert aggregate(table, ["lr", "lr", "model"]).columns.tolist()[:3] == [
        *("lr", "model", "num_runs")
    ]


def test_unknown_columns_are_told_at_once_with_those_there_are():
    with pytest.raises(ConfigError, match="2 faults") as error:
        aggregate(runs([]), ["modle", "lr", "x"])
    assert [fault.value for fault in error.value.faults] == ["modle", "x"]
    assert "model" in error.value.faults[0].choices
    assert error.value.faults[0].fix == "did you mean model?"


def test_a_column_that_is_called_like_a_mean_is_renamed():
    table = runs([{"objective": 0.4}]).rename(columns={"lr": "num_runs"})
    assert aggregate(table, ["num_runs"]).columns.tolist()[:2] == ["params_num_runs", "num_runs"]


@pytest.mark.parametrize("by", [[], ["model"]])
def test_no_runs_have_no_means(by):
    for table in (runs([]), runs([{"state": "WAITING"}])):
        found = aggregate(table, by)
        assert found.empty
        assert found.columns.tolist()[: len(by) + 1] == [*by, "num_runs"]


def test_a_table_of_other_tasks_has_only_what_it_knows():
    table = runs([{"objective": 0.4}]).drop(columns=["last_val_accuracy", "metric", "seconds"])
    found = aggregate(table, ["model"])
    assert found["objective_mean"].tolist() == [0.4]
    assert np.isnan(found["seconds_mean"][0])
    assert "last_val_accuracy_mean" not in found


def test_a_table_without_columns_has_no_means():
    assert aggregate(pd.DataFrame(), []).empty
