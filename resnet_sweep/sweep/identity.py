"""What makes a study this study: the same command finds it, another one is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from resnet_sweep.faults import Fault
from resnet_sweep.study.canonical import dotted
from resnet_sweep.sweep.config import Options
from resnet_sweep.sweep.decided import is_below
from resnet_sweep.sweep.plan import Plan

# Overrides of hydra.* that say what a study is; the others say how it is worked on.
_PART_OF_IT = (
    "hydra/sweeper/sampler",
    "hydra.sweeper.sampler",
    "hydra/sweeper/pruner",
    "hydra.sweeper.pruner",
    "hydra.sweeper.direction",
    "hydra.sweeper.params",
    "hydra.sweeper.trials",
    "hydra.sweeper.repeats",
    "hydra.sweeper.seed_key",
    "hydra.sweeper.custom_search_space",
    "hydra.sweeper.duplicates",
    "hydra.sweeper.storage",
)
_FIX = "type what the study has, or choose another hydra.sweeper.study_name or hydra.sweep.dir"


def overrides_hash(config: DictConfig, free_keys: Collection[str]) -> str:
    """Eight digits that the same command has again.

    Args:
        config: The sweep's configuration.
        free_keys: Keys of the task that cannot change a result.
    """
    # As typed: what ${now:...} stands for is another text each time.
    typed = OmegaConf.to_container(config.hydra.overrides, resolve=False)
    assert isinstance(typed, dict)
    task = [line for line in typed["task"] if not _is_free(line, free_keys)]
    ours = [line for line in typed["hydra"] if _is_part(line)]
    name = [config.hydra.job.config_name, config.hydra.job.name]
    text = json.dumps([name, sorted(task), sorted(ours)])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _is_free(line: str, free_keys: Collection[str]) -> bool:
    return is_below(line.partition("=")[0].lstrip("+~"), free_keys)


def _is_part(line: str) -> bool:
    key = line.partition("=")[0].lstrip("+~")
    return any(key == part or key.startswith(f"{part}.") for part in _PART_OF_IT)


def study_identity(
    options: Options, plan: Plan, config: DictConfig, free_keys: Collection[str]
) -> dict[str, Any]:
    """What two sweeps must agree on to work on one study, as JSON.

    Args:
        options: The sweeper's settings.
        plan: Tickets and space.
        config: The sweep's configuration, without the values that vary.
        free_keys: Keys of the task that cannot change a result.
    """
    # What hydra.sweeper.params sets once for all trials is in no configuration but theirs.
    typed = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    assert isinstance(typed, list)
    fixed = dict(
        line.partition("=")[::2]
        for line in plan.space.fixed
        if line not in typed and not _is_free(line, free_keys)
    )
    return {
        "space": plan.space.to_json(),
        # Not the plan's own: a larger n_trials may take more of them.
        "explicit": [dict(values) for values in plan.explicit],
        "directions": options.directions,
        "repeats": options.repeats,
        "config": {**dict(_settings(config, free_keys)), **fixed},
    }


def _settings(config: DictConfig, free_keys: Collection[str]) -> Iterator[tuple[str, Any]]:
    container = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(container, dict)
    container.pop("hydra", None)
    for key, value in dotted(container):
        if not is_below(key, free_keys):
            # As it will be read back.
            yield key, json.loads(json.dumps(value, default=str))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Fault]:
    """One fault for each thing that a study and a sweep which is to go on with it disagree on."""
    faults = []
    rule = "the study has {}"
    if old["directions"] != new["directions"]:
        had, value = (direction_text(one["directions"]) for one in (old, new))
        faults.append(Fault("hydra.sweeper.direction", value, rule.format(had), fix=_FIX))
    if old["repeats"] != new["repeats"]:
        had = rule.format(old["repeats"])
        faults.append(Fault("hydra.sweeper.repeats", new["repeats"], had, fix=_FIX))
    if old["explicit"] != new["explicit"]:
        rows = f"{len(old['explicit'])} other explicit trials"
        value = f"{len(new['explicit'])} trials"
        faults.append(Fault("hydra.sweeper.trials", value, rule.format(rows), fix=_FIX))
    for part in ("space", "config"):
        before, after = old[part], new[part]
        for key in sorted(before.keys() | after.keys()):
            if (key in before, before.get(key)) != (key in after, after.get(key)):
                shown = _values_of if part == "space" else _short
                had = f"{key}={shown(before[key])}" if key in before else f"no {key}"
                value = shown(after[key]) if key in after else "(not there)"
                faults.append(Fault(key, value, rule.format(had), fix=_FIX))
    return faults


def _values_of(dimension: Any) -> str:
    """A dimension's JSON as its values; what else stands in a space's JSON as it is."""
    if not isinstance(dimension, Mapping) or not {"choices", "low"} & dimension.keys():
        return _short(dimension)
    if "choices" in dimension:
        text = ",".join(map(str, dimension["choices"]))
    else:
        step = f" in steps of {dimension['step']}" if dimension["step"] is not None else ""
        log = " (logarithmic)" if dimension["log"] else ""
        text = f"{dimension['low']} to {dimension['high']}{step}{log}"
    when = f" when {' and '.join(dimension['when'])}" if dimension["when"] else ""
    return _short(text + when)


def direction_text(directions: Sequence[str]) -> str:
    """Directions as they are typed: one, or a list of several."""
    return directions[0] if len(directions) == 1 else f"[{','.join(directions)}]"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def quoted(value: str) -> str:
    """A text as Hydra reads it back from an override, whatever is in it."""
    return QuotedString(text=value, quote=Quote.single).with_quotes()
