"""From any image that Pillow reads to square uint8 pixels."""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

# Those of photographs. Pillow knows others by their content, whatever the file is called: for
# EPS, for instance, it starts Ghostscript on what a stranger may have written.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
_ORIENTATION_TAG = 0x0112
_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A JPEG is decoded at a fraction of its size while that stays this many times too large;
# below 2 the loss shows, above it the time is wasted.
_DRAFT_MARGIN = 2
_MAX_UINT16 = 65_535
# Images of more pixels are decoded one at a time: Pillow's own limit is at 179 million, and one
# for each core would need a machine's whole memory.
_LARGE_PIXELS = 32_000_000
_one_large = threading.Lock()


def open_image(file: str | BinaryIO) -> Image.Image:
    """Opens a file of one of the formats of photographs; what it is, its content says.

    Raises:
        Exception: Of many types, from Pillow, where it is none; ``reason_of`` words it.
    """
    return Image.open(file, formats=_formats())


@cache
def _formats() -> tuple[str, ...]:
    # Pillow is built without some of them here and there.
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def decode(image: Image.Image, *, size: int, channels: int, resize: str) -> NDArray[np.uint8]:
    """Decodes one opened image: upright, over white, in the wanted colours and size.

    Args:
        image: As ``open_image`` gives it, of any mode; its pixels need not be read yet.
        size: Height and width of the result in pixels.
        channels: 3 for colour, 1 for grey.
        resize: "crop" (shorter side to ``size``, then the centre) or "stretch".

    Returns:
        uint8 [size, size, channels].

    Raises:
        Exception: Of many types, from Pillow, where the image is broken; ``reason_of`` words it.
    """
    image.draft(None, (_DRAFT_MARGIN * size, _DRAFT_MARGIN * size))  # only JPEGs heed it
    is_large = image.width * image.height > _LARGE_PIXELS
    with _one_large if is_large else nullcontext():
        return _decode(image, size, channels, resize)


def _decode(image: Image.Image, size: int, channels: int, resize: str) -> NDArray[np.uint8]:
    image.load()
    image = _upright(image)
    image, mode = _opaque(image), "RGB" if channels == 3 else "L"
    if image.mode != mode:  # else it would be copied
        image = image.convert(mode)
    width, height = image.size
    box = (0.0, 0.0, float(width), float(height))
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    small = image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    return np.asarray(small, dtype=np.uint8).reshape(size, size, channels)


def reason_of(error: Exception) -> str:
    """Why an image could not be decoded, as a phrase for the user."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow knows (empty, cut off or another kind of file)"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large to be decoded: {error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error) or "no reason given"
    return text if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {text}"


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silences what Pillow says of odd but readable files: thousands of lines that help nobody.

    Not safe to enter in two threads at once: warning filters belong to the process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        # Cameras write broken EXIF blocks beside sound pixels.
        return image
    method = _TRANSPOSED.get(orientation)
    return image if method is None else image.transpose(method)


def _opaque(image: Image.Image) -> Image.Image:
    """The image without transparency and with 8 bits a value."""
    if image.mode.startswith("I"):
        return _eight_bits(image)
    if image.mode == "F":
        raise ValueError("pixels are floating point numbers, whose white is unknown")
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.mode in ("P", "PA", "LA", "RGBA") or "transparency" in image.info:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, colours).convert("RGB")
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8; Pillow's own conversion clips at 255, which is nearly all white."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > _MAX_UINT16:
        raise ValueError("pixels are 32-bit integers, whose white is unknown")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
