"""The layers of a network, in a table."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torchinfo
from torch import nn

from resnet_sweep.models.probe import meta_copy


def layer_table(model: nn.Module, input_shape: Sequence[int]) -> str:
    """Output shape, parameters and multiply-adds of every layer and in total.

    Args:
        model: Any network on the CPU; left as it is, as are the random generators.
        input_shape: (C, H, W) of one float32 image; the table is for a batch of one.

    Returns:
        The table, as torchinfo draws it.

    Raises:
        RuntimeError: The network does not take images of this shape.
    """
    try:
        return _table(meta_copy(model), input_shape, torch.device("meta"))
    except Exception:
        # Not every network runs without values.
        with torch.random.fork_rng(devices=[]):
            return _table(copy.deepcopy(model), input_shape, torch.device("cpu"))


def _table(model: nn.Module, input_shape: Sequence[int], device: torch.device) -> str:
    num_levels = max(name.count(".") for name, _ in model.named_modules()) + 2
    statistics = torchinfo.summary(
        model,
        # A size instead of data would draw the data from the random generator.
        input_data=torch.zeros((1, *input_shape), device=device),
        col_names=("output_size", "num_params", "mult_adds"),
        col_width=20,
        depth=num_levels,
        device=device,
        mode="eval",
        row_settings=("var_names",),
        verbose=0,
    )
    # torchinfo writes its enum's own name for the unit on some versions of Python.
    units = (("TERABYTES", "T"), ("GIGABYTES", "G"), ("MEGABYTES", "M"), ("KILOBYTES", "k"))
    table = str(statistics)
    for name, unit in units:
        table = table.replace(f"(Units.{name})", f"({unit})")
    return table
