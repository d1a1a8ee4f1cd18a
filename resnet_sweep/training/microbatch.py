"""The largest part of a batch that fits into the device's memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from resnet_sweep.training.failures import failure_kind

log = logging.getLogger(__name__)

# Batch norm needs two values a channel, also where an image has shrunk to one pixel.
SMALLEST = 2


def fitting_microbatch(
    batch_size: int, try_step: Callable[[int], None], free: Callable[[], None]
) -> int:
    """Finds how many images can go through the network at once, by trying.

    Args:
        batch_size: Images a step.
        try_step: Runs a whole step in parts of so many images.
        free: Gives back what a step that failed has left behind.

    Returns:
        The largest number of images that fits, made smaller until the parts of a batch are as
        equal as they can be: their number stays the same.

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
    found = math.ceil(batch_size / math.ceil(batch_size / low))
    log.info(
        "%d images do not fit into memory at once: steps of %d parts of up to %d images",
        batch_size,
        math.ceil(batch_size / found),
        found,
    )
    return found


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
