"""How fast a step could be at best: a network's arithmetic and bytes against a device's peaks.

The roofline of an operation (Williams et al. 2009) is the longer of two times: its arithmetic at
the device's peak, and the least bytes that it moves at the device's bandwidth. That of a step is
the sum over its operations, one after another.

What is counted, for one step of training on one batch:

- Arithmetic of convolutions and matrix products, where a multiply-add is two operations; of all
  else a few operations an element, which never decide.
- Traffic of memory: every operation reads each of its tensors once and writes each of its results
  once. Activations and their gradients are in the precision of the arithmetic; weights, their
  gradients and the optimizer's state are in float32; indices and masks are what they are. A
  backward convolution is two operations, one for each gradient.
- Not counted: casts between precisions, gathering and augmenting images, reading metrics, and
  what stays in a cache between two operations.

So it is the bound of a step whose operations are kernels of their own. A step that fuses them
moves less, and may pass the bound of the operations that it fuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from resnet_sweep.models.probe import meta_copy
from resnet_sweep.training.kinds import (
    BATCH_NORM,
    CONVOLUTION_BACKWARD,
    LOSS,
    OPTIMIZER,
    OTHER,
    POOLING,
    kind_of_operation,
)

_BYTES = {"bf16": 2, "fp32": 4}
_WEIGHT_BYTES = 4
# Arithmetic of an element in one direction, where the registry of torch has no formula: two sums
# and a scale and shift for batch norm, the exponential and its sum for the loss.
_FLOPS_PER_ELEMENT = {BATCH_NORM: 6, LOSS: 5}


@dataclass(frozen=True)
class OperationCost:
    """What one operation of a step needs at least.

    Attributes:
        name: Torch's name of it, such as "convolution" or "native_batch_norm_backward".
        kind: One of training.kinds.
        phase: "forward", "backward" or "optimizer".
        flops: Arithmetic; a multiply-add is two.
        num_bytes: Read and written.
    """

    name: str
    kind: str
    phase: str
    flops: float
    num_bytes: float


@dataclass(frozen=True)
class Peaks:
    """What a device reaches, measured.

    Attributes:
        flops_per_s: Of a large matrix product in one precision; a multiply-add is two.
        bytes_per_s: Of a large copy within its memory, read and written bytes together.
    """

    flops_per_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class Roofline:
    """The least time of a step.

    Attributes:
        costs: Of every operation.
        peaks: Of the device.
    """

    costs: tuple[OperationCost, ...]
    peaks: Peaks

    @property
    def flops(self) -> float:
        """Arithmetic of a step."""
        return sum(cost.flops for cost in self.costs)

    @property
    def num_bytes(self) -> float:
        """Bytes that a step moves."""
        return sum(cost.num_bytes for cost in self.costs)

    @property
    def step_s(self) -> float:
        """The least time of a step, in seconds."""
        return roofline_s(self.costs, self.peaks)

    def share(self, step_s: float) -> float:
        """How much of the roofline is reached: its time over ``step_s``, which was measured."""
        return self.step_s / step_s

    def s_by_kind(self) -> Mapping[str, float]:
        """The least time of a step by kind of operation, in seconds; the kinds that occur."""
        seconds: dict[str, float] = {}
        for cost in self.costs:
            seconds[cost.kind] = seconds.get(cost.kind, 0.0) + roofline_s([cost], self.peaks)
        return seconds


def roofline_s(costs: Iterable[OperationCost], peaks: Peaks) -> float:
    """The least time of operations one after another, in seconds."""
    return sum(
        max(cost.flops / peaks.flops_per_s, cost.num_bytes / peaks.bytes_per_s) for cost in costs
    )


def network_roofline(
    model: nn.Module,
    image_shape: Sequence[int],
    batch_size: int,
    precision: str,
    peaks: Peaks,
    *,
    num_optimizer_states: int = 1,
) -> Roofline:
    """The roofline of a step of training.

    Args:
        model: Any network on any device, not compiled; left as it is.
        image_shape: (C, H, W).
        batch_size: Images a step.
        precision: "bf16" or "fp32".
        peaks: Of the device in this precision, from ``measure_peaks``.
        num_optimizer_states: Values that the optimizer keeps for a weight: 1 for SGD with
            momentum, 0 without, 2 for Adam.

    Raises:
        Exception: Whatever the network raises that does not run without values.
    """
    costs = count_costs(
        model, image_shape, batch_size, precision, num_optimizer_states=num_optimizer_states
    )
    return Roofline(tuple(costs), peaks)


def count_costs(
    model: nn.Module,
    image_shape: Sequence[int],
    batch_size: int,
    precision: str,
    *,
    num_optimizer_states: int = 1,
) -> list[OperationCost]:
    """What a step of training needs at least, operation by operation, from shapes alone.

    Forward pass in training mode, cross entropy, backward pass and the optimizer; see the head
    of this module for what is counted. Nothing is computed: it runs on the meta device. The
    arguments are those of ``network_roofline``.

    Raises:
        Exception: Whatever the network raises that does not run without values.
    """
    network = meta_copy(model).train()
    images = torch.zeros((batch_size, *image_shape), device="meta")
    labels = torch.zeros(batch_size, dtype=torch.int64, device="meta")
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    with torch.random.fork_rng(devices=[]), _Recorder() as recorder:
        loss = F.cross_entropy(network(images), labels)
        recorder.phase = "backward"
        # Not backward(), which copies a gradient while a record holds on to it.
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    in_float32 = [*network.parameters(), *network.buffers(), *gradients]
    sizes = _Sizes(in_float32, _BYTES[precision])
    costs = [cost for call in recorder.calls for cost in _costs_of(call, sizes)]
    num_weights = sum(g.numel() for g in gradients if g is not None)
    return [*costs, _optimizer_cost(num_weights, num_optimizer_states)]


@dataclass(frozen=True)
class _Call:
    function: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    phase: str

    @property
    def name(self) -> str:
        return str(self.function.overloadpacket.__name__)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps every operation that reaches a device, with its tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Call] = []
        self.phase = "forward"

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append(_Call(func, args, kwargs or {}, result, self.phase))
        return result


class _Sizes:
    """How many bytes tensors take on the device, where activations are in one precision."""

    def __init__(self, in_float32: Iterable[Tensor | None], activation_bytes: int) -> None:
        self._in_float32 = {_memory(tensor) for tensor in in_float32 if tensor is not None}
        self._activation_bytes = activation_bytes

    def num_bytes(self, tensors: Iterable[Tensor]) -> float:
        return sum(map(self._num_bytes_of, tensors))

    def _num_bytes_of(self, tensor: Tensor) -> float:
        if not tensor.is_floating_point():
            width = tensor.element_size()
        elif _memory(tensor) in self._in_float32:
            width = _WEIGHT_BYTES
        else:
            width = self._activation_bytes
        # An expanded tensor has more elements than memory.
        held = tensor.untyped_storage().nbytes() // tensor.element_size()
        return min(tensor.numel(), held) * width


def _memory(tensor: Tensor) -> int:
    """Names a tensor's memory; views of it have the same name."""
    return int(tensor.untyped_storage()._cdata)


