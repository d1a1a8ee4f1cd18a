"""A step recorded once and replayed: no kernel is launched one by one any more.

On a GPU a step of a small batch waits for the host, which launches hundreds of kernels. A CUDA
graph launches them all at once. Python does not run in a replay, so everything that differs
from step to step has to be in tensors whose memory stays: the feed, the learning rate, weights,
the optimizer's state, sums of metrics. Everything else is baked in, and belongs to the key of
what is kept (``session.StepKey``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from resnet_sweep.data.batches import Feed

Replay = Callable[[], None]
Recorder = Callable[[Replay], Replay]

# Before a capture the allocator, cuDNN's search for the fastest kernels and lazily loaded
# modules must have settled; PyTorch's own notes on CUDA graphs name this many.
NUM_WARMUP_STEPS = 3
# Of the memory that is free before a search for what fits; see memory_kept_back.
_SHARE_BESIDE = 0.2
# Only a network that is not ours should need it. The process is of no use after it.
_NOT_RECORDED = (
    "A step could not be recorded as a CUDA graph. Where the network waits for the GPU, as with "
    ".item() or a mask of unknown size, type trainer.cuda_graph=false."
)


class CapturedStep:
    """A function of a feed that is recorded with the first feed and replayed with every other.

    Args:
        function: Runs a step on the device; changes tensors in place and returns nothing.
        recorder: Records what it is given and returns a replay, as ``record_cuda_graph`` does.
    """

    def __init__(self, function: Callable[[Feed], None], recorder: Recorder) -> None:
        self._function, self._recorder = function, recorder
        self._inputs: Feed = {}
        self._replay: Replay | None = None

    def record(self, feed: Mapping[str, Tensor]) -> None:
        """Warms up and records. The steps that it takes change everything that a step changes.

        Args:
            feed: Any feed; names, shapes and dtypes of all that follow are the same.
        """
        inputs = {name: tensor.clone() for name, tensor in feed.items()}
        self._inputs = inputs
        self._replay = self._recorder(lambda: self._function(inputs))

    def __call__(self, feed: Mapping[str, Tensor]) -> None:
        """Runs a step with this feed."""
        assert self._replay is not None, "nothing is recorded"
        for name, tensor in self._inputs.items():
            tensor.copy_(feed[name], non_blocking=True)
        self._replay()


def recorder_for(device: torch.device) -> Recorder | None:
    """How steps are recorded on a device; None where every step has to run anew."""
    return record_cuda_graph if device.type == "cuda" else None


def record_cuda_graph(run: Replay) -> Replay:
    """Records ``run`` on the current device as a CUDA graph, with memory of its own.

    Gradients must be gone before and after ``run``.

    Raises:
        RuntimeError: It does something that cannot be captured, such as waiting for the device.
    """
    # Not the one that torch would take. That stays on the GPU of the process's first capture: on
    # another GPU nothing would be recorded. And graphs of one stream share a workspace of cuBLAS,
    # which the first of them that goes takes with it.
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(NUM_WARMUP_STEPS):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Other threads, which copy batches or write files, need not stand still meanwhile.
    try:
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            run()
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError):
            error.add_note(_NOT_RECORDED)
        raise
    return graph.replay


@contextmanager
def memory_kept_back(device: torch.device) -> Iterator[None]:
    """Keeps a part of a GPU's free memory from what is tried out meanwhile.

    A graph's memory is its own: what runs between its replays, validation above all, needs other
    memory beside it. Elsewhere than on CUDA nothing is recorded and nothing kept back.
    """
    if device.type != "cuda":
        yield
        return
    torch.cuda.empty_cache()
    free_bytes, _ = torch.cuda.mem_get_info(device)
    num_bytes = int(_SHARE_BESIDE * free_bytes)
    held = [torch.empty(num_bytes, dtype=torch.uint8, device=device)]
    try:
        yield
    finally:
        held.clear()
        torch.cuda.empty_cache()
        # Tries that did not fit are no measure of what a run uses.
        torch.cuda.reset_peak_memory_stats(device)
