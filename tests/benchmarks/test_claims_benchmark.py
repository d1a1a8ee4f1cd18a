"""The benchmark of claims: its counting, and that both ways run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import claims
from benchmarks.claiming import Case, Claimed, _in_processes, _work_optuna, run_ours


def test_what_processes_have_claimed_is_counted_together() -> None:
    case = Case("journal", None, Path(), num_workers=3, num_tickets=6, limit_s=60)
    one = Claimed(10.0, [0, 1, 2], [0.1, 0.1, 0.1], 12.0)
    two = Claimed(10.5, [2, None, 3], [0.2, 0.2, 0.3], 14.0)
    three = Claimed(10.0, [], [], 0.0, "OperationalError: database is locked")
    found = claims.evaluate("optuna", case, [one, two, three])
    assert (found.twice, found.left, found.more, found.died) == (1, 2, 1, 1)
    assert not found.is_exact
    assert found.per_s == pytest.approx(6 / 4)
    assert found.wait_ms == pytest.approx(150)
    assert "OperationalError" in found.error
    assert "1.5 (1.5 - 1.5)" in claims.table([found])
    nothing = claims.evaluate("optuna", case, [three])
    assert (nothing.per_s, nothing.left) == (0, 6)


def test_our_queue_is_exact(tmp_path: Path) -> None:
    case = Case("journal", None, tmp_path, num_workers=2, num_tickets=6, limit_s=60)
    assert claims.evaluate("ours", case, run_ours(case)).is_exact


def test_who_cannot_open_the_study_keeps_nobody_waiting(tmp_path: Path) -> None:
    case = Case("sqlite", f"sqlite:///{tmp_path}/no/study.db", tmp_path, 2, 4, limit_s=60)
    found = claims.evaluate("optuna", case, _in_processes(case, _work_optuna))
    assert (found.died, found.left) == (2, 4)


@pytest.mark.slow
def test_both_ways_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw.json"
    small = ["--workers", "1", "2", "--tickets", "8", "--rounds", "1", "--json", str(raw)]
    assert claims.main([*small, "--storages", "journal", "sqlite"]) == 0
    rounds = json.loads(raw.read_text())["rounds"]
    assert {(one["storage"], one["num_workers"], one["way"]) for one in rounds} == {
        (storage, num, way)
        for storage in ("journal", "sqlite")
        for num in (1, 2)
        for way in ("ours", "optuna")
    }
    assert all(one["per_s"] > 0 for one in rounds)
    assert "trials a second" in capsys.readouterr().out


def test_wrong_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        claims.main(["--json", "/nowhere/raw.json"])
    assert "its folder does not exist" in capsys.readouterr().err
