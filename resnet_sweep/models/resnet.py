"""Residual networks of He et al. 2015 (arXiv:1512.03385), table 1, and their plain twins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.models.blocks import (
    BasicBlock,
    BatchNorm2d,
    Bottleneck,
    Conv2d,
    Variant,
    normalized,
)
from resnet_sweep.models.config import MIN_IMAGE_SIZE, ModelConfig, check_model, network_name
from resnet_sweep.models.probe import output_of

# Table 1: the kind of block, and how many of them make conv2_x to conv5_x.
_STAGES: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
_STEM_CHANNELS = 64


class ResNet(nn.Module):
    """A residual network, or its plain twin when ``variant.plain``.

    Maps float images (N, in_channels, H, W), H and W at least 32, to logits (N, num_classes).
    Modules are named as in torchvision, whose state dicts load into the variant with
    ``conv_bias=False, shortcut_norm=True, stride_on="3x3"``. Weights are initialised by
    PyTorch's defaults.

    Args:
        depth: 18, 34, 50, 101 or 152 layers with weights.
        num_classes: Outputs of the last layer.
        in_channels: Channels of the images.
        variant: How the blocks are built.
    """

    def __init__(self, depth: int, num_classes: int, in_channels: int, variant: Variant) -> None:
        super().__init__()
        block, (num2, num3, num4, num5) = _STAGES[depth]
        self.name = network_name(depth, variant.plain)
        self.conv1 = Conv2d(
            in_channels, _STEM_CHANNELS, 7, stride=2, padding=3, bias=variant.conv_bias
        )
        self.bn1 = BatchNorm2d(_STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        wide = block.expansion
        self.layer1 = _stage(block, num2, _STEM_CHANNELS, 64, 1, variant)
        self.layer2 = _stage(block, num3, 64 * wide, 128, 2, variant)
        self.layer3 = _stage(block, num4, 128 * wide, 256, 2, variant)
        self.layer4 = _stage(block, num5, 256 * wide, 512, 2, variant)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * wide, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images to logits.

        Args:
            x: Images (N, in_channels, H, W), float32 or what autocast makes of it, H and W at
                least 32 pixels, normalised as those that were trained on.

        Returns:
            Logits (N, num_classes).
        """
        x = self.relu(normalized(self.conv1, self.bn1, x))
        x = self.maxpool(x)
        x = self.layer1(x)  # conv2_x
        x = self.layer2(x)  # conv3_x
        x = self.layer3(x)  # conv4_x
        x = self.layer4(x)  # conv5_x
        x = self.avgpool(x).flatten(1)
        return self.fc(x)  # type: ignore[no-any-return]


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    num_blocks: int,
    in_channels: int,
    inner: int,
    stride: int,
    variant: Variant,
) -> nn.Sequential:
    first = block(in_channels, inner, stride, variant)
    outer = inner * block.expansion
    return nn.Sequential(first, *(block(outer, inner, 1, variant) for _ in range(num_blocks - 1)))


def build_resnet(
    depth: int = 50,
    plain: bool = False,
    num_classes: int = 1000,
    in_channels: int = 3,
    input_shape: Sequence[int] = (3, 224, 224),
    conv_bias: bool = True,
    shortcut_norm: bool = False,
    stride_on: str = "1x1",
    zero_init_last_norm: bool = False,
    verbose: bool = True,
) -> ResNet:
    """Builds a residual network or its plain twin and checks its output's shape.

    The defaults are the variant of the study to reproduce; torchvision's is
    ``conv_bias=False, shortcut_norm=True, stride_on="3x3"``.

    Args:
        depth: 18, 34, 50, 101 or 152 (He et al. 2015, table 1).
        plain: Leave out every skip connection.
        num_classes: Outputs of the last layer, at least 2.
        in_channels: Channels of the images.
        input_shape: (in_channels, H, W) of one image, for the check and the layer table; the
            network takes any H and W of at least 32.
        conv_bias: Convolutions have a bias.
        shortcut_norm: Batch norm after the 1x1 projection of a shortcut.
        stride_on: Convolution of a bottleneck that downsamples, "1x1" or "3x3".
        zero_init_last_norm: The last norm of each residual branch starts at 0 (Goyal et al.
            2017, 5.1).
        verbose: Print what was built, and its layer table.

    Returns:
        The network on the CPU, float32, in training mode: it maps images (N, in_channels, H, W)
        to logits (N, num_classes).

    Raises:
        ConfigError: Arguments break a rule; tells of all of them.
    """
    config = ModelConfig(
        depth=depth,
        plain=plain,
        num_classes=num_classes,
        in_channels=in_channels,
        conv_bias=conv_bias,
        shortcut_norm=shortcut_norm,
        stride_on=stride_on,
        zero_init_last_norm=zero_init_last_norm,
    )
    shape = tuple(input_shape)
    # Here the user typed arguments, not keys of the model group.
    faults = [replace(fault, key=fault.key.removeprefix("model.")) for fault in check_model(config)]
    faults += _check_input_shape(shape, in_channels)
    if faults:
        raise ConfigError(faults)
    model = resnet_of(config, num_classes, in_channels)
    output = output_of(model, (1, *shape))
    assert isinstance(output, Tensor)
    assert output.shape == (1, num_classes), f"{model.name} gives {tuple(output.shape)}"
    if verbose:
        # It draws with torchinfo, which a run does without.
        from resnet_sweep.models.summary import layer_table

        size = "x".join(map(str, shape))
        print(f"{describe(model)}, input {size}, {num_classes} classes")
        print(layer_table(model, shape))
    return model


def resnet_of(config: ModelConfig, num_classes: int, in_channels: int) -> ResNet:
    """The network of a checked ``config``, unprobed; its own sizes are not looked at.

    Args:
        config: Settings without faults and without ``_target_``.
        num_classes: Outputs of the last layer.
        in_channels: Channels of the images.
    """
    variant = Variant(
        plain=config.plain,
        conv_bias=config.conv_bias,
        shortcut_norm=config.shortcut_norm,
        stride_on=config.stride_on,
        zero_init_last_norm=config.zero_init_last_norm,
    )
    return ResNet(config.depth, num_classes, in_channels, variant)


def describe(model: nn.Module) -> str:
    """Name and size of a network in one line: "ResNet-50, 25,575,912 parameters"."""
    name = model.name if isinstance(model, ResNet) else type(model).__name__
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"{name}, {num_parameters:,} parameters"


def _check_input_shape(shape: tuple[int, ...], in_channels: int) -> list[Fault]:
    if len(shape) != 3:
        return [Fault("input_shape", shape, "must be (channels, height, width)")]
    faults = []
    if shape[0] != in_channels:
        faults.append(Fault("input_shape", shape, f"must begin with in_channels={in_channels}"))
    if min(shape[1:]) < MIN_IMAGE_SIZE:
        rule = f"must have a height and width of at least {MIN_IMAGE_SIZE}"
        faults.append(Fault("input_shape", shape, rule))
    return faults
