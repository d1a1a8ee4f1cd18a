"""The trials of ``benchmarks.sweep`` as a training script of the plain kind has them.

    python -m benchmarks.plain_app data.root=FOLDER optimizer.lr=0.01 trainer.epochs=1

A Hydra application as the tutorials write it: DataLoaders that decode JPEGs on every access,
torchvision's transforms, torch.optim.SGD, fp32, NCHW, ``loss.item()`` every step, one validation
an epoch. Images, network with its first weights, batch size, epochs and seed are those of our
run, and so are the names of the settings; its numbers are not, for its batches are others.

It imports at its top what it needs, as such scripts do. Which images belong to which split, their
mean and their deviation are read from our cache of decoded images, which costs it next to
nothing; their pixels are not. It stamps by itself; see ``benchmarks.stamping``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import hydra
import torch
import torch.nn.functional as F
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf
from torch import Tensor, nn

from benchmarks.stamping import note
from benchmarks.ways.base import network, synchronize, write_out_the_network
from benchmarks.ways.loaders import plain_loaders
from resnet_sweep.config import Config
from resnet_sweep.data import open_data
from resnet_sweep.data.config import CatsDogsConfig
from resnet_sweep.models.config import ModelConfig
from resnet_sweep.training.config import ConstantConfig, SgdConfig, TrainerConfig
from resnet_sweep.training.device import resolve_device

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass
class Settings:
    """What can be typed."""

    defaults: list[Any] = field(default_factory=lambda: ["_self_", {"data": "cats_dogs"}])
    # resnet or plain and its depth.
    model: str = "resnet50"
    data: CatsDogsConfig = MISSING
    optimizer: SgdConfig = field(default_factory=SgdConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


ConfigStore.instance().store(name="plain_app", node=Settings, replace=True)
ConfigStore.instance().store(group="data", name="cats_dogs", node=CatsDogsConfig, replace=True)


def config_of(cfg: DictConfig) -> Config:
    """The settings as our run has them."""
    settings = cast(Any, OmegaConf.to_object(cfg))
    kind = settings.model.rstrip("0123456789")
    model = ModelConfig(depth=int(settings.model[len(kind) :]), plain=kind == "plain")
    return Config(model, settings.data, settings.optimizer, ConstantConfig(), settings.trainer)


@dataclass(frozen=True)
class Pass:
    """One pass over the images of a loader.

    Attributes:
        loss: Mean over its images.
        accuracy: Share of them.
        num_images: How many.
    """

    loss: float
    accuracy: float
    num_images: int


def stamped(batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches, with a stamp when the first is there: a trial's first step begins."""
    for i, batch in enumerate(batches):
        if i == 0:
            note("step")
        yield batch


def run_pass(
    model: nn.Module,
    batches: Batches,
    device: torch.device,
    optimizer: torch.optim.Optimizer | None = None,
) -> Pass:
    """One pass; trains where there is an optimizer, else validates."""
    loss_sum = 0.0
    num_correct = num_images = 0
    model.train(optimizer is not None)
    with torch.set_grad_enabled(optimizer is not None):
        for images, labels in batches:
            images = images.to(device, non_blocking=True)
            labels = labels.to(device, non_blocking=True)
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            loss_sum += loss.item() * len(labels)
            num_correct += int((logits.argmax(dim=1) == labels).sum().item())
            num_images += len(labels)
    return Pass(loss_sum / num_images, num_correct / num_images, num_images)


def train(config: Config, folder: Path) -> float:
    """One trial.

    Args:
        config: Of our run.
        folder: For its result.json, in the form that ``benchmarks.nine`` reads.

    Returns:
        The best validation accuracy.
    """
    device = resolve_device(config.trainer.device)
    torch.backends.cudnn.benchmark = True
    write_out_the_network()
    data = open_data(config.data)
    training, validation = plain_loaders(config, data)
    for loader in (training, validation):
        # As it is in a process of its own. In those of joblib it would be joblib's, with which a
        # DataLoader cannot start its workers.
        loader.multiprocessing_context = "fork"
    model = network(config, data).to(device)
    sgd = cast(SgdConfig, config.optimizer)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=sgd.lr, momentum=sgd.momentum, weight_decay=sgd.weight_decay
    )
    best = 0.0
    for epoch in range(config.trainer.epochs):
        began_s = time.monotonic()
        trained = run_pass(model, training if epoch else stamped(training), device, optimizer)
        synchronize(device)
        seconds = time.monotonic() - began_s
        note("epoch", began_s=began_s, seconds=seconds, images=trained.num_images)
        validated = run_pass(model, validation, device)
        best = max(best, validated.accuracy)
    result = {
        "state": "COMPLETE",
        "objective": best,
        "threads": torch.get_num_threads(),
        "last": {"train_loss": trained.loss, "val_loss": validated.loss},
    }
    (folder / "result.json").write_text(json.dumps(result))
    note("ended")
    return best


@hydra.main(config_path=None, config_name="plain_app", execution_whitelist=["benchmarks.*"])
def main(cfg: DictConfig) -> float:
    """One trial in Hydra's output folder."""
    return train(config_of(cfg), Path(HydraConfig.get().runtime.output_dir))


if __name__ == "__main__":
    # Under its own name joblib's processes import it. Of __main__ they are sent a copy, and
    # torch.backends.cudnn, which the copy holds, cannot be sent.
    from benchmarks import plain_app

    plain_app.main()
