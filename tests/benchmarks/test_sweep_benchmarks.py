"""The sweep benchmarks: their arithmetic, and that what they measure is there."""

from __future__ import annotations

import json
import os
from dataclasses import astuple
from pathlib import Path

import pytest

from benchmarks import sweep_overhead, sweep_utilisation
from benchmarks.records import (
    LOG_VARIABLE,
    Cost,
    Record,
    busy_share,
    cost_at,
    list_schedule_s,
    note,
    opening_s,
    overhead_ms,
    read,
)
from benchmarks.sweep_overhead import Growth, growth_table, overhead_table, ratios
from benchmarks.sweep_utilisation import evaluate
from benchmarks.sweep_ways import ours, plain, stock


def trials(*times: tuple[int, float, float]) -> list[Record]:
    return [Record(slot, i, begin, end) for i, (slot, begin, end) in enumerate(times)]


def test_overhead_counts_from_when_all_have_begun_and_are_warm() -> None:
    slow = [(1, float(i), i + 1.0) for i in range(5)]
    # The second slot comes in at 5 s; its trial and the next two still warm up.
    fast = [(2, 5 + 0.1 * i, 5 + 0.1 * i) for i in range(8)]
    assert overhead_ms(trials(*slow, *fast), 2) == pytest.approx(100)
    with pytest.raises(ValueError, match="in 1 processes, not in 2"):
        overhead_ms(trials(*slow), 2)
    with pytest.raises(ValueError, match="too few trials"):
        overhead_ms(trials(*slow[:4]), 1)


def test_a_trial_costs_what_its_sampler_does_not() -> None:
    records = [Record(1, i, i * 0.01, i * 0.01, i * 0.004, i * 0.009) for i in range(300)]
    for i in range(100):
        begin = 3 + i * 0.03
        records.append(Record(1, 300 + i, begin, begin, 1.2 + i * 0.01, 2.7 + i * 0.02))
    assert astuple(cost_at(records, 100, 50)) == pytest.approx((6, 5, 4))
    assert astuple(cost_at(records, 399, 50)) == pytest.approx((20, 10, 10))


def test_slots_are_busy_from_the_last_first_trial_to_the_last_taken() -> None:
    records = trials((1, 0, 3), (2, 1, 2), (2, 2.5, 5), (1, 3, 4), (1, 5, 9))
    # From 1 to 5: slot 1 rests one second, slot 2 half of one.
    assert busy_share(records, 2) == pytest.approx(1 - 1.5 / 8)
    assert opening_s(records, 2) == [0, 1]
    with pytest.raises(ValueError, match="no trial was left"):
        busy_share(records[:2], 2)


def test_the_ideal_gives_each_trial_to_the_slot_that_is_free_first() -> None:
    assert list_schedule_s([3, 1, 1, 1, 2], [0, 0]) == 5
    assert list_schedule_s([3, 1, 1, 1, 2], [0, 10]) == 8
    assert list_schedule_s([3, 1, 1, 1, 2], [0, 4]) == 7
    assert list_schedule_s([2, 2, 2], [0]) == 6
    result = evaluate("way", trials((1, 10, 12), (2, 10, 11), (2, 12, 14)), [2, 1, 1.5], 2)
    assert (result.makespan_s, result.ideal_s, result.ideal_as_opened_s) == (4, 2.5, 2.5)


def test_trials_are_read_as_they_were_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOG_VARIABLE, str(tmp_path / "log"))
    note(4, 2.0, 0.5)
    note(3, 1.0)
    second, first = read(tmp_path / "log")[::-1]
    assert (first.number, first.begin_s, first.sampler_s) == (3, 1.0, 0.0)
    assert (second.number, second.slot, second.sampler_s) == (4, os.getpid(), 0.5)
    assert second.end_s > second.begin_s


def test_ratios_are_taken_round_by_round() -> None:
    found = {way.name: [10.0 * i, 30.0] for i, way in enumerate(sweep_overhead.WAYS, 1)}
    by_name = {name: values for name, _, values in ratios(found)}
    assert by_name["ours, basic, memory / stock, basic, memory"] == [10 / 60, 1]
    assert "20.0 (10.0 - 30.0)" in overhead_table(found)
    growth = Growth("ours, basic, memory", "tpe", 5000, Cost(20, 10, 2), Cost(28, 11, 50))
    assert (growth.ratio, growth.cpu_ratio) == (1.4, 1.1)
    assert " 20.0 28.0   1.40     10.0 11.0   1.10        2.0 50.0" in growth_table([growth])


def test_ways_that_fail_say_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)optuna: 0 of 5 trials, exit code 1.*KeyError"):
        plain("optuna", "memory").run(tmp_path / "run", "none", 5)


@pytest.mark.parametrize("way", [ours("ours", "basic", "memory"), stock("stock", "basic")])
def test_both_sweepers_run_the_trials(tmp_path: Path, way: sweep_overhead.Way) -> None:
    records = way.run(tmp_path / "run", "tpe", 6)
    assert [one.number for one in records] == list(range(6))
    assert overhead_ms(records, 1) > 0


@pytest.mark.slow
def test_utilisation_of_a_small_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw.json"
    small = ["--slots", "2", "--per-slot", "5", "--mean-s", "0.05"]
    assert sweep_utilisation.main([*small, "--json", str(raw)]) == 0
    mine, other = json.loads(raw.read_text())["sweeps"]
    assert (mine["name"], mine["num_trials"]) == ("ours, local, journal", 10)
    # The same sleeps for both; nobody is faster than the ideal.
    assert mine["ideal_s"] == other["ideal_s"] > 0
    for one in (mine, other):
        assert 0 < one["busy"] <= 1
        assert one["makespan_s"] >= one["ideal_as_opened_s"]
    assert "stock, joblib, memory" in capsys.readouterr().out


@pytest.mark.slow
def test_every_way_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw.json"
    small = ["--trials", "20", "--rounds", "1", "--growth", "20", "--growth-samplers", "tpe"]
    assert sweep_overhead.main([*small, "--json", str(raw)]) == 0
    result = json.loads(raw.read_text())
    assert list(result["ms_per_trial"]) == [way.name for way in sweep_overhead.WAYS]
    assert all(values[0] > 0 for values in result["ms_per_trial"].values())
    assert [one["sampler"] for one in result["growth"]] == ["tpe"] * 2
    assert "hydra-optuna-sweeper" in capsys.readouterr().out


@pytest.mark.parametrize("main", [sweep_overhead.main, sweep_utilisation.main])
def test_wrong_arguments_are_refused(main: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--json", "/nowhere/raw.json"])  # type: ignore[operator]
    assert "its folder does not exist" in capsys.readouterr().err
