"""Weights from a file into a network: all of them or an error that says what to type."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor, nn

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.models.config import DEPTHS, ModelConfig

log = logging.getLogger(__name__)

# Key of the state dict inside a checkpoint of ours.
STATE_KEY = "model"
_NUM_NAMED = 4


def load_weights(model: nn.Module, config: ModelConfig) -> None:
    """Loads ``config.weights`` into ``model``.

    A last linear layer that was trained for another number of classes is left out, which the
    log says; everything else in the file and in the network must match.

    Args:
        model: The network, on the CPU.
        config: The model group; ``weights`` is set. Ours are told which switch does not match.

    Raises:
        ConfigError: The file cannot be read safely, holds no weights, or holds those of
            another network. ``model`` may then be loaded in part.
    """
    assert config.weights is not None
    state = _read(config.weights)
    variant = {} if config._target_ is not None else _variant_of(state)
    _warn_of_stride(config, variant)
    left_out, reshaped = _take_reshaped(state, model)
    # What is missing is for PyTorch to say: old files may lack counters it can do without.
    result = model.load_state_dict(cast(Mapping[str, Any], state), strict=False)
    taken = left_out.keys() | reshaped.keys()
    problems = [
        *_some("lacks", [name for name in result.missing_keys if name not in taken]),
        *_some("has too many:", result.unexpected_keys),
        *_some("has other shapes:", reshaped.values()),
    ]
    if problems:
        rule = f"does not fit the network: it {'; '.join(problems)}"
        raise ConfigError(
            [Fault("model.weights", config.weights, rule, fix=_advice(config, variant))]
        )
    if left_out:
        log.info(
            "%s: another number of classes, so the last layer starts fresh: %s",
            config.weights,
            ", ".join(left_out.values()),
        )


def read_tensors(file: Path | IO[bytes]) -> Any:
    """Reads a file of torch.save; nothing in it can run code.

    Args:
        file: Its path, or the file opened and at its beginning.

    Returns:
        Tensors on the CPU and plain values, nested as they were saved.

    Raises:
        ValueError: The file is none of torch.save, is cut short, or holds more than tensors
            and plain values; the message is one line.
    """
    try:
        with warnings.catch_warnings():
            # torch warns of pickles that it then refuses.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own words advise to load it unsafely.
        raise ValueError("no file of torch.save, or one with more than tensors in it") from error
    except Exception as error:
        # Depending on its bytes torch raises nearly anything for what is no file of its own.
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{type(error).__name__}: {reason}") from error


def _read(file: str) -> MutableMapping[str, Tensor]:
    try:
        loaded = read_tensors(Path(file).expanduser())
    except ValueError as error:
        rule = f"cannot be read as weights alone ({error})"
        raise ConfigError([Fault("model.weights", file, rule)]) from error
    state = loaded
    if isinstance(loaded, MutableMapping) and isinstance(loaded.get(STATE_KEY), MutableMapping):
        state = loaded[STATE_KEY]
    is_state = isinstance(state, MutableMapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    )
    if not is_state or not state:
        rule = f'holds neither a state dict nor a checkpoint with one as "{STATE_KEY}"'
        raise ConfigError([Fault("model.weights", file, rule)])
    return cast(MutableMapping[str, Tensor], state)


def _head_of(model: nn.Module) -> str | None:
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else None


def _take_reshaped(
    state: MutableMapping[str, Tensor], model: nn.Module
) -> tuple[dict[str, str], dict[str, str]]:
    """Takes tensors of other shapes out of ``state``.

    Returns:
        Names and descriptions, first of the head where only the number of classes differs,
        then of all others.
    """
    own = model.state_dict()
    head = _head_of(model)
    left_out: dict[str, str] = {}
    reshaped: dict[str, str] = {}
    for name in own.keys() & state.keys():
        theirs, ours = state[name].shape, own[name].shape
        if theirs == ours:
            continue
        is_head = name in (f"{head}.weight", f"{head}.bias") and theirs[1:] == ours[1:]
        found = left_out if is_head else reshaped
        found[name] = f"{name} {tuple(theirs)} instead of {tuple(ours)}"
        del state[name]
    return dict(sorted(left_out.items())), dict(sorted(reshaped.items()))


def _some(verb: str, names: Iterable[str]) -> list[str]:
    every = list(names)
    if not every:
        return []
    more = f" and {len(every) - _NUM_NAMED} more" if len(every) > _NUM_NAMED else ""
    return [f"{verb} {', '.join(every[:_NUM_NAMED])}{more}"]


def _variant_of(state: Mapping[str, Tensor]) -> dict[str, object]:
    """Settings of the model group that the names in a file of ours or torchvision's show."""
    if "conv1.weight" not in state or "layer1.0.conv1.weight" not in state:
        return {}
    projects = "layer2.0.downsample.0.weight" in state
    variant: dict[str, object] = {"plain": not projects, "conv_bias": "conv1.bias" in state}
    if projects:
        variant["shortcut_norm"] = "layer2.0.downsample.1.weight" in state
    num_blocks = len({tuple(name.split(".")[:2]) for name in state if name.startswith("layer")})
    num_convs = 3 if "layer1.0.conv3.weight" in state else 2
    depth = num_blocks * num_convs + 2
    if depth in DEPTHS:
        variant["depth"] = depth
    return variant


def _is_torchvision(variant: Mapping[str, object]) -> bool:
    return variant.get("conv_bias") is False and variant.get("shortcut_norm") is True


def _advice(config: ModelConfig, variant: dict[str, object]) -> str:
    wanted = dict(variant)
    if wanted and wanted.get("depth", config.depth) not in (18, 34):
        # No name shows the stride; it goes with the rest of the variant.
        wanted["stride_on"] = "3x3" if _is_torchvision(variant) else "1x1"
    changes = [
        f"model.{name}={str(value).lower()}"
        for name, value in wanted.items()
        if getattr(config, name) != value
    ]
    return f"this file seems to need {' '.join(changes)}" if changes else ""


def _warn_of_stride(config: ModelConfig, variant: Mapping[str, object]) -> None:
    # Same names and shapes either way, so that the wrong stride would load without a word.
    if _is_torchvision(variant) and config.depth >= 50 and config.stride_on == "1x1":
        log.warning(
            "%s: looks like torchvision's weights, which need model.stride_on=3x3", config.weights
        )
