"""Says which class a trained network sees in each of some images.

    python examples/predict.py outputs/shapes photo.jpg another.png

The folder is that of a run, or of a sweep, whose best run is taken. Images that cannot be read
are named on stderr, and the exit code is 1 then.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch import Tensor

from resnet_sweep import load_results
from resnet_sweep.data.decode import decode, open_image, quiet_pillow, reason_of
from resnet_sweep.faults import UserError
from resnet_sweep.models import build_model
from resnet_sweep.models.config import ModelConfig


def best_run(folder: Path) -> Path:
    """The folder itself if it is a run's, else that of the best run in it."""
    if (folder / "rerun.yaml").exists():
        return folder
    folders = load_results(folder)["folder"].dropna()
    if folders.empty:
        sys.exit(f"{folder}: has no run yet")
    return Path(folders.iloc[0])  # Best first.


def predict(run: Path, paths: Sequence[Path]) -> tuple[list[str], dict[Path, Tensor]]:
    """Names of the classes, and the probability of each for every image that can be read."""
    config = OmegaConf.load(run / "rerun.yaml")
    kept = torch.load(run / "best.pt", weights_only=True)
    data, classes = config.data, kept["classes"]
    settings = {**OmegaConf.to_container(config.model), "weights": None}
    network = build_model(ModelConfig(**settings), len(classes), data.channels, data.image_size)
    network.load_state_dict(kept["model"])

    size = {"size": data.image_size, "channels": data.channels, "resize": data.resize}
    pixels = read_images(paths, size)
    if not pixels:
        return classes, {}
    images = torch.from_numpy(np.stack(list(pixels.values()))).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(kept[name])[:, None, None] for name in ("mean", "std"))
    with torch.inference_mode():
        logits = network.eval()((images - mean) / std)
    return classes, dict(zip(pixels, logits.softmax(dim=1), strict=True))


def read_images(paths: Sequence[Path], size: dict[str, Any]) -> dict[Path, NDArray[np.uint8]]:
    """The pixels of each image; one that cannot be read is named on stderr, and left out."""
    pixels = {}
    for path in dict.fromkeys(paths):
        try:
            with quiet_pillow(), open_image(str(path)) as image:
                pixels[path] = decode(image, **size)
        except Exception as error:  # Pillow's are of many types.
            print(f"{path}: {reason_of(error)}", file=sys.stderr)
    return pixels


def main() -> None:
    """Prints a line an image."""
    if len(sys.argv) < 3:
        sys.exit("usage: python examples/predict.py FOLDER IMAGE [IMAGE ...]")
    paths = [Path(name) for name in sys.argv[2:]]
    try:
        classes, probabilities = predict(best_run(Path(sys.argv[1])), paths)
    except UserError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    for path, row in probabilities.items():
        print(f"{path}: {classes[int(row.argmax())]} {row.max():.2f}")
    if len(probabilities) < len(set(paths)):
        sys.exit(1)


if __name__ == "__main__":
    main()
