"""The best trials of an earlier study, and the configuration that each of them had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.study.canonical import canonical
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.sweep.encoding import plain
from resnet_sweep.sweep.explicit import FORMS, KEY
from resnet_sweep.yaml_files import CONFIG_ERRORS, config_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Former:
    """A trial of an earlier study.

    Attributes:
        number: Of Optuna.
        values: Its parameters under dotted keys.
        config: The task's configuration as the trial had it, interpolations unresolved.
        choices: What was chosen from each group, those of Hydra left out.
        objectives: What it reached.
    """

    number: int
    values: Mapping[str, Any]
    config: Mapping[str, Any]
    choices: Mapping[str, Any]
    objectives: tuple[float, ...]


@dataclass(frozen=True)
class Earlier:
    """What is taken from an earlier study.

    Attributes:
        name: Its folder, as it was typed.
        folder: The same, absolute.
        directions: Of its objectives.
        trials: Its best, best first.
    """

    name: str
    folder: Path
    directions: tuple[str, ...]
    trials: tuple[Former, ...]


def read_earlier(spec: Mapping[Any, Any], base: Path) -> Earlier:
    """Reads the best trials of an earlier study.

    Args:
        spec: ``{study: FOLDER, best: k}``, from ``hydra.sweeper.trials``.
        base: What a relative folder is relative to.

    Raises:
        ConfigError: All that is wrong with the two; what a trial had is not on disk any more.
    """
    faults = _spec_faults(spec)
    if faults:
        raise ConfigError(faults)
    name, num = spec["study"], spec["best"]
    study = _open(base / name)
    from resnet_sweep.study.storage import close_storage

    try:
        ranked = _ranked(study, num)
        if len(ranked) < num:
            rule = f"is more than the {len(ranked)} different trials that {name} has completed"
            raise ConfigError([Fault(f"{KEY}.best", num, rule)])
        reader = _Reader(study, base / name)
        trials = tuple(map(reader.read, ranked))
        directions = tuple(one.name.lower() for one in study.directions)
    finally:
        close_storage(study._storage)
    if reader.faults:
        raise ConfigError(reader.faults)
    return Earlier(name, base / name, directions, trials)


def _spec_faults(spec: Mapping[Any, Any]) -> list[Fault]:
    if set(spec) != {"study", "best"}:
        return [Fault(KEY, dict(spec), "is of no known form", FORMS)]
    name, num = spec["study"], spec["best"]
    faults = []
    if name == "???":
        fix = f"type {KEY}.study=outputs/STUDY"
        faults.append(Fault(f"{KEY}.study", name, "must be set", fix=fix))
    elif not isinstance(name, str) or not name:
        faults.append(Fault(f"{KEY}.study", name, "must be the folder of a study"))
    if isinstance(num, bool) or not isinstance(num, int) or num < 1:
        faults.append(Fault(f"{KEY}.best", num, "must be a whole number of trials, at least 1"))
    return faults


def _open(folder: Path) -> Study:
    from resnet_sweep.study.reading import open_study

    try:
        return open_study(folder)
    except ConfigError as error:
        # They speak of a folder that was named here.
        faults = [Fault(f"{KEY}.study", one.value, one.rule, fix=one.fix) for one in error.faults]
        raise ConfigError(faults) from error


class _Reader:
    """Reads what Hydra has left in the folders of a study's trials."""

    def __init__(self, study: Study, folder: Path) -> None:
        self._trials = study.get_trials(deepcopy=False)
        self._space = study.user_attrs.get("space", {})
        self._folder = folder
        # Whoever has opened the study has read this file.
        master = config_of(StudyFolder(folder).multirun_yaml)
        self._subdir: str | None = OmegaConf.select(master, "hydra.output_subdir", default=".hydra")
        self.faults: list[Fault] = []

    def read(self, trial: FrozenTrial) -> Former:
        """A trial's values and configuration; without the latter, and a fault, if it is lost."""
        values = {
            key: _typed(value, self._space.get(key, {}).get("choices", ()))
            for key, value in trial.params.items()
        }
        config: Mapping[str, Any] = {}
        choices: Mapping[str, Any] = {}
        place = self._place(trial)
        rule = f"has no config.yaml of its trial {trial.number}, so its settings are not known"
        if place is not None:
            try:
                config = _load(place / "config.yaml")
                choices = _load(place / "hydra.yaml")["hydra"]["runtime"]["choices"]
            except (*CONFIG_ERRORS, KeyError, TypeError) as error:
                reason = " ".join(str(error).split())
                rule = f"cannot tell the settings of its trial {trial.number}: {reason}"
                place = None
        if place is None:
            fix = f"type its trials as {KEY}=[{{key: value}}], and the settings that they had"
            self.faults.append(Fault(f"{KEY}.study", self._folder, rule, fix=fix))
        kept = {key: value for key, value in choices.items() if not key.startswith("hydra/")}
        # No run has a part of Hydra's there, and it would count as typed.
        config = {key: value for key, value in config.items() if key != "hydra"}
        return Former(trial.number, values, config, kept, tuple(trial.values))

    def _place(self, trial: FrozenTrial) -> Path | None:
        """Where Hydra has written the configuration of a trial's first run."""
        # Optuna, which not every application of the environment needs.
        from resnet_sweep.sweep.ranking import attempt_before

        one: FrozenTrial | None = trial
        while one is not None:
            folder = StudyFolder(self._folder).below(one.user_attrs.get("folder"))
            for run in () if folder is None else (folder, folder / "0"):
                path = StudyFolder(run).below(self._subdir)
                if path is not None and (path / "config.yaml").is_file():
                    return path
            # A run that an earlier attempt had ended was not run again.
            one = attempt_before(one, self._trials, ("retry_of", "duplicate_of"))
        return None


