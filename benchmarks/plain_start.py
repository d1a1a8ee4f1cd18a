"""The start of a plain training script: ResNet-50, a DataLoader, one step. Nothing of ours.

    python -m benchmarks.plain_start ROOT SIZE IMAGES cpu|cuda

Stamps say how far it is; see ``benchmarks.stamping``. Its imports are those of such scripts.
"""

import os
import sys
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.stamping import note

BATCH_SIZE = 32


class Pets(Dataset[tuple[Tensor, int]]):
    """Cats and dogs by the names of their files."""

    def __init__(self, root: str, size: int, num: int) -> None:
        # In any order: a training script shuffles.
        self._paths = sorted(Path(root).rglob("*.jpg"))[:num]
        self._transform = transforms.Compose(
            [
                transforms.Resize(size),
                transforms.CenterCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.25] * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path = self._paths[index]
        with Image.open(path) as image:
            return self._transform(image.convert("RGB")), int(path.name.startswith("dog"))


def main(root: str, size: int, num_images: int, device: str) -> None:
    """One step of training."""
    note("opening")
    data = Pets(root, size, num_images)
    loader = DataLoader(
        data,
        batch_size=BATCH_SIZE,
        shuffle=True,
        num_workers=len(os.sched_getaffinity(0)),
        pin_memory=device == "cuda",
    )
    note("opened")
    model = torchvision.models.resnet50(num_classes=2).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=3e-3, momentum=0.9)
    note("fit")
    images, labels = next(iter(loader))
    note("step")
    loss = nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    loss.item()
    note("stepped")
    # Its workers need not end in order.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
