"""How tickets stand, derived from the trials of a study."""

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from resnet_sweep.study.tickets import Ledger

COMPLETE, FAIL, PRUNED, RUNNING = (
    TrialState.COMPLETE,
    TrialState.FAIL,
    TrialState.PRUNED,
    TrialState.RUNNING,
)


def trials(*rows: tuple) -> list[FrozenTrial]:
    """Trials of a study: state, attributes, and a value of x if it has one."""
    study = optuna.create_study()
    for state, attrs, *x in rows:
        params = {"x": x[0]} if x else {}
        space = {"x": optuna.distributions.FloatDistribution(0, 10)} if x else {}
        value = 1.0 if state == COMPLETE else None
        study.add_trial(
            create_trial(
                state=state, value=value, params=params, distributions=space, user_attrs=attrs
            )
        )
    return study.get_trials()


def ledger(found: list[FrozenTrial], retry: dict | None = None, close: int | None = None) -> Ledger:
    made = Ledger(retry or {}, close)
    made.update(found)
    return made


def failed(ticket: int, kind: str, **attrs: object) -> tuple:
    return FAIL, {"ticket": ticket, "failure": kind, "worker": "s-0", "slot": "0", **attrs}


def test_a_ticket_is_done_when_its_last_attempt_is():
    found = ledger(
        trials(
            (COMPLETE, {"ticket": 0}, 1.0),
            (PRUNED, {"ticket": 1}, 2.0),
            failed(2, "exception"),
            (RUNNING, {"ticket": 3}),
            failed(4, "interrupted"),
        )
    )
    assert [found.is_done(ticket) for ticket in range(6)] == [True, True, True] + [False] * 3
    assert list(found.to_retry()) == [4]
    assert list(found.running) == [3]
    assert (found.num_done(), found.num_failed()) == (3, 1)


@pytest.mark.parametrize(
    ("ends", "is_done"),
    [
        (["lost"], False),
        (["lost", "lost"], False),
        (["lost", "lost", "lost"], True),
        (["exception"], True),
        (["lost", "lost", "timeout"], False),
        (["timeout", "timeout"], True),
        (["interrupted"] * 9, False),
        (["interrupted", "lost", "lost", "lost"], True),
    ],
)
def test_each_kind_is_tried_again_as_often_as_is_said(ends, is_done):
    rows = [failed(0, kind, attempt=i) for i, kind in enumerate(ends)]
    assert ledger(trials(*rows), {"lost": 2, "timeout": 1}).is_done(0) == is_done


def test_a_ledger_that_is_kept_up_equals_one_that_starts_anew():
    rows = [
        (COMPLETE, {"ticket": 0}, 1.0),
        failed(1, "lost"),
        (RUNNING, {"ticket": 1}, 2.0),
        (COMPLETE, {"ticket": 2}, 1.0),
    ]
    kept = Ledger({"lost": 1})
    for num in range(1, len(rows) + 1):
        kept.update(trials(*rows[:num]))
    rows[2] = (COMPLETE, {"ticket": 1}, 2.0)
    kept.update(trials(*rows))
    fresh = ledger(trials(*rows), {"lost": 1})
    assert kept.tickets == fresh.tickets
    assert (kept.tried, kept.finished, kept.counts) == (fresh.tried, fresh.finished, fresh.counts)
    assert kept.running == fresh.running == {}
    assert list(kept.finished.values()) == [0, 2]


def test_a_trial_counts_as_tried_when_it_had_its_values():
    found = ledger(
        trials(
            failed(0, "lost"),
            failed(1, "interrupted"),
            (*failed(2, "lost", folder="2"), 1.0),
            (*failed(3, "exception"), 2.0),
            (RUNNING, {"ticket": 4}),
            (RUNNING, {"ticket": 5, "folder": "5"}, 3.0),
        )
    )
    assert found.num_tried() == 3


def test_a_slot_is_bad_when_its_newest_trials_failed_at_once():
    rows = [failed(i, "exception", seconds=0.1, slot=slot) for i, slot in enumerate("aabbcc")]
    rows[2] = failed(2, "exception", seconds=60.0, slot="b")
    rows[4] = failed(4, "non_finite", seconds=0.1, slot="c")
    found = ledger(trials(*rows), close=2)
    assert found.bad_slots("s") == {"a": [0, 1]}
    assert found.bad_slots("another sweep") == {}
    assert ledger(trials(*rows)).bad_slots("s") == {}


def test_what_a_closed_slot_burnt_is_tried_again():
    found = ledger(trials(failed(0, "exception"), failed(1, "exception")))
    found.burnt = frozenset({1})
    assert list(found.to_retry()) == [1]
    assert found.num_failed() == 1
