"""What a study says of itself may have been edited by hand."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from resnet_sweep.study.attributes import attribute_faults

STUDY = {
    "folder": "/a",
    "identity": {},
    "plan": {"tickets": [{"x": 1}], "n_trials": 3},
    "retry": {"lost": 2},
    "seed": 0,
    "used_up": False,
    "burnt": [1],
    "num_shown": 3,
    "program": ["python", "app.py"],
}
TRIAL = {"ticket": 0, "attempt": 0, "worker": "s-0", "slot": "cpu0", "seconds": 0.5}


def _trial(number: int = 0, **attrs: Any) -> optuna.trial.FrozenTrial:
    trial = create_trial(state=TrialState.RUNNING, user_attrs=attrs)
    trial.number = number
    return trial


def test_what_a_sweep_has_written_is_no_fault() -> None:
    assert not attribute_faults("s", STUDY, [_trial(**TRIAL), _trial(1, **TRIAL, retry_of=0)])
    assert not attribute_faults("s", {}, [_trial(seconds="ten", slot=None)])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("folder", 5),
        ("identity", "x"),
        ("plan", []),
        ("plan", {"tickets": "x"}),
        ("plan", {"tickets": [5]}),
        ("plan", {"tickets": [], "n_trials": "3"}),
        ("retry", {"lost": "2"}),
        ("retry", 2),
        ("seed", "x"),
        ("used_up", 1),
        ("burnt", 1),
    ],
)
def test_an_attribute_of_a_study_is_told(key: str, value: Any) -> None:
    (fault,) = attribute_faults("s", {**STUDY, key: value}, [])
    assert f"s: the study's attribute {key}={value} must be " in str(fault)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ticket", "JIRA-3"),
        ("ticket", -1),
        ("ticket", True),
        ("attempt", 1.5),
        ("worker", 5),
        ("retry_of", "0"),
        ("retry_of", 7),
        ("repeat_values", [1, "x"]),
        ("seconds", "ten"),
        ("failure", []),
    ],
)
def test_an_attribute_of_a_trial_is_told(key: str, value: Any) -> None:
    (fault,) = attribute_faults("s", STUDY, [_trial(**{**TRIAL, key: value})])
    assert f"trial 0's attribute {key}={value} " in str(fault)


def test_not_all_of_a_thousand_are_told() -> None:
    trials = [_trial(number, ticket="x") for number in range(1000)]
    assert len(attribute_faults("s", STUDY, trials)) == 10
