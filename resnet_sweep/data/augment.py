"""Random changes of training batches, as batched tensor operations on any device.

Shapes: N images of a split, B of a batch, H height, W width, C channels. Pixels are stored and
changed as uint8 [B, H, W, C]; this order is what PyTorch calls channels_last.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_sweep.data.config import AugmentConfig

# Aspect ratios of random resized crops (Szegedy et al. 2014, "Going deeper with convolutions").
_MAX_ASPECT = 4 / 3
_ATTEMPTS = 10


def generator_for(seed: int, epoch: int, purpose: str) -> torch.Generator:
    """A CPU generator of its own for one purpose in one epoch: resuming needs no saved state."""
    return torch.Generator().manual_seed(seed_for(seed, epoch, purpose))


def seed_for(seed: int, epoch: int, purpose: str) -> int:
    """A seed of its own for one purpose in one epoch, from 0 to 2**63 - 1."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Draws:
    """All random numbers of one epoch, drawn at its start on the CPU: the same on every device.

    Attributes:
        flip: bool [N], whether to mirror, or None.
        shift: int64 [N, 2], top and left of the crop in the padded image in pixels, or None.
        crop: float32 [N, 4], centre y and x, height and width of the crop as shares of the
            image, or None.
    """

    flip: Tensor | None = None
    shift: Tensor | None = None
    crop: Tensor | None = None

    def to(self, device: torch.device) -> Draws:
        """The same numbers on a device."""
        return Draws(*(None if t is None else t.to(device) for t in self._tensors()))

    def named(self) -> dict[str, Tensor]:
        """The numbers that are there, by their names."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}

    @classmethod
    def of(cls, named: Mapping[str, Tensor]) -> Draws:
        """What ``named`` gave, perhaps among other tensors."""
        return cls(named.get("flip"), named.get("shift"), named.get("crop"))

    def batch(self, start: int, end: int) -> Draws:
        """The numbers of images ``start`` to ``end`` of the epoch's order."""
        return Draws(*(None if t is None else t[start:end] for t in self._tensors()))

    def _tensors(self) -> tuple[Tensor | None, ...]:
        return self.flip, self.shift, self.crop


def draw(config: AugmentConfig, num: int, generator: torch.Generator) -> Draws:
    """Draws what happens to ``num`` images."""
    flip = shift = crop = None
    if config.horizontal_flip:
        flip = torch.rand(num, generator=generator) < 0.5
    if config.random_crop:
        shift = torch.randint(2 * config.random_crop + 1, (num, 2), generator=generator)
    if config.random_resized_crop is not None:
        crop = _draw_crops(config.random_resized_crop, num, generator)
    return Draws(flip, shift, crop)


def augment(images: Tensor, draws: Draws, pad: int) -> Tensor:
    """Applies the draws to a batch.

    Args:
        images: uint8 [B, H, W, C].
        draws: Numbers of this batch, on the images' device.
        pad: Zero pixels on each side before the crop at ``draws.shift``.

    Returns:
        [B, H, W, C]: uint8, or float32 on the scale 0..255 after a resized crop.
    """
    if draws.crop is not None:
        return resized_crop(images, draws.crop, draws.flip)
    if draws.shift is not None or draws.flip is not None:
        return shifted_crop(images, draws.shift, draws.flip, pad)
    return images


def shifted_crop(images: Tensor, shift: Tensor | None, mask: Tensor | None, pad: int) -> Tensor:
    """Pads with zeros, crops back to the old size and mirrors.

    Args:
        images: [B, H, W, C].
        shift: int64 [B, 2], top and left of the crop in the padded image; None is no crop.
        mask: bool [B], which crops to mirror; None is none of them.
        pad: Zero pixels on each side.
    """
    num, height, width, _ = images.shape
    if shift is None:
        if images.device.type != "cpu":
            # Not images[mask] = ...: counting the mask would stop a GPU's queue.
            assert mask is not None
            return torch.where(mask[:, None, None, None], images.flip(2), images)
        shift = images.new_zeros((num, 2), dtype=torch.int64)
    elif pad:
        images = F.pad(images, (0, 0, pad, pad, pad, pad))
    if mask is None:
        mask = torch.zeros(num, dtype=torch.bool, device=images.device)
    crop = _crop_one_by_one if images.device.type == "cpu" else _crop_at_once
    return crop(images, shift, mask, height, width)


