"""From the model group to a network that fits the data."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.literal import literal
from resnet_sweep.models.config import (
    ALLOW_VARIABLE,
    ModelConfig,
    allowed_modules,
    check_model,
    check_model_for,
    extra_modules,
    is_in,
)
from resnet_sweep.models.locating import locating_fault, one_line
from resnet_sweep.models.probe import meta_output_of, output_of
from resnet_sweep.models.resnet import resnet_of
from resnet_sweep.models.weights import load_weights

# A batch of two, because some networks mistake a batch of one for no batch at all.
_NUM_PROBES = 2


def build_model(
    config: ModelConfig, num_classes: int, in_channels: int, image_size: int
) -> nn.Module:
    """Builds the network of a config, loads its weights, and checks that it fits the data.

    Args:
        config: The model group; its own ``num_classes`` and ``in_channels`` win where set.
        num_classes: Classes of the data.
        in_channels: Channels of the data's images.
        image_size: Height and width of the images in pixels.

    Returns:
        A network on the CPU in training mode that maps float32 images
        (N, in_channels, image_size, image_size) to logits (N, classes).

    Raises:
        ConfigError: The config breaks a rule, the network cannot be built, its weights cannot
            be loaded, or it does not fit the data.
    """
    faults = check_model(config)
    faults += check_model_for(config, num_classes, in_channels, image_size)
    if config._target_ is not None:
        faults += _check_kwargs(config)
    if faults:
        raise ConfigError(faults)
    num_outputs = num_classes if config.num_classes is None else config.num_classes
    channels = in_channels if config.in_channels is None else config.in_channels
    if config._target_ is None:
        model: nn.Module = resnet_of(config, num_outputs, channels)
    else:
        model = _foreign(config._target_, config.kwargs, num_outputs, channels)
    if config.weights is not None:
        load_weights(model, config)
    if config._target_ is not None:
        # Ours are known to fit; to try one out would cost a second of imports.
        shape = (in_channels, image_size, image_size)
        faults = _check_fit(model, config._target_, shape, num_outputs)
    if faults:
        raise ConfigError(faults)
    return model.train()


def _foreign(target: str, kwargs: dict[str, Any], num_classes: int, in_channels: int) -> nn.Module:
    """Builds somebody else's network, by Hydra's rules of what a config may call."""
    # Hydra is slow to import, and our own networks do without it.
    from hydra.utils import instantiate

    # What ${...} stood for has been put in its place; a text that is left must stay one, or it
    # could become a _target_ that nobody has looked at.
    node = {"_target_": target, "_partial_": True, "_convert_": "all", **literal(kwargs)}
    whitelist = [f"{module}.*" for module in allowed_modules()]
    sizes = {"num_classes": num_classes}
    try:
        # Partial, because the sizes to pass depend on the signature, and only Hydra may
        # import the target: it judges the name first, and then what the name leads to.
        build = instantiate(node, _execution_whitelist_=whitelist)
        if "in_channels" not in kwargs and _has_parameter(build, "in_channels"):
            sizes["in_channels"] = in_channels
        model = build(**sizes)
    except Exception as error:
        # Whatever a stranger's network raises is for the user to see as one line.
        fault = locating_fault("model._target_", target, error)
        rule = f"cannot be built: {one_line(error)}"
        raise ConfigError([fault or Fault("model._target_", target, rule)]) from error
    if not isinstance(model, nn.Module):
        rule = f"gives {type(model).__name__}, not a torch.nn.Module"
        raise ConfigError([Fault("model._target_", target, rule)])
    return model


def _has_parameter(function: Any, name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        # Some callables of C extensions tell no signature.
        return False


def _targets(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Everything that a value asks Hydra to build or to obey, by its dotted key."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if str(name) in ("_target_", "_execution_whitelist_"):
                yield f"{key}.{name}", item
            yield from _targets(f"{key}.{name}", item)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _targets(f"{key}[{i}]", item)


def _check_targets(key: str, value: Any) -> list[Fault]:
    """Faults of what is to be built for a network's argument.

    Only in modules that the user allows: those that are trusted without being asked for are
    trusted for networks, and have functions that fetch files and run what is in them.
    """
    rule = "is outside the modules that --allow names; for arguments only these can be used"
    faults = []
    for where, target in _targets(key, value):
        if where.endswith("._execution_whitelist_") or not is_in(str(target), extra_modules()):
            module = str(target).rpartition(".")[0] or target
            fix = f"if you trust it, add --allow {module} or set {ALLOW_VARIABLE}={module}"
            faults.append(Fault(where, target, rule, fix=fix))
    return faults


def _check_kwargs(config: ModelConfig) -> list[Fault]:
    faults = []
    for name, value in config.kwargs.items():
        key = f"model.kwargs.{name}"
        if name == "num_classes":
            faults.append(Fault(key, value, "is passed already", fix="type model.num_classes=N"))
        elif name.startswith("_") and name.endswith("_"):
            # Hydra would read them as orders to itself: another target, other arguments.
            faults.append(Fault(key, value, "is not a keyword argument of a network"))
        else:
            faults += _check_targets(key, value)
    return faults


def _check_fit(
    model: nn.Module, target: str, image_shape: tuple[int, int, int], num_outputs: int
) -> list[Fault]:
    """Whether ``model`` maps a batch of the data's images to logits; it is left as it is."""
    shape, needed = (_NUM_PROBES, *image_shape), (_NUM_PROBES, num_outputs)
    try:
        output = output_of(model, shape)
    except Exception as error:
        rule = f"does not take a batch of images of shape {shape}: {one_line(error)}"
        return [Fault("model._target_", target, rule)]
    found = _describe_output(output)
    if found == str(needed):
        found = _found_in_training(model, shape, needed)
    if found == str(needed):
        return []
    rule = f"maps a batch of images of shape {shape} to {found}, needed is {needed}"
    return [Fault("model._target_", target, rule)]


def _found_in_training(model: nn.Module, shape: tuple[int, ...], needed: tuple[int, int]) -> str:
    """What comes out in training mode: some networks add the outputs of auxiliary heads."""
    try:
        output = meta_output_of(model, shape, training=True)
    except Exception:
        # Only values could tell, and a step with values would change running statistics.
        return str(needed)
    found = _describe_output(output)
    return found if found == str(needed) else f"{found} in training"


def _describe_output(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
