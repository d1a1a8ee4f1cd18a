"""The networks against He et al. 2015, table 1, and against torchvision's."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torchvision
from torch import Tensor, nn

from resnet_sweep.faults import ConfigError
from resnet_sweep.models import ResNet, build_resnet
from resnet_sweep.models.config import DEPTHS

TORCHVISION = {"conv_bias": False, "shortcut_norm": True, "stride_on": "3x3"}


def build(depth: int = 18, **arguments: object) -> ResNet:
    return build_resnet(depth, verbose=False, input_shape=(3, 32, 32), **arguments)


def outline(depth: int, **arguments: object) -> ResNet:
    """A network without values, for tests of its shape."""
    with torch.device("meta"):
        return build(depth, **arguments)


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def theirs(depth: int) -> nn.Module:
    """Torchvision's network with running statistics that are not those of a fresh one."""
    torch.manual_seed(depth)
    model = torchvision.models.get_model(f"resnet{depth}", weights=None).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


def blocks(model: ResNet) -> list[tuple[str, nn.Module]]:
    """Names and blocks in their order; "1.0" is the first of layer1."""
    return [
        (f"{number}.{name}", block)
        for number in (1, 2, 3, 4)
        for name, block in getattr(model, f"layer{number}").named_children()
    ]


@pytest.mark.parametrize(
    ("plain", "expected"), [(False, 25_575_912), (True, 22_803_176)], ids=["resnet50", "plain50"]
)
def test_the_study_has_its_numbers_of_parameters(plain: bool, expected: int) -> None:
    assert num_parameters(outline(50, plain=plain)) == expected


@pytest.mark.parametrize("depth", DEPTHS)
def test_torchvisions_variant_is_torchvisions_network(depth: int) -> None:
    reference = theirs(depth)
    model = build(depth, **TORCHVISION).eval()
    assert num_parameters(model) == num_parameters(reference)
    model.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        found, expected = model(images), reference(images)
    assert expected.std() > 0
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [(224, 224), (33, 97)])
def test_torchvisions_logits_at_other_sizes(size: tuple[int, int]) -> None:
    reference = theirs(50)
    model = build(50, **TORCHVISION).eval()
    model.load_state_dict(reference.state_dict())
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(model(images), reference(images))