def _costs_of(call: _Call, sizes: _Sizes) -> list[OperationCost]:
    read = _tensors((call.args, call.kwargs))
    written = _tensors(call.result)
    if not call.function._schema.is_mutable:
        own = {_memory(tensor) for tensor in read}
        # A view costs nothing.
        written = [tensor for tensor in written if _memory(tensor) not in own]
    if not written or call.name.startswith(("empty", "new_empty")):
        return []
    if call.name == "convolution_backward":
        return _backward_convolution(call, sizes)
    kind = kind_of_operation(call.name) or OTHER
    return [_cost(call, kind, _flops(call, kind, read, written), sizes, [*read, *written])]


def _backward_convolution(call: _Call, sizes: _Sizes) -> list[OperationCost]:
    """The gradient of the images and that of the weights are each a convolution of its own."""
    gradient, images, weight = call.args[:3]
    is_transposed = call.args[7]
    of_images, of_weight, of_bias = call.result
    # As that of the forward pass. Torch's own formula is not for convolutions in groups.
    moved = images if is_transposed else gradient
    flops = 2.0 * moved.numel() * math.prod(weight.shape[1:])
    costs = []
    if of_images is not None:
        costs.append(_cost(call, CONVOLUTION_BACKWARD, flops, sizes, [gradient, weight, of_images]))
    if of_weight is not None:
        tensors = [gradient, images, *_tensors((of_weight, of_bias))]
        costs.append(_cost(call, CONVOLUTION_BACKWARD, flops, sizes, tensors))
    return costs


def _cost(
    call: _Call, kind: str, flops: float, sizes: _Sizes, tensors: Iterable[Tensor]
) -> OperationCost:
    return OperationCost(call.name, kind, call.phase, flops, sizes.num_bytes(tensors))


def _flops(call: _Call, kind: str, read: Sequence[Tensor], written: Sequence[Tensor]) -> float:
    registered = _registered_flops(call)
    if registered is not None:
        return registered
    # Pooling works on the larger side, whichever that is.
    elements = max(tensor.numel() for tensor in (*read, *written))
    if kind == POOLING and call.name.startswith("max_pool"):
        window = call.args[1] if call.phase == "forward" else ()
        return float(written[0].numel() * math.prod(window)) if window else float(elements)
    return float(elements * _FLOPS_PER_ELEMENT.get(kind, 1))


def _registered_flops(call: _Call) -> float | None:
    """What torch's own formulas say: convolutions, matrix products, attention."""
    formula: Callable[..., int] | None = flop_registry.get(call.function.overloadpacket)
    if formula is None:
        return None
    return float(formula(*call.args, **call.kwargs, out_val=call.result))


def _optimizer_cost(num_weights: int, num_states: int) -> OperationCost:
    """Reads weight, gradient and state, and writes weight and state."""
    num_values = 3 + 2 * num_states
    # A multiply-add for the weight, one for each state and one for the weight decay.
    flops = float(num_weights * (4 + 2 * num_states))
    return OperationCost(
        OPTIMIZER, OPTIMIZER, "optimizer", flops, float(num_weights * num_values * _WEIGHT_BYTES)
    )


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested arguments or results, in their order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for item in value.values() for tensor in _tensors(item)]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _tensors(item)]
    return []
