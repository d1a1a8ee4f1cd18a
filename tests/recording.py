"""A stand-in for CUDA graphs on a machine without a GPU.

What it records is a list of operations on tensors with everything else baked in, as a CUDA graph
has it: Python does not run in a replay. A step that would be wrong in a graph because it depends
on something beside tensors that stay where they are is wrong here too.
"""

from __future__ import annotations

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from resnet_sweep.training.capture import Replay


def record_operations(run: Replay) -> Replay:
    """Runs ``run`` and returns what repeats its operations."""
    return torch.no_grad()(make_fx(lambda: run())())  # type: ignore[no-any-return]
