"""Which workers of a Ray cluster are sent away; sweeps on a real one are in test_ray_cluster.py."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resnet_sweep.faults import Fault, StorageError
from resnet_sweep.sweep.ray_workers import _Crew, _Seat


class Queue:
    """Tickets of a study that still need an attempt, and trials that run."""

    def __init__(self, num_open: int, num_running: int) -> None:
        self.num_open = lambda: num_open
        self.ledger = SimpleNamespace(running=range(num_running))

    def refresh(self) -> None:
        """Has nothing to read."""


class Away(Queue):
    """Of a study whose storage cannot be read."""

    def refresh(self) -> None:
        """Fails."""
        raise StorageError([Fault("hydra.sweeper.storage", "x", "cannot be reached")])


@pytest.mark.parametrize(
    ("queue", "are_sent_away"),
    [
        # The worker's slot was closed, or its node has no disk left: another takes what is open.
        (Queue(num_open=3, num_running=1), False),
        (Queue(num_open=1, num_running=0), False),
        (Queue(num_open=1, num_running=1), True),
        (Queue(num_open=0, num_running=0), True),
        (Away(num_open=0, num_running=0), False),
    ],
)
def test_who_waits_is_sent_away_only_when_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue: Queue, are_sent_away: bool
) -> None:
    cancelled: list[object] = []
    ray = SimpleNamespace(cancel=lambda one, force: cancelled.append(one))
    monkeypatch.setitem(sys.modules, "ray", ray)
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "ab-0.lock").touch()
    crew: Any = object.__new__(_Crew)
    crew._worker = SimpleNamespace(spec=SimpleNamespace(folder=tmp_path, session="ab"))
    crew._queue = queue
    crew._running = {"works": _Seat(0), "waits": _Seat(1)}
    crew._withdraw_waiting()
    assert cancelled == (["waits"] if are_sent_away else [])
    assert list(crew._running) == (["works"] if are_sent_away else ["works", "waits"])