def _load(path: Path) -> dict[str, Any]:
    # As Hydra saved it: what ${...} stands for is found out anew.
    container = OmegaConf.to_container(config_of(path), resolve=False, enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _typed(value: Any, choices: Sequence[str]) -> Any:
    """A list or mapping that Optuna was told as its text; all else as it is.

    Args:
        value: Of a trial's parameter.
        choices: What was typed for it, where a text that looks like a list stands in quotes.
    """
    if not isinstance(value, str) or value[:1] not in ("[", "{") or value not in choices:
        return value
    return plain(OverridesParser.create().parse_override(f"key={value}").value())


def _ranked(study: Study, num: int) -> list[FrozenTrial]:
    """The best completed trials with different parameters, best first.

    Of several objectives those come first that no other trial beats in all of them, then those
    that only these beat, and so on; where none is better, the earlier trial comes first.
    """
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    signs = [-1.0 if one == StudyDirection.MAXIMIZE else 1.0 for one in study.directions]
    costs: dict[str, tuple[tuple[float, ...], FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        cost = tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))
        key = canonical(trial.params)
        if key not in costs or cost < costs[key][0]:
            costs[key] = (cost, trial)
    left = sorted(costs.values(), key=lambda pair: (pair[0], pair[1].number))
    ranked: list[FrozenTrial] = []
    while left and len(ranked) < num:
        front, left = _split_front(left)
        if len(signs) > 1:
            front.sort(key=lambda pair: pair[1].number)
        ranked += [trial for _, trial in front]
    return ranked[:num]


_Pair = tuple[tuple[float, ...], "FrozenTrial"]


def _split_front(left: Sequence[_Pair]) -> tuple[list[_Pair], list[_Pair]]:
    """Trials that no other dominates, and the rest; sorted by cost, so only earlier ones can."""
    front: list[_Pair] = []
    rest: list[_Pair] = []
    for pair in left:
        dominated = any(
            other[0] != pair[0]
            and all(one <= two for one, two in zip(other[0], pair[0], strict=True))
            for other in front
        )
        (rest if dominated else front).append(pair)
    return front, rest
