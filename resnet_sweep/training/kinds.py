"""Kinds of work in a step of training, and which operation is of which kind.

The roofline sorts what the network's shapes ask for by them, the profile what the device did.
"""

from __future__ import annotations

import re

DATA = "data"
CONVOLUTION_FORWARD = "convolution_forward"
CONVOLUTION_BACKWARD = "convolution_backward"
BATCH_NORM = "batch_norm"
ACTIVATION = "activation"
POOLING = "pooling"
LINEAR = "linear"
LOSS = "loss"
COPY = "copy"
OPTIMIZER = "optimizer"
METRICS = "metrics"
OTHER = "other"
IDLE = "idle"

# In the order of a step, with what a person reads.
LABELS = {
    DATA: "data: gather, augment, normalise",
    CONVOLUTION_FORWARD: "convolution, forward",
    CONVOLUTION_BACKWARD: "convolution, backward",
    BATCH_NORM: "batch norm",
    ACTIVATION: "activations and additions",
    POOLING: "pooling",
    LINEAR: "linear and matrix products",
    LOSS: "loss",
    COPY: "casts and copies",
    OPTIMIZER: "optimizer",
    METRICS: "reading metrics",
    OTHER: "other",
    IDLE: "idle",
}

# The first pattern that is found decides. Names are those of torch's operations and of its
# autograd nodes, in lower case, without name space, overload and trailing underscore.
_OPERATIONS = (
    (r"^_fused_(sgd|adam|adamw|adagrad)$|^_foreach_|^optimizer", OPTIMIZER),
    (r"conv.*backward", CONVOLUTION_BACKWARD),
    (r"conv(olution|[123]d)|^conv_|_convolution", CONVOLUTION_FORWARD),
    (r"batch_?norm|(instance|group|layer|rms)_?norm", BATCH_NORM),
    (r"pool|^mean|upsample", POOLING),
    (r"softmax|nll_?loss|cross_?entropy|binary_cross|mse_loss", LOSS),
    (r"addmm|^b?mm(backward\d*)?$|baddbmm|linear|matmul|attention|einsum", LINEAR),
    (r"relu|threshold|silu|gelu|sigmoid|hardtanh|hardswish|tanh|dropout|mish", ACTIVATION),
    (r"^_?add(backward\d*)?$|^mul(backward\d*)?$", ACTIVATION),
    (r"^(_?copy|_to_copy|to|contiguous|clone|_local_scalar_dense|item)(backward\d*)?$", COPY),
    (r"^tocopybackward\d*$|memcpy|memset", COPY),
    (r"^argmax$|^eq$", METRICS),
)
_PATTERNS = tuple((re.compile(pattern), kind) for pattern, kind in _OPERATIONS)
_NODE = re.compile(r"^autograd::engine::evaluate_function: ")


def kind_of_operation(name: str) -> str | None:
    """The kind of an operation of torch, by its name.

    Args:
        name: As a dispatcher or a profiler writes it: "aten::relu_", "aten.mm.default",
            "ConvolutionBackward0", "autograd::engine::evaluate_function: AddBackward0".

    Returns:
        The kind; None where the name alone does not tell, as of memory being allocated.
    """
    short = _NODE.sub("", name).lower()
    short = short.rsplit("::", 1)[-1]
    if short.startswith("aten."):
        short = short.split(".")[1]
    short = short.rstrip("_")
    return next((kind for pattern, kind in _PATTERNS if pattern.search(short)), None)