def test_state_dict_goes_back_into_torchvision() -> None:
    model = build(50, **TORCHVISION)
    torchvision.models.resnet50(weights=None).load_state_dict(model.state_dict())


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("stride_on", ["1x1", "3x3"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_stages_halve_in_their_first_block(depth: int, stride_on: str, plain: bool) -> None:
    model = outline(depth, stride_on=stride_on, plain=plain)
    sizes: dict[str, tuple[torch.Size, torch.Size]] = {}
    for name, block in blocks(model):
        block.register_forward_hook(
            lambda _, args, out, name=name: sizes.update({name: (args[0].shape, out.shape)})
        )
    model(torch.zeros(2, 3, 64, 64, device="meta"))
    for name, (before, after) in sizes.items():
        halves = name in ("2.0", "3.0", "4.0")
        assert after[2:] == (torch.Size(s // 2 for s in before[2:]) if halves else before[2:])
    assert sizes["1.0"][0] == (2, 64, 16, 16)
    widths = (64, 128, 256, 512) if depth < 50 else (256, 512, 1024, 2048)
    assert [sizes[f"{n}.0"][1][1] for n in (1, 2, 3, 4)] == list(widths)
    num_convs = 2 if depth < 50 else 3
    assert len(sizes) * num_convs + 2 == depth


@pytest.mark.parametrize("depth", DEPTHS)
def test_projection_stands_exactly_where_the_shape_changes(depth: int) -> None:
    changing = {"2.0", "3.0", "4.0"} | ({"1.0"} if depth >= 50 else set())
    for name, block in blocks(outline(depth)):
        expected = nn.Sequential if name in changing else nn.Identity
        assert type(block.downsample) is expected, name


@pytest.mark.parametrize("stride_on", ["1x1", "3x3"])
def test_stride_stands_where_it_is_asked_for(stride_on: str) -> None:
    block = outline(50, stride_on=stride_on).layer2[0]
    strides = [conv.stride[0] for conv in (block.conv1, block.conv2, block.conv3)]
    assert strides == ([2, 1, 1] if stride_on == "1x1" else [1, 2, 1])
    basic = outline(18, stride_on=stride_on).layer2[0]
    assert (basic.conv1.stride[0], basic.conv2.stride[0]) == (2, 1)


@pytest.mark.parametrize("conv_bias", [False, True])
@pytest.mark.parametrize("shortcut_norm", [False, True])
def test_switches_reach_every_layer(conv_bias: bool, shortcut_norm: bool) -> None:
    model = outline(50, conv_bias=conv_bias, shortcut_norm=shortcut_norm)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert {conv.bias is not None for conv in convs} == {conv_bias}
    projections = [
        b.downsample for _, b in blocks(model) if isinstance(b.downsample, nn.Sequential)
    ]
    kinds = [nn.Conv2d, nn.BatchNorm2d] if shortcut_norm else [nn.Conv2d]
    assert all([type(module) for module in p] == kinds for p in projections)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("depth", DEPTHS)
def test_every_parameter_that_has_an_effect_gets_a_gradient(depth: int, plain: bool) -> None:
    torch.manual_seed(0)
    model = build(depth, plain=plain, num_classes=3)
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    convolutions = {name for name, one in model.named_modules() if isinstance(one, nn.Conv2d)}
    for name, parameter in model.named_parameters():
        layer, _, kind = name.rpartition(".")
        # The norm after it takes a bias off again; the study's projections have no norm.
        if kind == "bias" and layer in convolutions and "downsample" not in layer:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("depth", [18, 50])
def test_plain_network_adds_nothing(depth: int) -> None:
    model = build(depth, plain=True).eval()
    assert all(block.downsample is None for _, block in blocks(model))
    assert not any("downsample" in name for name in model.state_dict())
    block = model.layer1[1]
    layers = [block.conv1, block.bn1, block.relu, block.conv2, block.bn2, block.relu]
    if depth >= 50:
        layers += [block.conv3, block.bn3, block.relu]
    x = torch.randn(2, block.conv1.in_channels, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(block(x), nn.Sequential(*layers)(x))


@pytest.mark.parametrize("depth", [18, 50])
def test_residual_block_adds_its_input_before_the_last_relu(depth: int) -> None:
    block = build(depth).eval().layer1[1]
    x = torch.randn(2, block.conv1.in_channels, 8, 8)
    last = block.bn2 if depth < 50 else block.bn3
    branch: list[Tensor] = []
    last.register_forward_hook(lambda *args: branch.append(args[2].clone()))
    with torch.no_grad():
        torch.testing.assert_close(block(x), torch.relu(branch[0] + x))


@pytest.mark.parametrize("depth", [18, 50])
def test_zero_init_makes_blocks_the_identity(depth: int) -> None:
    model = build(depth, zero_init_last_norm=True)
    for _, block in blocks(model):
        norms = [block.bn1, block.bn2] + ([block.bn3] if depth >= 50 else [])
        assert not norms[-1].weight.any()
        assert all(norm.weight.eq(1).all() for norm in norms[:-1])
    block = model.layer1[1]
    x = torch.rand(2, block.conv1.in_channels, 8, 8)
    torch.testing.assert_close(block(x), x)


def test_initialisation_is_pytorchs_own() -> None:
    torch.manual_seed(3)
    found = build(18).conv1
    torch.manual_seed(3)
    expected = nn.Conv2d(3, 64, 7, 2, 3)
    assert torch.equal(found.weight, expected.weight)
    assert torch.equal(found.bias, expected.bias)


def test_building_tells_what_was_built(capsys: pytest.CaptureFixture[str]) -> None:
    build_resnet(50)
    text = capsys.readouterr().out
    line = "ResNet-50, 25,575,912 parameters, input 3x224x224, 1000 classes"
    assert text.splitlines()[0] == line
    assert "Total params: 25,575,912" in text
    build_resnet(34, plain=True, num_classes=2, in_channels=1, input_shape=[1, 64, 48])
    assert capsys.readouterr().out.startswith("Plain-34, ")
    build(18)
    assert capsys.readouterr().out == ""


def test_the_check_of_the_output_leaves_no_trace() -> None:
    torch.manual_seed(0)
    model = build(18)
    after = torch.rand(1)
    torch.manual_seed(0)
    again = build_resnet(18, verbose=True, input_shape=(3, 64, 64))
    assert torch.equal(after, torch.rand(1))
    for found in (model, again):
        assert all(module.training for module in found.modules())
        assert not found.bn1.running_mean.any()
        assert found.bn1.num_batches_tracked == 0
        assert {tensor.device.type for tensor in found.state_dict().values()} == {"cpu"}


def test_all_bad_arguments_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build_resnet(51, num_classes=1, stride_on="2x2", input_shape=(1, 31, 32))
    keys = [fault.key for fault in caught.value.faults]
    assert keys == ["num_classes", "depth", "stride_on", "input_shape", "input_shape"]
    assert "18, 34, 50, 101, 152" in str(caught.value)
    assert "1x1, 3x3" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"input_shape": (32, 32)}, "input_shape"),
        ({"plain": True, "zero_init_last_norm": True}, "zero_init_last_norm"),
        ({"in_channels": 0, "input_shape": (0, 32, 32)}, "in_channels"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_resnet(verbose=False, **arguments)
    assert [fault.key for fault in caught.value.faults] == [key]


def test_settings_load_without_torch() -> None:
    code = (
        "import sys, resnet_sweep.models.config, resnet_sweep.models.allow;"
        "assert 'torch' not in sys.modules;"
        "import resnet_sweep.models as m; assert not hasattr(m, 'nothing');"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
