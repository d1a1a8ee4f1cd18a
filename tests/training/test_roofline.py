import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet50

from resnet_sweep.training.kinds import kind_of_operation
from resnet_sweep.training.peaks import measure_peaks
from resnet_sweep.training.roofline import (
    OperationCost,
    Peaks,
    Roofline,
    count_costs,
    network_roofline,
    roofline_s,
)

CPU = torch.device("cpu")
MATRIX_KINDS = ("convolution_forward", "convolution_backward", "linear")


class Small(nn.Module):
    """One layer of every kind that a residual network has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        x = F.relu(self.bn(self.conv2(x)) + x)
        return self.fc(self.pool(x).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def costs() -> list[OperationCost]:
    """Of a batch of 4 images of 16 x 16 pixels, in bf16."""
    return count_costs(Small(), (3, 16, 16), 4, "bf16")


def of(costs, kind, phase):
    return [cost for cost in costs if (cost.kind, cost.phase) == (kind, phase)]


def test_convolutions_are_counted_as_by_hand(costs):
    pixels = 4 * 16 * 16
    first, second = of(costs, "convolution_forward", "forward")
    assert first.flops == 2 * pixels * 8 * 3 * 9
    assert first.num_bytes == 2 * pixels * (3 + 8) + 4 * (8 * 3 * 9)
    assert second.flops == 2 * pixels * 8 * 8 * 9
    # Two gradients of the second, and the images need none.
    backward = of(costs, "convolution_backward", "backward")
    assert [cost.flops for cost in backward] == [second.flops, second.flops, first.flops]
    assert [cost.num_bytes for cost in backward] == [
        2 * pixels * (8 + 8) + 4 * (8 * 8 * 9),
        2 * pixels * (8 + 8) + 4 * (8 * 8 * 9),
        2 * pixels * (8 + 3) + 4 * (8 * 3 * 9),
    ]


@pytest.mark.parametrize(
    ("layer", "forward"),
    [
        (nn.Conv2d(8, 16, 3, padding=1, groups=8), 2 * 64 * 16 * 9),
        (nn.ConvTranspose2d(8, 16, 2, stride=2), 2 * 64 * 8 * 16 * 4),
    ],
)
def test_a_gradient_costs_as_much_as_the_convolution(layer, forward):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), layer, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    costs = count_costs(model, (3, 8, 8), 1, "bf16")
    assert of(costs, "convolution_forward", "forward")[1].flops == forward
    backward = of(costs, "convolution_backward", "backward")
    assert [cost.flops for cost in backward[:2]] == [forward, forward]


def test_elementwise_operations_move_each_tensor_once(costs):
    activation = 2 * 4 * 16 * 16 * 8
    add, relu = of(costs, "activation", "forward")[-2:]
    assert (add.name, add.num_bytes) == ("add", 3 * activation)
    assert (relu.name, relu.num_bytes) == ("relu", 2 * activation)
    (norm,) = of(costs, "batch_norm", "forward")
    # And a few numbers a channel in float32.
    assert 0 < norm.num_bytes - 2 * activation < 8 * 8 * 4
    (norm,) = of(costs, "batch_norm", "backward")
    assert 0 < norm.num_bytes - 3 * activation < 10 * 8 * 4
    pool = of(costs, "pooling", "forward")[0]
    # The positions of the largest values are 64-bit numbers.
    assert pool.num_bytes == activation + activation / 4 + 8 * (4 * 8 * 8 * 8)
    assert pool.flops == 4 * 8 * 8 * 8 * 4


def test_linear_layer_and_optimizer(costs):
    (linear,) = of(costs, "linear", "forward")
    assert linear.flops == 2 * 4 * 8 * 10
    assert linear.num_bytes == 2 * 4 * (8 + 10) + 4 * (8 * 10 + 10)
    num_weights = sum(weight.numel() for weight in Small().parameters())
    (update,) = of(costs, "optimizer", "optimizer")
    assert update.num_bytes == 5 * 4 * num_weights
    (update,) = of(
        count_costs(Small(), (3, 16, 16), 4, "bf16", num_optimizer_states=2),
        "optimizer",
        "optimizer",
    )
    assert update.num_bytes == 7 * 4 * num_weights


def test_fp32_moves_twice_the_activations_and_as_many_weights(costs):
    in_fp32 = count_costs(Small(), (3, 16, 16), 4, "fp32")
    assert [cost.flops for cost in in_fp32] == [cost.flops for cost in costs]
    one, two = (of(c, "convolution_forward", "forward")[0].num_bytes for c in (costs, in_fp32))
    assert two - 4 * 8 * 3 * 9 == 2 * (one - 4 * 8 * 3 * 9)
    one, two = (of(c, "optimizer", "optimizer")[0].num_bytes for c in (costs, in_fp32))
    assert one == two


def test_frozen_weights_have_no_gradient_and_no_update():
    model = Small()
    for weight in (model.conv1.weight, model.conv2.weight):
        weight.requires_grad = False
    costs = count_costs(model, (3, 16, 16), 4, "bf16")
    assert of(costs, "convolution_backward", "backward") == []
    (update,) = of(costs, "optimizer", "optimizer")
    assert update.num_bytes == 5 * 4 * (8 + 8 + 80 + 10)


def test_resnet50_has_the_arithmetic_that_is_published():
    model = resnet50()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    costs = count_costs(model, (3, 224, 224), 1, "bf16")
    forward = sum(c.flops for c in costs if c.phase == "forward" and c.kind in MATRIX_KINDS)
    assert forward / 2 == pytest.approx(4.09e9, rel=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())
    with FlopCounterMode(display=False) as counter:
        logits = model.to("meta")(torch.zeros(1, 3, 224, 224, device="meta"))
        F.cross_entropy(logits, torch.zeros(1, dtype=torch.int64, device="meta")).backward()
    assert sum(c.flops for c in costs if c.kind in MATRIX_KINDS) == counter.get_total_flops()


def test_the_roofline_is_the_longer_of_two_times_of_each_operation():
    by_arithmetic = OperationCost("mm", "linear", "forward", flops=100.0, num_bytes=1.0)
    by_memory = OperationCost("relu", "activation", "forward", flops=1.0, num_bytes=30.0)
    peaks = Peaks(flops_per_s=10.0, bytes_per_s=10.0)
    assert roofline_s([by_arithmetic, by_memory], peaks) == 13.0
    roofline = Roofline((by_arithmetic, by_memory), peaks)
    assert roofline.step_s == 13.0
    assert roofline.share(26.0) == 0.5
    assert roofline.s_by_kind() == {"linear": 10.0, "activation": 3.0}


def test_a_network_that_needs_values_says_so():
    class Branching(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1) if x.sum() > 0 else -x.flatten(1))

    peaks = Peaks(1.0, 1.0)
    with pytest.raises(RuntimeError, match="meta"):
        network_roofline(Branching(12, 2), (3, 2, 2), 2, "fp32", peaks)


def test_peaks_are_measured_and_leave_the_process_as_it_was(monkeypatch):
    monkeypatch.setattr("resnet_sweep.training.peaks._COPY_BYTES", 2**20)
    monkeypatch.setattr("resnet_sweep.training.peaks._CPU_SIZES", (64,))
    before, random_state = torch.get_num_threads(), torch.get_rng_state()
    peaks = measure_peaks(CPU, "fp32", threads=1)
    assert peaks.flops_per_s > 1e6
    assert peaks.bytes_per_s > 1e6
    assert torch.get_num_threads() == before
    assert torch.equal(random_state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::convolution", "convolution_forward"),
        ("aten::mkldnn_convolution", "convolution_forward"),
        ("aten::cudnn_convolution", "convolution_forward"),
        ("aten::convolution_backward", "convolution_backward"),
        ("autograd::engine::evaluate_function: ConvolutionBackward0", "convolution_backward"),
        ("aten::native_batch_norm", "batch_norm"),
        ("aten::cudnn_batch_norm_backward", "batch_norm"),
        ("aten::relu_", "activation"),
        ("aten::clamp_min_", None),
        ("aten::threshold_backward", "activation"),
        ("aten::add_", "activation"),
        ("AddBackward0", "activation"),
        ("aten::max_pool2d_with_indices_backward", "pooling"),
        ("aten::mean", "pooling"),
        ("aten::addmm", "linear"),
        ("AddmmBackward0", "linear"),
        ("aten.mm.default", "linear"),
        ("aten::nll_loss_forward", "loss"),
        ("aten::_log_softmax_backward_data", "loss"),
        ("aten::_softmax", "activation"),
        ("LogSoftmaxBackward0", "loss"),
        ("aten::copy_", "copy"),
        ("aten::_to_copy", "copy"),
        ("aten::_fused_sgd_", "optimizer"),
        ("aten::_foreach_mul_", "optimizer"),
        ("aten::argmax", "metrics"),
        ("aten::empty", None),
        ("torch::autograd::AccumulateGrad", None),
    ],
)
def test_kinds_of_operations(name, kind):
    assert kind_of_operation(name) == kind
