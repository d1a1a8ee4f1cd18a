"""Says which class a trained network sees in each of some images.

    python examples/predict.py outputs/shapes photo.jpg another.png

The folder is that of a run, or of a sweep, whose best run is taken.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from resnet_sweep import load_results
from resnet_sweep.data.decode import decode, open_image
from resnet_sweep.faults import UserError
from resnet_sweep.models import build_model
from resnet_sweep.models.config import ModelConfig


def best_run(folder: Path) -> Path:
    """The folder itself if it is a run's, else that of the best run in it."""
    if (folder / "rerun.yaml").exists():
        return folder
    return Path(load_results(folder)["folder"].iloc[0])  # Best first.


def predict(run: Path, paths: Sequence[Path]) -> tuple[list[str], Tensor]:
    """Names of the classes, and the probability of each for every image, [images, classes]."""
    config = OmegaConf.load(run / "rerun.yaml")
    kept = torch.load(run / "best.pt", weights_only=True)
    data, classes = config.data, kept["classes"]
    settings = {**OmegaConf.to_container(config.model), "weights": None}
    network = build_model(ModelConfig(**settings), len(classes), data.channels, data.image_size)
    network.load_state_dict(kept["model"])

    size = {"size": data.image_size, "channels": data.channels, "resize": data.resize}
    pixels = np.stack([decode(open_image(str(path)), **size) for path in paths])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(kept[name])[:, None, None] for name in ("mean", "std"))
    with torch.inference_mode():
        logits = network.eval()((images - mean) / std)
    return classes, logits.softmax(dim=1)


def main() -> None:
    """Prints a line an image."""
    if len(sys.argv) < 3:
        sys.exit("usage: python examples/predict.py FOLDER IMAGE [IMAGE ...]")
    paths = [Path(name) for name in sys.argv[2:]]
    try:
        classes, probabilities = predict(best_run(Path(sys.argv[1])), paths)
    except (UserError, OSError) as error:
        sys.exit(str(error))
    for path, row in zip(paths, probabilities, strict=True):
        print(f"{path}: {classes[int(row.argmax())]} {row.max():.2f}")


if __name__ == "__main__":
    main()
