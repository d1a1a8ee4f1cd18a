"""torch.compile: when it pays, and where what it compiles is kept."""

from __future__ import annotations

import os
import shutil

import torch
from torch import nn

from resnet_sweep.training.step import Network


def compiled_network(model: nn.Module) -> Network:
    """What ``model`` computes, by kernels made for it and for the shapes of its first batch.

    They are kept on disk from process to process, in $TORCHINDUCTOR_CACHE_DIR.
    """
    # The mode without CUDA graphs: the whole step is captured, not only the network.
    network: Network = torch.compile(model, dynamic=False)
    return network