def _crop_one_by_one(
    images: Tensor, shift: Tensor, mask: Tensor, height: int, width: int
) -> Tensor:
    """On a CPU whole rows copied image by image take a twentieth of the time of a gather."""
    result = images.new_empty((len(images), height, width, images.shape[3]))
    for i, ((top, left), mirrored) in enumerate(zip(shift.tolist(), mask.tolist(), strict=True)):
        part = images[i, top : top + height, left : left + width]
        result[i] = part.flip(1) if mirrored else part
    return result


def _crop_at_once(images: Tensor, shift: Tensor, mask: Tensor, height: int, width: int) -> Tensor:
    """On a GPU one gather does crop and flip for the whole batch."""
    rows = shift[:, :1] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    columns = shift[:, 1:] + torch.where(mask[:, None], columns.flip(0), columns)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images[batch, rows[:, :, None], columns[:, None, :]]


def resized_crop(images: Tensor, crop: Tensor, mask: Tensor | None) -> Tensor:
    """Crops [B, H, W, C] at ``crop``, float32 [B, 4], back to H x W, bilinear, float32."""
    num, height, width, _ = images.shape
    pixels = images.permute(0, 3, 1, 2).float()
    y, x, share_y, share_x = crop[:, :, None].unbind(1)
    if mask is not None:  # a negative width mirrors
        share_x = torch.where(mask[:, None], -share_x, share_x)
    # Not affine_grid: it multiplies matrices for what is a row and a column of coordinates,
    # and takes longer than the sampling. They run from -1 to 1 over the image.
    grid = pixels.new_empty((num, height, width, 2))
    grid[..., 0] = (2 * x - 1 + share_x * _centres(width, images.device))[:, None, :]
    grid[..., 1] = (2 * y - 1 + share_y * _centres(height, images.device))[:, :, None]
    result = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return result.permute(0, 2, 3, 1)


def _centres(num: int, device: torch.device) -> Tensor:
    """Centres of ``num`` pixels on the scale -1..1."""
    return (torch.arange(num, device=device, dtype=torch.float32) * 2 + 1) / num - 1


class Normalize:
    """(pixel / 255 - mean) / std for whole batches."""

    def __init__(self, mean: Tensor, std: Tensor, width: int, device: torch.device) -> None:
        # One row of pixels long: the innermost loop then runs over width x channels, not over 3.
        scale = 1 / (255 * std.double())
        shift = -mean.double() / std.double()
        self._scale = scale.float().repeat(width).to(device)
        self._shift = shift.float().repeat(width).to(device)

    def __call__(self, images: Tensor, *, channels_last: bool) -> Tensor:
        """Normalises [B, H, W, C], uint8 or float32 0..255, to float32 [B, C, H, W].

        The memory stays in channels_last order where asked for, else it is contiguous.
        """
        num, height, width, channels = images.shape
        rows = images.reshape(num, height, width * channels).to(torch.float32)
        rows = torch.addcmul(self._shift, rows, self._scale)
        pixels = rows.view(num, height, width, channels).permute(0, 3, 1, 2)
        return pixels if channels_last else pixels.contiguous()


def _draw_crops(min_area: float, num: int, generator: torch.Generator) -> Tensor:
    """Centre y, x, height, width as shares of the image; float32 [num, 4].

    Area and aspect are drawn until the crop fits, as torchvision's RandomResizedCrop does; where
    none of ten fits, the whole image is taken.
    """
    size = (num, _ATTEMPTS)
    area = torch.empty(size).uniform_(min_area, 1, generator=generator)
    limit = math.log(_MAX_ASPECT)
    aspect = torch.empty(size).uniform_(-limit, limit, generator=generator).exp()
    heights, widths = (area / aspect).sqrt(), (area * aspect).sqrt()
    fits = (heights <= 1) & (widths <= 1)
    first = fits.int().argmax(dim=1, keepdim=True)
    any_fits = fits.any(dim=1)
    height = torch.where(any_fits, heights.gather(1, first)[:, 0], 1.0)
    width = torch.where(any_fits, widths.gather(1, first)[:, 0], 1.0)
    place = torch.rand((num, 2), generator=generator)
    y = height / 2 + place[:, 0] * (1 - height)
    x = width / 2 + place[:, 1] * (1 - width)
    return torch.stack([y, x, height, width], dim=1)
