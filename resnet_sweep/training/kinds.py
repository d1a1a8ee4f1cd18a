"""Kinds of work in a step of training, and which operation or kernel is of which kind.

The roofline sorts what the network's shapes ask for by them, the profile what the device did.
"""

from __future__ import annotations

import re
from functools import lru_cache

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
    COPY: "casts, copies and fills",
    OPTIMIZER: "optimizer",
    METRICS: "reading metrics",
    OTHER: "other",
    IDLE: "idle",
}

_Patterns = tuple[tuple[str, str], ...]

# The first pattern that is found decides. Names are those of torch's operations and of its
# autograd nodes, in lower case, without name space, overload and trailing underscore.
_OPERATIONS = (
    (r"^_fused_(sgd|adam|adamw|adagrad)$|^_foreach_|^optimizer", OPTIMIZER),
    (r"conv.*backward", CONVOLUTION_BACKWARD),
    (r"conv(olution|[123]d)|^conv_|_convolution", CONVOLUTION_FORWARD),
    (r"batch_?norm|(instance|group|layer|rms)_?norm", BATCH_NORM),
    (r"pool|^mean|upsample", POOLING),
    (r"log_?softmax|nll_?loss|cross_?entropy|binary_cross|mse_loss", LOSS),
    (r"addmm|^b?mm(backward\d*)?$|baddbmm|linear|matmul|attention|einsum", LINEAR),
    (r"relu|threshold|silu|gelu|sigmoid|tanh|hardswish|dropout|mish|softmax", ACTIVATION),
    (r"^_?add(backward\d*)?$|^mul(backward\d*)?$", ACTIVATION),
    (r"^(_?copy|_to_copy|to|contiguous|clone|_local_scalar_dense|item)(backward\d*)?$", COPY),
    (r"^tocopybackward\d*$|memcpy|memset", COPY),
    (r"^argmax$|^eq$", METRICS),
)
# Names of kernels on a GPU, in lower case. The libraries' convolutions come before all else, as
# their names also tell of matrix products and of what is fused in.
_KERNELS = (
    (r"dgrad|wgrad|conv\w*backward|bwd_(data|filter)", CONVOLUTION_BACKWARD),
    (r"fprop|implicit_(gemm|convolve)|winograd|convolve|conv_?(2d|depthwise)", CONVOLUTION_FORWARD),
    (r"scudnn|cudnn::cnn::", CONVOLUTION_FORWARD),
    (r"batch_?norm|bn_(fw|bw)|(instance|group|layer)_?norm", BATCH_NORM),
    (r"multi_tensor_apply|fused_?(sgd|adam)|foreach", OPTIMIZER),
    (r"softmax|nll_?loss|cross_?entropy", LOSS),
    (r"argmax", METRICS),
    (r"pool|meanops|upsample", POOLING),
    (r"indexselect|index_select|vectorized_gather|flip_kernel", DATA),
    (r"memcpy|memset|copy_kernel|fillfunctor|nchwtonhwc|nhwctonchw|converttensor", COPY),
    (r"gemm|gemv|cublas|nvjet|splitk|cutlass|xmma|fmha|flash_", LINEAR),
    (r"relu|threshold|clamp|silu|gelu|sigmoid|hardtanh|hardswish|dropout", ACTIVATION),
    (r"functor(onself|onother)?_add|addfunctor|mulfunctor", ACTIVATION),
)
# Kernels that torch's compiler wrote are named after all that is fused in them; what needs most
# memory comes first. Those of templates do the product itself, others only what is around it.
_COMPILED_TEMPLATES = (
    (r"conv\w*backward", CONVOLUTION_BACKWARD),
    (r"conv", CONVOLUTION_FORWARD),
    (r"mm|attention", LINEAR),
)
_COMPILED = (
    (r"batch_norm|(instance|group|layer)_norm", BATCH_NORM),
    (r"pool|mean", POOLING),
    (r"softmax|nll_loss", LOSS),
    (r"foreach|fused_(sgd|adam)", OPTIMIZER),
    (r"relu|threshold|clamp|silu|gelu|sigmoid|hardtanh|hardswish|add|mul|convolution", ACTIVATION),
    (r"to_copy|clone", COPY),
)
_NODE = re.compile(r"^autograd::engine::evaluate_function: ")


@lru_cache(maxsize=4096)
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
    return _first(_OPERATIONS, short)


@lru_cache(maxsize=4096)
def kind_of_kernel(name: str) -> str | None:
    """The kind of a kernel, a copy or a fill on a GPU, by its name.

    Args:
        name: As a profiler writes it.

    Returns:
        The kind; None where the name does not tell. Libraries use the same matrix products for
        1x1 convolutions: these are LINEAR here, unless the caller knows what launched them.
    """
    short = name.lower()
    if not short.startswith("triton_"):
        return _first(_KERNELS, short)
    is_template = short.startswith(("triton_tem_", "triton_conv", "triton_mm"))
    return _first(_COMPILED_TEMPLATES if is_template else _COMPILED, short)


def _first(patterns: _Patterns, name: str) -> str | None:
    return next((kind for pattern, kind in patterns if re.search(pattern, name)), None)
