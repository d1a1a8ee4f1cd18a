"""Draws a folder of class folders to try things with, where one has no images of one's own yet.

python examples/draw_shapes.py shapes
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

NUM_EACH = 100
SIZE = 64


def draw(kind: str, choose: random.Random) -> Image.Image:
    """One bright shape in a random colour, place and size on a dark ground."""
    ground, colour = (tuple(choose.choices(shades, k=3)) for shades in (range(80), range(120, 256)))
    image = Image.new("RGB", (SIZE, SIZE), ground)
    side = choose.randint(SIZE // 2, SIZE * 3 // 4)
    x, y = choose.randint(0, SIZE - side), choose.randint(0, SIZE - side)
    pen, box = ImageDraw.Draw(image), (x, y, x + side, y + side)
    if kind == "circle":
        pen.ellipse(box, fill=colour)
    elif kind == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(x + side // 2, y), (x, y + side), (x + side, y + side)], fill=colour)
    return image


def main() -> None:
    """Writes 100 images of each of three classes."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/draw_shapes.py FOLDER")
    root, choose = Path(sys.argv[1]), random.Random(0)  # noqa: S311
    for kind in ("circle", "square", "triangle"):
        (root / kind).mkdir(parents=True, exist_ok=True)
        for number in range(NUM_EACH):
            draw(kind, choose).save(root / kind / f"{number:02}.png")
    print(f"{3 * NUM_EACH} images in {root}")


if __name__ == "__main__":
    main()
