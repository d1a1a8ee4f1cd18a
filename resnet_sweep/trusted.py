"""What a person may set and a file may not: which code runs, commands, the environment.

Everything here goes by one list, RESNET_SWEEP_ALLOW: ``--allow`` adds to it, and so does who
types such a setting on the command line. No file can.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
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
    # Of Ray nearly everything: what its functions take is theirs to say, hooks and folders of
    # sockets among it, and more with each version.
    "hydra.launcher.ray.init",
    "hydra.launcher.ray.remote",
    "hydra.launcher.ray.cluster",
    "hydra.launcher.env_setup",
    "hydra.launcher.sync_up",
    "hydra.launcher.sync_down",
)
# What a file may say all the same: how much of a machine is taken, and what is printed.
_HARMLESS = (
    *(
        f"hydra.launcher.ray.init.{name}"
        for name in (
            *("num_cpus", "num_gpus", "object_store_memory", "resources", "labels"),
            *("log_to_driver", "logging_level", "ignore_reinit_error"),
        )
    ),
    *(
        f"hydra.launcher.ray.remote.{name}"
        for name in (
            *("num_cpus", "num_gpus", "memory", "resources", "accelerator_type"),
            *("label_selector", "scheduling_strategy", "max_calls", "max_retries"),
        )
    ),
)
# And these, with this value only.
_HARMLESS_VALUES = {
    "hydra.launcher.ray.init.address": "local",
    "hydra.launcher.ray.init.include_dashboard": False,
}


def execution_whitelist() -> list[str]:
    """What hydra.main may build: our own hooks, logging to files, what the user allows."""
    return [*TARGETS, *(f"{module}.*" for module in extra_modules())]


def typed_commands(arguments: Sequence[str]) -> list[str]:
    """The settings among COMMANDS that are typed on a command line.

    Of a mapping those in it, and not the whole: Hydra adds them to what files have there.

    Args:
        arguments: Of the command, without the program's name.
    """
    keys: list[str] = []
    for word in arguments:
        if word.lstrip("+").startswith("hydra"):
            keys += (key for key, _ in _typed_leaves(word))
    return [key for key in dict.fromkeys(keys) if any(_is_at(key, name) for name in COMMANDS)]


def command_faults(config: DictConfig) -> list[Fault]:
    """Settings among COMMANDS that a file has made.

    Args:
        config: Composed, with Hydra's part.
    """
    # The environment's own values, which Hydra writes beside those that a file gives.
    copied = {_below("hydra.job.env_set", name) for name in config.hydra.job.env_copy}
    # What one of these launchers has by itself is no file's either.
    own = list(_own_leaves())
    allowed = (*allowed_names(), *copied, *_HARMLESS)
    faults = []
    for command in COMMANDS:
        value = OmegaConf.select(config, command, throw_on_missing=False, default=None)
        for key, text in _leaves(command, value):
            is_harmless = _is_one_of((key, text), [*_HARMLESS_VALUES.items(), *own])
            if not is_harmless and not any(_is_at(key, name) for name in allowed):
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


def _below(key: str, name: object) -> str:
    # A name with a dot in it is not a name below another.
    return f"{key}.{str(name).replace('.', chr(92) + '.')}"


def _is_one_of(leaf: tuple[str, Any], leaves: Sequence[tuple[str, Any]]) -> bool:
    # By type as well: 0 and False are equal.
    return any(leaf == one and type(leaf[1]) is type(one[1]) for one in leaves)


def _typed_leaves(word: str) -> Iterator[tuple[str, Any]]:
    """What a word of the command line sets; nothing where it is not for Hydra to read."""
    try:
        override = OverridesParser.create().parse_override(word)
        value = override.value()
    except HydraException:
        return
    if override.type != OverrideType.DEL:
        choices = value.list if isinstance(value, ChoiceSweep) else [value]
        for one in choices:
            yield from _leaves(override.key_or_group, one)


def _own_leaves() -> Iterator[tuple[str, Any]]:
    """What Ray's launchers have set before any file is read."""
    launchers = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for name in ("ray.yaml", "ray_aws.yaml"):
        if name in launchers:
            yield from _leaves("hydra.launcher", launchers[name].node)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is set at or below a key; nothing where that is nothing."""
    if OmegaConf.is_config(value):
        # Unresolved: what it stands for is not worth asking for.
        value = OmegaConf.to_container(value, resolve=False)
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(_below(key, name), item)
    elif value is not None and value not in ("", []):
        yield key, value
