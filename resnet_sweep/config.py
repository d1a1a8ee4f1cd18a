"""The schema of the whole configuration: the rooms' dataclasses, joined and checked together."""

from __future__ import annotations

import copy
import dataclasses
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from resnet_sweep.data import num_classes_of
from resnet_sweep.data.config import DATA_CONFIGS, DataConfig, check_data
from resnet_sweep.faults import ConfigError, Fault, in_range
from resnet_sweep.models.config import ModelConfig, check_model, check_model_for
from resnet_sweep.refusals import faults_of, loose_booleans, rule_of
from resnet_sweep.training.config import (
    OPTIMIZER_CONFIGS,
    SCHEDULER_CONFIGS,
    ObjectiveConfig,
    OptimizerConfig,
    SchedulerConfig,
    TrainerConfig,
    check_objective,
    check_optimizer,
    check_scheduler,
    check_trainer,
    direction_of,
)

# Hydra's help hides groups below hydra/, and these are none that a user chooses from.
SCHEMA_GROUP = "hydra/schema"


@dataclass
class Config:
    """Everything that one run is made of."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    scheduler: SchedulerConfig = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)


def register_schema() -> None:
    """Makes the schema known to Hydra; conf/ refers to it. May be called more than once."""
    store = ConfigStore.instance()
    store.store(name="resnet_sweep_schema", node=Config, replace=True)
    for group, nodes in (
        ("data", DATA_CONFIGS),
        ("optimizer", OPTIMIZER_CONFIGS),
        ("scheduler", SCHEDULER_CONFIGS),
    ):
        for node in nodes:
            # Every node's class has a name field whose default is the choice's own name.
            name = node().name
            store.store(group=f"{SCHEMA_GROUP}/{group}", name=name, node=node, replace=True)
    OmegaConf.register_resolver("direction_of", direction_of, replace=True)
    # A study made of another one is named after its folder.
    OmegaConf.register_resolver("folder_name", lambda path: Path(path).name, replace=True)
    # Two runs that start in the same second need two folders.
    OmegaConf.register_resolver(
        "run_id", lambda: secrets.token_hex(3), use_cache=True, replace=True
    )
    # For --help, as what is installed adds launchers.
    OmegaConf.register_resolver("choices_of", _choices_of, replace=True)


def _choices_of(group: str) -> str:
    hydra = GlobalHydra.instance()
    if not hydra.is_initialized():
        return ""
    return ", ".join(sorted(hydra.config_loader().get_group_options(group)))


def to_config(cfg: DictConfig) -> Config:
    """Turns a composed configuration into dataclasses; the only place that does.

    Args:
        cfg: Composed by Hydra; its own part, ``hydra``, is left out if it is there.

    Raises:
        ConfigError: Values that must be given are missing, what stands for others cannot be
            found, or a key was added (``+optimizer.foo=1``) that nothing reads; with what else
            is wrong, as far as it can be told.
    """
    ours = copy.deepcopy(cfg)
    with read_write(ours), open_dict(ours):
        ours.pop("hydra", None)
    faults = _unset(ours)
    if faults:
        raise ConfigError(faults)
    try:
        config = cast(Config, OmegaConf.to_object(ours))
    except (OmegaConfBaseException, RecursionError) as error:
        raise ConfigError(faults_of(error)) from error
    unknown = _unknown_keys(config)
    if unknown:
        raise ConfigError(
            [
                *(
                    Fault(key, value, "is no setting; nothing would read it")
                    for key, value in unknown.items()
                ),
                *check_config(config),
            ]
        )
    return config


def composed_faults(cfg: DictConfig) -> list[Fault]:
    """Everything that is wrong with a composed configuration, found without torch or images.

    Args:
        cfg: Composed by Hydra, with its own part, ``hydra``.
    """
    loose = loose_booleans(cfg)
    try:
        return loose + check_config(to_config(cfg))
    except ConfigError as error:
        return loose + list(error.faults)


def _unset(node: Any, prefix: str = "") -> list[Fault]:
    """Faults of what must be given, and of what stands for something that is not there."""
    faults: list[Fault] = []
    names = list(node) if isinstance(node, DictConfig) else range(len(node))
    for name in names:
        key = f"{prefix}.{name}" if prefix else str(name)
        raw = node._get_node(name)
        if raw is not None and raw._is_missing():
            faults.append(Fault(key, "???", "must be set", fix=f"type {key}=..."))
            continue
        try:
            value = node[name]
        except OmegaConfBaseException as error:
            faults.append(Fault(key, raw._value(), rule_of(error)))
            continue
        # What stands for another node is looked at there.
        if OmegaConf.is_config(value) and not raw._is_interpolation():
            faults += _unset(value, key)
    return faults


def _unknown_keys(node: Any, prefix: str = "") -> dict[str, Any]:
    """Keys that OmegaConf let somebody add to a dataclass, with their values."""
    fields = {field.name for field in dataclasses.fields(node)}
    unknown: dict[str, Any] = {}
    for name, value in vars(node).items():
        if name not in fields:
            unknown[f"{prefix}{name}"] = value
        elif dataclasses.is_dataclass(value):
            unknown.update(_unknown_keys(value, f"{prefix}{name}."))
    return unknown


def with_absolute_paths(config: Config, folder: Path) -> Config:
    """The configuration with paths that do not depend on the working directory any more.

    Args:
        config: Any configuration.
        folder: What its relative paths are relative to.
    """
    config = copy.deepcopy(config)
    for group, name in (
        (config.data, "root"),
        (config.data, "val_root"),
        (config.data, "cache_dir"),
        (config.model, "weights"),
    ):
        value = getattr(group, name, None)
        if value is not None:
            setattr(group, name, str(folder / Path(value).expanduser()))
    return config


def check_config(config: Config) -> list[Fault]:
    """Everything that is wrong with a configuration, found without torch, images or a device."""
    faults = check_model(config.model)
    faults += check_data(config.data)
    faults += check_optimizer(config.optimizer)
    faults += check_scheduler(config.scheduler)
    faults += check_trainer(config.trainer)
    faults += check_objective(config.objective)
    # Only what is no fault for a better reason: beyond these numbers overflow in torch.
    told = {fault.key for fault in faults}
    faults += [one for one in _huge_numbers(config) if one.key not in told]
    return faults + _check_together(config)


def _huge_numbers(node: Any, prefix: str = "") -> list[Fault]:
    """Faults of whole numbers that do not fit into 32 bits; of a seed, into 64."""
    faults: list[Fault] = []
    for one in dataclasses.fields(node):
        key, value = f"{prefix}{one.name}", getattr(node, one.name)
        if dataclasses.is_dataclass(value):
            faults += _huge_numbers(value, f"{key}.")
        elif isinstance(value, int):
            most = 2**63 if one.name.endswith("seed") else 2**31
            faults += in_range(key, value, at_least=-most, below=most)
    return faults


def _check_together(config: Config) -> list[Fault]:
    """What only shows when the groups are seen side by side."""
    data, trainer = config.data, config.trainer
    num_classes = num_classes_of(data)
    faults = check_model_for(config.model, num_classes, data.channels, data.image_size)
    if data.num_train is not None and 0 < data.num_train < trainer.batch_size:
        faults.append(
            Fault(
                "trainer.batch_size",
                trainer.batch_size,
                f"is larger than the training split of data.num_train={data.num_train} images",
            )
        )
    return faults
