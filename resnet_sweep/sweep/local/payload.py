"""What a launch sends to its processes once: the task, its configuration, Hydra's state."""

from __future__ import annotations

import pickle
import sys
import tempfile
from dataclasses import dataclass
from typing import IO, Any

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from resnet_sweep.faults import ConfigError, Fault


@dataclass(frozen=True)
class Work:
    """What all jobs of a launch have in common.

    Attributes:
        hydra_context: How a job's configuration is loaded and run, callbacks included.
        config: The sweep's own configuration.
        task_function: What a job calls.
        singletons: Hydra's registries and OmegaConf's resolvers.
    """

    hydra_context: HydraContext
    config: DictConfig
    task_function: TaskFunction
    singletons: Any


def write_payload(work: Work, launcher: str = "local") -> IO[bytes]:
    """Packs ``work`` into a file without a name, so that no crash can leave it behind.

    ``sys.path`` comes first and by itself: without it the rest cannot be unpacked.

    Args:
        work: What is packed.
        launcher: The one that sends it, as it is chosen with hydra/launcher.

    Raises:
        ConfigError: Something in it cannot be sent to another process.
    """
    from resnet_sweep.sweep.local.pickling import dumps

    try:
        packed = dumps(work)
    # Whatever the objects of a user raise when they are asked for their state.
    except Exception as error:
        rule = f"cannot send the task to a process of its own: {type(error).__name__}: {error}"
        fix = (
            "keep locks, connections and open files out of the task and of what it refers to "
            "in the main module, or choose hydra/launcher=basic"
        )
        raise ConfigError([Fault("hydra/launcher", launcher, rule, fix=fix)]) from error
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(pickle.dumps(sys.path) + packed)
    file.flush()
    return file
