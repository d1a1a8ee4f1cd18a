"""What a study and its trials say of themselves, checked: somebody may have edited it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from resnet_sweep.faults import ConfigError, Fault

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

# So many faults say enough.
_MAX_FAULTS = 10
_FIX = "set it back, or begin another study: hydra.sweeper.study_name=NAME"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_map(value: object) -> bool:
    return isinstance(value, dict)


def _list_of(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _is_plan(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    tickets, num = value.get("tickets"), value.get("n_trials")
    return (tickets is None or _list_of(_is_map)(tickets)) and (num is None or _is_count(num))


def _is_retry(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


Rule = tuple[Callable[[object], bool], str]
_COUNT: Rule = (_is_count, "a whole number of 0 or more")
_NUMBER: Rule = (_is_number, "a number")
_TEXT: Rule = (_is_text, "a text")
_MAP: Rule = (_is_map, "a map")
_COUNTS: Rule = (_list_of(_is_count), "a list of whole numbers")
_NUMBERS: Rule = (_list_of(_is_number), "a list of numbers")

_OF_STUDY: Mapping[str, Rule] = {
    "folder": _TEXT,
    "identity": _MAP,
    "plan": (_is_plan, "a map of a list of trials and their number"),
    "retry": (_is_retry, "a map of whole numbers"),
    "seed": _COUNT,
    "used_up": (lambda value: isinstance(value, bool), "true or false"),
    "burnt": _COUNTS,
    "num_shown": _COUNT,
    "earlier": _MAP,
}
_OF_TRIAL: Mapping[str, Rule] = {
    "ticket": _COUNT,
    "attempt": _COUNT,
    "worker": _TEXT,
    "slot": _TEXT,
    "retry_of": _COUNT,
    "duplicate_of": _COUNT,
    "repeat_values": _NUMBERS,
    "folder": _TEXT,
    "failure": _TEXT,
    "error": _TEXT,
    "traceback": _TEXT,
    "seconds": _NUMBER,
}


def refuse_edited(
    study: Study, shown: str, error: Callable[[Iterable[Fault]], Exception] = ConfigError
) -> None:
    """Refuses a study whose attributes are not what sweeps write.

    Args:
        study: Any; of one that is no sweep's little is asked.
        shown: Its storage, for messages.
        error: Makes what is raised of the faults.

    Raises:
        ConfigError: With the first faults.
    """
    faults = attribute_faults(shown, study.user_attrs, study.get_trials(deepcopy=False))
    if faults:
        raise error(faults)


def attribute_faults(
    shown: str, attrs: Mapping[str, Any], trials: Sequence[FrozenTrial]
) -> list[Fault]:
    """Faults of what a study of ours says of itself and of its trials.

    Args:
        shown: The storage, for messages.
        attrs: User attributes of the study; those that it lacks are no fault.
        trials: All of the study; those that are no ticket may say what they like.
    """
    return list(islice(_faults(shown, attrs, trials), _MAX_FAULTS))


def _faults(shown: str, attrs: Mapping[str, Any], trials: Sequence[FrozenTrial]) -> Iterable[Fault]:
    for rule in _broken(_OF_STUDY, attrs):
        yield Fault("hydra.sweeper.storage", shown, f"the study's {rule}", fix=_FIX)
    for trial in trials:
        if "ticket" not in trial.user_attrs:
            continue
        for rule in _broken(_OF_TRIAL, trial.user_attrs):
            text = f"trial {trial.number}'s {rule}"
            yield Fault("hydra.sweeper.storage", shown, text, fix=_FIX)
        for key in ("retry_of", "duplicate_of"):
            value = trial.user_attrs.get(key)
            if isinstance(value, int) and value >= len(trials):
                text = f"trial {trial.number}'s attribute {key}={value} names no trial"
                yield Fault("hydra.sweeper.storage", shown, text, fix=_FIX)


def _broken(rules: Mapping[str, Rule], attrs: Mapping[str, Any]) -> Iterable[str]:
    for key, (check, meant) in rules.items():
        if key in attrs and not check(attrs[key]):
            yield f"attribute {key}={str(attrs[key])[:80]} must be {meant}"
