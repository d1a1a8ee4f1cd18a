"""What a person may set and a file may not: which code runs, commands, the environment.

Everything here goes by one list, RESNET_SWEEP_ALLOW: ``--allow`` adds to it, and so does who
types such a setting on the command line. No file can.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.models.config import allowed_names, extra_modules

# What Hydra may build from ``_target_``, and from the classes of its logging, by their exact
# names. With whole packages a file could call any function in them, with arguments of its own;
# logging has handlers that send to a network, and one that listens.
TARGETS = (
    "resnet_sweep.hooks.CheckFirst",
    "resnet_sweep.hooks.TableLast",
    "resnet_sweep.app.TrialTask",
    "logging.Filter",
    "logging.NullHandler",
    "logging.StreamHandler",
    "logging.FileHandler",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
)
# What is run as a command, decides what is run, or tells a process where to send code.
COMMANDS = (
    "hydra.job.env_set",
    "hydra.launcher.setup",
    "hydra.launcher.python",
    "hydra.launcher.srun_args",
    "hydra.launcher.additional_parameters",
    "hydra.launcher.ray.init.address",
    "hydra.launcher.ray.init.runtime_env",
    "hydra.launcher.ray.init.dashboard_host",
    "hydra.launcher.ray.remote.runtime_env",
)
# Of an address and a host: this machine.
_HERE = ("auto", "local", "localhost", "127.0.0.1")


def execution_whitelist() -> list[str]:
    """What hydra.main may build: our own hooks, logging to files, what the user allows."""
    return [*TARGETS, *(f"{module}.*" for module in extra_modules())]


def typed_commands(arguments: Sequence[str]) -> list[str]:
    """The settings among COMMANDS that are typed on a command line.

    Args:
        arguments: Of the command, without the program's name.
    """
    keys = [word.lstrip("+~").partition("=")[0] for word in arguments if "=" in word]
    return [key for key in keys if any(_is_at(key, command) for command in COMMANDS)]


def command_faults(config: DictConfig) -> list[Fault]:
    """Settings among COMMANDS that a file has made.

    Args:
        config: Composed, with Hydra's part.
    """
    # The environment's own values, which Hydra writes beside those that a file gives.
    copied = {f"hydra.job.env_set.{name}" for name in config.hydra.job.env_copy}
    allowed = allowed_names()
    faults = []
    for command in COMMANDS:
        value = OmegaConf.select(config, command, throw_on_missing=False, default=None)
        for key, text in _leaves(command, value):
            if key not in copied and not any(_is_at(key, name) for name in allowed):
                rule = "is a command or an environment, which no file may give"
                fix = f"if you trust it, type it, or add --allow {command}"
                faults.append(Fault(key, text, rule, fix=fix))
    return faults


def guard_plugins() -> None:
    """Lets no sweeper and no launcher begin whose commands a file has given.

    Here and not in a callback of Hydra's, which a file can take out of the configuration.
    """
    for name in ("instantiate_sweeper", "instantiate_launcher"):
        original = getattr(Plugins, name)
        if not hasattr(original, "__wrapped__"):
            setattr(Plugins, name, _guarded(original))


def _guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def checked(*args: Any, **kwargs: Any) -> Any:
        faults = command_faults(signature.bind(*args, **kwargs).arguments["config"])
        if faults:
            raise ConfigError(faults)
        return original(*args, **kwargs)

    return checked


def _is_at(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is set at or below a key; nothing where that is nothing."""
    if OmegaConf.is_config(value):
        # Unresolved: what it stands for is not worth asking for.
        value = OmegaConf.to_container(value, resolve=False)
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(f"{key}.{name}", item)
    elif value is not None and value not in ("", [], *_HERE):
        yield key, value
