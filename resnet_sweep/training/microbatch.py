"""The largest part of a batch that fits into the device's memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from resnet_sweep.training.failures import failure_kind

log = logging.getLogger(__name__)

# Batch norm needs two values a channel, also where an image has shrunk to one pixel.
SMALLEST = 2


def part_sizes(batch_size: int, microbatch: int) -> list[int]:
    """Images of each part of a batch: as few parts as can be, as equal as they can be.

    Args:
        batch_size: Images a step, at least 2.
        microbatch: Most images of a part; an odd batch in parts of 2 has one of 3, as batch norm
            cannot do with 1.
    """
    num = min(math.ceil(batch_size / microbatch), max(1, batch_size // SMALLEST))
    return [(batch_size + i) // num for i in reversed(range(num))]


def fitting_microbatch(
    batch_size: int, try_step: Callable[[int], None], free: Callable[[], None]
) -> int:
    """Finds how many images can go through the network at once, by trying.

    Args:
        batch_size: Images a step.
        try_step: Runs a whole step in parts of so many images.
        free: Gives back what a step that failed has left behind.

    Returns:
        Images of the largest part, with as few parts as fit.

    Raises:
        Exception: What ``try_step`` raised when not even the smallest part fits, or anything
            but a lack of memory.
    """
    if _fits(batch_size, try_step, free):
        return batch_size
    # Invariant of the search: ``low`` fits, ``high`` does not.
    low, high = min(SMALLEST, batch_size), batch_size
    try_step(low)
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(middle, try_step, free):
            low = middle
        else:
            high = middle
    sizes = part_sizes(batch_size, low)
    log.info(
        "%d images do not fit into memory at once: steps of %d parts of up to %d images",
        batch_size,
        len(sizes),
        sizes[0],
    )
    return sizes[0]


def _fits(num: int, try_step: Callable[[int], None], free: Callable[[], None]) -> bool:
    try:
        try_step(num)
    except Exception as error:
        if failure_kind(error) != "out_of_memory":
            raise
    else:
        return True
    # After the except block: until then the error holds the frames, and they the tensors.
    free()
    return False
