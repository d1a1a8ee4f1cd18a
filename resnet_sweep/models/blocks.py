"""Building blocks of residual networks and of their plain twins.

He et al. 2015 (arXiv:1512.03385), figure 5 and table 1. Modules are named as torchvision
names them, so that its state dicts load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn


@dataclass(frozen=True)
class Variant:
    """What the paper leaves open, and what implementations therefore do differently.

    Attributes:
        plain: Leave out the skip connection.
        conv_bias: Every convolution has a bias.
        shortcut_norm: Batch norm follows the 1x1 projection of a shortcut.
        stride_on: Convolution of a bottleneck that downsamples, "1x1" or "3x3".
        zero_init_last_norm: The scale of a residual branch's last norm starts at 0, so that
            every block starts as the identity (Goyal et al. 2017, arXiv:1706.02677, 5.1).
    """

    plain: bool = False
    conv_bias: bool = True
    shortcut_norm: bool = False
    stride_on: str = "1x1"
    zero_init_last_norm: bool = False


class Conv2d(nn.Conv2d):
    """torch.nn.Conv2d whose bias can be left out."""

    def forward(self, input: Tensor, with_bias: bool = True) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H', W')."""
        bias = self.bias if with_bias else None
        return self._conv_forward(input, self.weight, bias)  # type: ignore[no-any-return]


class BatchNorm2d(nn.BatchNorm2d):
    """torch.nn.BatchNorm2d that can be told of a bias that its input lacks."""

    def forward(self, input: Tensor, left_out: Tensor | None = None) -> Tensor:
        """Normalises (N, C, H, W) as if ``left_out``, [C], had been added to it.

        Only in training, where a batch's own mean is taken off and the bias with it; the
        running mean still has to count it.
        """
        if left_out is not None and self.running_mean is not None:
            assert self.training
            assert self.momentum is not None
            # The update is (1 - momentum) * running + momentum * mean. Not a tracked change of
            # the buffer, like the update itself: another forward pass may wait for its backward.
            share = self.momentum / (1 - self.momentum)
            self.running_mean.data.add_(left_out.detach(), alpha=share)
        return super().forward(input)


def normalized(conv: Conv2d, norm: BatchNorm2d, x: Tensor) -> Tensor:
    """``norm(conv(x))``, without the work that has no effect.

    In training a bias before a norm changes nothing but the running mean: the mean of the batch
    is taken off. Its gradient is zero, and is computed and added up for nothing: on a GPU that is
    three of some twenty passes over the activations. It gets no gradient here, so that it
    keeps its value; with it, rounding noise would move it, to no effect.
    """
    if norm.training and conv.bias is not None:
        return norm(conv(x, with_bias=False), conv.bias)  # type: ignore[no-any-return]
    return norm(conv(x))  # type: ignore[no-any-return]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, the first of which downsamples (depths 18 and 34).

    Maps float32 to float32; each convolution is followed by batch norm and ReLU, save the last,
    whose ReLU comes after the addition.

    Args:
        in_channels: Channels of the input.
        inner: Channels of the convolutions and of the output.
        stride: 1 keeps height and width, 2 halves them.
        variant: How the block is built; ``stride_on`` has no meaning here.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, inner: int, stride: int, variant: Variant) -> None:
        super().__init__()
        bias = variant.conv_bias
        self.conv1 = Conv2d(in_channels, inner, 3, stride, padding=1, bias=bias)
        self.bn1 = BatchNorm2d(inner)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = Conv2d(inner, inner, 3, padding=1, bias=bias)
        self.bn2 = BatchNorm2d(inner)
        self.downsample = shortcut(in_channels, inner, stride, variant)
        if variant.zero_init_last_norm:
            nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, inner, H / stride, W / stride)."""
        out = self.relu(normalized(self.conv1, self.bn1, x))
        out = normalized(self.conv2, self.bn2, out)
        if self.downsample is not None:
            out += self.downsample(x)
        return self.relu(out)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, four times wider outside than inside (depths 50 and up).

    Maps float32 to float32; each convolution is followed by batch norm and ReLU, save the last,
    whose ReLU comes after the addition.

    Args:
        in_channels: Channels of the input.
        inner: Channels of the first two convolutions.
        stride: 1 keeps height and width, 2 halves them.
        variant: How the block is built.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, in_channels: int, inner: int, stride: int, variant: Variant) -> None:
        super().__init__()
        bias = variant.conv_bias
        outer = inner * self.expansion
        stride1, stride2 = (stride, 1) if variant.stride_on == "1x1" else (1, stride)
        self.conv1 = Conv2d(in_channels, inner, 1, stride1, bias=bias)
        self.bn1 = BatchNorm2d(inner)
        self.conv2 = Conv2d(inner, inner, 3, stride2, padding=1, bias=bias)
        self.bn2 = BatchNorm2d(inner)
        self.conv3 = Conv2d(inner, outer, 1, bias=bias)
        self.bn3 = BatchNorm2d(outer)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(in_channels, outer, stride, variant)
        if variant.zero_init_last_norm:
            nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, 4 * inner, H / stride, W / stride)."""
        out = self.relu(normalized(self.conv1, self.bn1, x))
        out = self.relu(normalized(self.conv2, self.bn2, out))
        out = normalized(self.conv3, self.bn3, out)
        if self.downsample is not None:
            out += self.downsample(x)
        return self.relu(out)  # type: ignore[no-any-return]


def shortcut(
    in_channels: int, out_channels: int, stride: int, variant: Variant
) -> nn.Module | None:
    """The skip connection of one block.

    Args:
        in_channels: Channels of the block's input.
        out_channels: Channels of the block's output.
        stride: What the block divides height and width by.
        variant: How the block is built.

    Returns:
        The identity where the block keeps its input's shape, else a projection (option B of
        He et al. 2015, 4.1); None in a plain block.
    """
    if variant.plain:
        return None
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    projection = nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=variant.conv_bias)
    )
    if variant.shortcut_norm:
        projection.append(nn.BatchNorm2d(out_channels))
    return projection
