"""What was typed behind the program's name, composed once more to tell all that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from resnet_sweep.config import composed_faults
from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.models.allow import take_allow
from resnet_sweep.models.config import allow
from resnet_sweep.paths import config_dir
from resnet_sweep.refusals import REFUSED, all_faults
from resnet_sweep.trusted import typed_commands


@dataclass(frozen=True)
class Command:
    """A command of Hydra's.

    Attributes:
        overrides: As typed.
        root: Folder of the primary configuration.
        name: Of the primary configuration.
        folder: One more folder of configurations, from ``--config-dir``.
        is_multirun: Whether it is a sweep.
        shows_config: Whether the task's configuration is only to be printed.
    """

    overrides: tuple[str, ...]
    root: Path
    name: str
    folder: str | None
    is_multirun: bool
    shows_config: bool

    @classmethod
    def typed(cls, arguments: Sequence[str]) -> Command:
        """Reads the arguments, which Hydra has accepted.

        Args:
            arguments: Without the program's name.
        """
        found = get_args(arguments)
        root = config_dir() if found.config_path is None else Path(found.config_path)
        return cls(
            overrides=tuple(found.overrides),
            root=root.absolute(),
            name=found.config_name or "config",
            folder=found.config_dir,
            is_multirun=found.multirun,
            shows_config=found.cfg in ("job", "all"),
        )

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration with some of the overrides; of what is swept none.

        Args:
            overrides: As typed.

        Raises:
            Exception: One of ``REFUSED``.
        """
        texts = list(overrides)
        if self.is_multirun:
            parsed = OverridesParser.create().parse_overrides(texts)
            texts = [
                cast(str, one.input_line)
                for one in parsed
                if not one.is_sweep_override() or one.is_hydra_override()
            ]
        if self.folder is not None:
            # Quoted, because paths may hold what Hydra's grammar gives a meaning to.
            path = str(Path(self.folder).expanduser().absolute()).replace("'", "\\'")
            texts.append(f"hydra.searchpath=['file://{path}']")
        with initialize_config_dir(config_dir=str(self.root)):
            return compose(self.name, texts, return_hydra_config=True)

    def faults(self, error: Exception) -> list[Fault]:
        """All that is wrong with a command that was refused; none if it is not the command.

        Args:
            error: What was raised for it.
        """
        places = (("--config-dir", self.folder), ("--config-path", self.root))
        missing = [
            Fault(option, folder, "is not a folder")
            for option, folder in places
            if folder is not None and not Path(folder).is_dir()
        ]
        if missing:
            return missing
        try:
            self.compose(self.overrides)
        except REFUSED:
            return all_faults(error, self.overrides, self.compose)
        return []

    def shown_faults(self) -> list[Fault]:
        """What is wrong with the configuration that was printed."""
        return composed_faults(self.compose(self.overrides))


def take_trusted(arguments: list[str]) -> list[str]:
    """Takes note of what is trusted because it is typed: modules, and settings that are commands.

    Args:
        arguments: Without the program's name.

    Returns:
        Those that are for Hydra.

    Raises:
        ConfigError: ``--allow`` has no module.
    """
    rest = take_allow(arguments)
    allow(typed_commands(rest))
    return rest


def check_shown(arguments: Sequence[str]) -> None:
    """Refuses a faulty configuration after it was printed, with ``--cfg``.

    Args:
        arguments: Without the program's name.

    Raises:
        ConfigError: Something is wrong with it.
    """
    command = Command.typed(arguments)
    faults = command.shown_faults() if command.shows_config else []
    if faults:
        raise ConfigError(faults)
