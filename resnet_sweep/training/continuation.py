"""Whether a run may go on where another stopped, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnet_sweep.faults import Fault

# Keys that may differ between the two halves of a run: they cannot change its numbers, or
# only as another machine would.
FREE_KEYS = frozenset(
    {
        "data.content",
        "data.root",
        "data.val_root",
        "data.cache_dir",
        "data.download",
        "trainer.device",
        "trainer.threads",
        "trainer.resume",
        "trainer.checkpoint_every_s",
        "trainer.readback_every_s",
        "trainer.tensorboard",
        "trainer.device_data",
        "trainer.cuda_graph",
        "trainer.profile",
    }
)


def config_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Fault]:
    """One fault for every setting that an unfinished run and its continuation disagree on.

    Args:
        old: The unfinished run's configuration, nested plain values.
        new: The configuration that is to go on with it.
    """
    before, after = _flatten(old), _flatten(new)
    return [
        Fault(
            key,
            after.get(key),
            f"the unfinished run has {key}={before.get(key)}",
            fix="type that to go on, choose another folder, or trainer.resume=never to start anew",
        )
        for key in sorted(before.keys() | after.keys())
        if key not in FREE_KEYS and before.get(key) != after.get(key)
    ]


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
