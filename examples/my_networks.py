"""A network of one's own, for docs/own_network.md."""

from __future__ import annotations

from torch import Tensor, nn


class SmallNet(nn.Module):
    """Three convolutions, each halving height and width, and a linear layer.

    Args:
        num_classes: Outputs; passed by resnet_sweep.
        in_channels: Channels of the images; passed by resnet_sweep, because it is asked for.
        width: Channels of the first convolution.
        dropout: Probability of a feature to be left out.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, width: int = 16, dropout: float = 0.0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for wide in (width, 2 * width, 4 * width):
            layers += [
                nn.Conv2d(channels, wide, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(wide),
                nn.ReLU(inplace=True),
            ]
            channels = wide
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, in_channels, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.classify(self.features(images))
        return logits
