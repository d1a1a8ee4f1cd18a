"""Settings of the model group, without torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_sweep.faults import Fault, in_range, one_of

DEPTHS = (18, 34, 50, 101, 152)
STRIDE_ON = ("1x1", "3x3")
# The stem and the stages halve height and width five times.
MIN_IMAGE_SIZE = 32
# Modules whose networks model._target_ may name without being asked for.
TRUSTED_MODULES = ("torchvision.models", "resnet_sweep.models")
ALLOW_VARIABLE = "RESNET_SWEEP_ALLOW"


def _names_in(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


class _Allowed:
    """What the user trusts beside TRUSTED_MODULES, as the process was started.

    Not read again: ``hydra.job.env_set`` in a file sets variables while a job runs.
    """

    names = _names_in(os.environ.get(ALLOW_VARIABLE, ""))


@dataclass
class ModelConfig:
    """A residual network or its plain twin, or any other network by ``_target_``."""

    # Layers with weights: 18, 34 (two 3x3 a block) or 50, 101, 152 (bottlenecks).
    depth: int = 50
    # True leaves out every skip connection.
    plain: bool = False
    # Outputs of the last layer; null takes the number of classes of the data.
    num_classes: int | None = None
    # Channels of the images; null takes those of the data.
    in_channels: int | None = None
    # Convolutions have a bias (the study: true; torchvision: false).
    conv_bias: bool = True
    # Batch norm after the 1x1 projection of a shortcut (the study: false; torchvision: true).
    shortcut_norm: bool = False
    # Which convolution of a bottleneck downsamples (the study: 1x1; torchvision: 3x3).
    stride_on: str = "1x1"
    # The last batch norm of each residual branch starts at zero (Goyal et al. 2017, 5.1).
    zero_init_last_norm: bool = False
    # File of weights: a checkpoint of ours, or a state dict of ours or torchvision's.
    weights: str | None = None
    # Dotted path of another network, from an allowed module; null builds ours.
    _target_: str | None = None
    # Keyword arguments of that network beside num_classes.
    kwargs: dict[str, Any] = field(default_factory=dict)


def is_captured(config: ModelConfig) -> bool:
    """Whether a step of the network may be recorded and replayed without its Python.

    A network of a stranger may draw from Python's own generators or count its calls.
    """
    target = config._target_
    return target is None or target.startswith(tuple(f"{name}." for name in TRUSTED_MODULES))


def allow(names: Sequence[str]) -> None:
    """Adds to what the user trusts, for this process and for those that it starts.

    Args:
        names: Dotted, of modules and of settings; from the command line, never from a file.
    """
    _Allowed.names = tuple(dict.fromkeys((*_Allowed.names, *names)))
    os.environ[ALLOW_VARIABLE] = ",".join(_Allowed.names)


def allowed_names() -> tuple[str, ...]:
    """What the user trusts: of modules, and of settings that only a person may make."""
    return _Allowed.names


def extra_modules() -> tuple[str, ...]:
    """Modules that the user trusts beside TRUSTED_MODULES."""
    return tuple(name for name in _Allowed.names if not name.startswith("hydra."))


def allowed_modules() -> tuple[str, ...]:
    """Modules that ``model._target_`` may name.

    Only the environment and the command line extend the list (the entrypoint turns
    ``--allow MODULE`` into the variable), never a file: a config file from a stranger
    must not be able to run code.
    """
    return TRUSTED_MODULES + extra_modules()


def is_allowed(target: str) -> bool:
    """Whether the dotted path ``target`` lies inside an allowed module."""
    return is_in(target, allowed_modules())


def is_in(target: str, modules: Sequence[str]) -> bool:
    """Whether a dotted path lies inside one of the modules."""
    return any(target.startswith(f"{module}.") for module in modules)


def check_model(config: ModelConfig) -> list[Fault]:
    """Everything that is wrong with the model group by itself."""
    faults = in_range("model.num_classes", config.num_classes, at_least=2)
    faults += in_range("model.in_channels", config.in_channels, at_least=1)
    if config.weights is not None and not Path(config.weights).expanduser().is_file():
        faults.append(Fault("model.weights", config.weights, "is not a file"))
    if config._target_ is not None:
        return faults + _check_target(config._target_)
    if config.depth not in DEPTHS:
        faults.append(Fault("model.depth", config.depth, "is not known", tuple(map(str, DEPTHS))))
    faults += one_of("model.stride_on", config.stride_on, STRIDE_ON)
    if config.plain and config.zero_init_last_norm:
        # Without a skip connection a branch of zeros is a network of zeros: nothing would learn.
        faults.append(
            Fault(
                "model.zero_init_last_norm",
                True,
                "is for networks with skip connections",
                fix="type model.zero_init_last_norm=false or model.plain=false",
            )
        )
    if config.kwargs:
        faults.append(Fault("model.kwargs", config.kwargs, "belongs to model._target_, not set"))
    return faults


def check_model_for(
    config: ModelConfig, num_classes: int | None, channels: int, image_size: int
) -> list[Fault]:
    """Everything that is wrong with a network for this data.

    Args:
        config: The model group.
        num_classes: Classes of the data, or None where they are not known yet.
        channels: Of the images.
        image_size: Height and width of the images in pixels.
    """
    faults: list[Fault] = []
    if config.num_classes is not None and config.num_classes < (num_classes or 0):
        faults.append(
            Fault(
                "model.num_classes",
                config.num_classes,
                f"is less than the {num_classes} classes of the data",
                fix="leave model.num_classes=null to take the data's",
            )
        )
    if config._target_ is None and 0 < image_size < MIN_IMAGE_SIZE:
        rule = f"is too small for this network, which needs at least {MIN_IMAGE_SIZE} pixels"
        faults.append(Fault("data.image_size", image_size, rule))
    if config.in_channels is not None and config.in_channels != channels:
        faults.append(
            Fault(
                "model.in_channels",
                config.in_channels,
                f"does not fit the data, whose images have data.channels={channels}",
                fix="leave model.in_channels=null to take the data's",
            )
        )
    return faults


def _check_target(target: str) -> list[Fault]:
    if is_allowed(target):
        return []
    module = target.rpartition(".")[0] or target
    return [
        Fault(
            "model._target_",
            target,
            f"is outside the allowed modules ({', '.join(allowed_modules())})",
            fix=f"if you trust it, add --allow {module} or set {ALLOW_VARIABLE}={module}",
        )
    ]


def model_name(config: ModelConfig) -> str:
    """What a person calls the network: "ResNet-50", "Plain-18", or its dotted path."""
    if config._target_ is not None:
        return config._target_
    return network_name(config.depth, config.plain)


def network_name(depth: int, plain: bool) -> str:
    """What a person calls one of our networks: "ResNet-50" or "Plain-18"."""
    return f"{'Plain' if plain else 'ResNet'}-{depth}"
