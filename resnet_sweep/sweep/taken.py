"""What a sweep takes from an earlier study: applied to its own configuration, and kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from resnet_sweep.study.canonical import bare_key
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.sweep.config import Options
from resnet_sweep.sweep.decided import Decided, is_below, node_of
from resnet_sweep.sweep.identity import direction_text

_DIRECTION = "hydra.sweeper.direction"


@dataclass(frozen=True)
class Command:
    """The sweep that takes over.

    Attributes:
        options: The sweeper's settings.
        arguments: Overrides of the task.
        config: The sweep's configuration.
        loader: Composes it.
        free_keys: Keys of the task that cannot change a result.
        base: What relative paths are relative to.
    """

    options: Options
    arguments: Sequence[str]
    config: DictConfig
    loader: ConfigLoader
    free_keys: Collection[str]
    base: Path

    @property
    def spec(self) -> Mapping[str, Any]:
        """``{study: FOLDER, best: k}``, perhaps with faults in it."""
        assert isinstance(self.options.trials, Mapping)
        return self.options.trials

    @property
    def asked(self) -> dict[str, Any]:
        """The same for every way to write the folder."""
        folder = (self.base / str(self.spec.get("study"))).resolve()
        return {"study": str(folder), "best": self.spec.get("best")}

    def composed(self, lines: Sequence[str]) -> DictConfig:
        """The sweep's configuration with more overrides of the task."""
        return recomposed(self.config, self.loader, typed_for_hydra(self.config), lines)

    def decided(self) -> Decided:
        """What the command sets itself; seeds are to be new ones in any case."""
        found = Decided.by_command(self.config, self.loader, self.arguments)
        found.keys |= {bare_key(key) for key in self.options.params}
        found.keys.add(self.options.seed_key)
        return found


@dataclass(frozen=True)
class Taken:
    """What a sweep takes from an earlier study.

    Attributes:
        asked: Of which study how many trials.
        trials: Values of the explicit trials.
        lines: Overrides that are the same for all of them.
        directions: Of the earlier study's objectives.
        objectives: What each trial had reached there, for the tables.
    """

    asked: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]
    lines: tuple[str, ...]
    directions: tuple[str, ...]
    objectives: tuple[tuple[float, ...], ...]

    def without(self, decided: Decided) -> Taken:
        """The same, but for lines about what a command decides itself."""
        pairs = [(bare_key(line.partition("=")[0]), line) for line in self.lines]
        choices = {key: line.partition("=")[2] for key, line in pairs}
        others = {
            node_of(group) for group, text in decided.groups.items() if choices.get(group) != text
        }
        settled = decided.keys | others
        kept = [
            line for key, line in pairs if key not in decided.groups and not is_below(key, settled)
        ]
        return dataclasses.replace(self, lines=tuple(kept))

    def to_json(self) -> dict[str, Any]:
        """What a study keeps of it."""
        return {
            "asked": dict(self.asked),
            "trials": [dict(values) for values in self.trials],
            "lines": list(self.lines),
            "directions": list(self.directions),
            "objectives": [list(values) for values in self.objectives],
        }

    def applied(self, command: Command) -> tuple[Options, DictConfig]:
        """The settings and the configuration of the sweep that takes it."""
        directions = command.options.directions
        own = typed_for_hydra(command.config)
        typed = any(bare_key(line).startswith(_DIRECTION) for line in own)
        if list(self.directions) != directions and not typed:
            # Which trials were best there says which are here.
            directions = list(self.directions)
            own.append(f"{_DIRECTION}={direction_text(directions)}")
        options = dataclasses.replace(
            command.options, trials=list(self.trials), direction=directions
        )
        return options, recomposed(command.config, command.loader, own, self.lines)


def typed_for_hydra(config: DictConfig) -> list[str]:
    """Overrides of Hydra's part as typed: ${...} means something else in each trial."""
    return _unresolved(config.hydra.overrides.hydra)


def _unresolved(lines: Any) -> list[str]:
    found = OmegaConf.to_container(lines, resolve=False)
    assert isinstance(found, list)
    return [str(line) for line in found]


def recomposed(
    config: DictConfig, loader: ConfigLoader, own: Sequence[str], more: Sequence[str] = ()
) -> DictConfig:
    """A sweep's configuration once more.

    Args:
        config: As it is.
        loader: Of today's sources, or of frozen ones.
        own: Overrides of Hydra's part, all of them.
        more: Overrides of the task, beside those that it has.
    """
    hydra = config.hydra
    made = loader.load_configuration(
        config_name=hydra.job.config_name,
        overrides=[*own, *more, *_unresolved(hydra.overrides.task)],
        run_mode=RunMode.MULTIRUN,
    )
    OmegaConf.copy_cache(from_config=config, to_config=made)
    with read_write(made), open_dict(made):
        made.hydra.mode = RunMode.MULTIRUN
        made.hydra.runtime.cwd = hydra.runtime.cwd
    return made


def kept_by(folder: StudyFolder, command: Command) -> Taken | None:
    """What a study was started with, but for what is typed otherwise now.

    Args:
        folder: The study's own.
        command: The sweep that goes on with it.

    Returns:
        None if the study was asked for something else.
    """
    from resnet_sweep.study.reading import open_study
    from resnet_sweep.study.storage import close_storage

    study = open_study(folder.path)
    try:
        kept = study.user_attrs.get("earlier")
    finally:
        close_storage(study._storage)
    # The earlier study may have grown since, or be gone: this one has its plan.
    if kept is None or kept["asked"] != command.asked:
        return None
    trials, lines, directions = (tuple(kept[name]) for name in ("trials", "lines", "directions"))
    objectives = tuple(map(tuple, kept["objectives"]))
    taken = Taken(kept["asked"], trials, lines, directions, objectives)
    return taken.without(command.decided())
