"""A whole Hydra application of one's own: softmax regression on digits, in NumPy.

Run it from anywhere:

    python examples/own_application/train.py optimizer.lr=0.3
    python examples/own_application/train.py -m study=search
"""

from __future__ import annotations

from pathlib import Path

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig
from sklearn.datasets import load_digits

from resnet_sweep.files import replacing
from resnet_sweep.sweep import current_trial

NUM_TRAIN = 1437
CHECKPOINT = "last.npz"

Array = NDArray[np.float64]


class Classifier:
    """One linear layer and what training has made of it."""

    def __init__(self) -> None:
        self.epoch = 0
        self.weights = np.zeros((65, 10))
        self.velocity = np.zeros((65, 10))

    def load(self, path: Path) -> None:
        """Takes up the state at the end of an epoch."""
        with np.load(path) as state:
            self.epoch = int(state["epoch"])
            self.weights, self.velocity = state["weights"], state["velocity"]

    def save(self, path: Path) -> None:
        """Writes the state, whole or not at all."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, epoch=self.epoch, weights=self.weights, velocity=self.velocity)

    def probabilities(self, images: Array) -> Array:
        """Of ten classes, [n, 10], for images with a column of ones, [n, 65]."""
        logits = images @ self.weights
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)

    def train_epoch(self, images: Array, labels: NDArray[np.int64], cfg: DictConfig) -> None:
        """One pass in an order that depends on seed and epoch alone."""
        order = np.random.default_rng([cfg.seed, self.epoch]).permutation(len(images))
        for start in range(0, len(order), cfg.batch_size):
            batch = order[start : start + cfg.batch_size]
            errors = self.probabilities(images[batch])
            errors[np.arange(len(batch)), labels[batch]] -= 1
            gradient = images[batch].T @ errors / len(batch)
            gradient += cfg.optimizer.weight_decay * self.weights
            self.velocity = cfg.optimizer.momentum * self.velocity + gradient
            self.weights = self.weights - cfg.optimizer.lr * self.velocity
        self.epoch += 1

    def measure(self, images: Array, labels: NDArray[np.int64]) -> dict[str, float]:
        """Accuracy and mean cross entropy."""
        found = self.probabilities(images)
        likelihood = found[np.arange(len(labels)), labels].clip(1e-12)
        accuracy = float((found.argmax(axis=1) == labels).mean())
        return {"accuracy": accuracy, "loss": float(-np.log(likelihood).mean())}


def taken_up(folder: Path) -> Classifier:
    """A new classifier, or the one that a killed or stopped attempt has left."""
    model = Classifier()
    for earlier in (folder, *current_trial().previous_folders):
        if (earlier / CHECKPOINT).exists():
            model.load(earlier / CHECKPOINT)
            print(f"goes on from epoch {model.epoch} of {earlier}")
            break
    return model


@hydra.main(config_path="conf", config_name="config", execution_whitelist=[])
def main(cfg: DictConfig) -> float | list[float]:
    """One run: of a sweep a trial, otherwise all there is."""
    pixels, labels = load_digits(return_X_y=True)
    images = np.column_stack([pixels / 16, np.ones(len(pixels))])
    folder = Path(HydraConfig.get().runtime.output_dir)
    trial = current_trial()  # Outside a sweep it does nothing.
    model = taken_up(folder)
    began_at = model.epoch
    while model.epoch < cfg.epochs:
        model.train_epoch(images[:NUM_TRAIN], labels[:NUM_TRAIN], cfg)
        model.save(folder / CHECKPOINT)
        measured = model.measure(images[NUM_TRAIN:], labels[NUM_TRAIN:])
        trial.report(measured["accuracy"], model.epoch)  # Raises where the trial is given up.
    measured = model.measure(images[NUM_TRAIN:], labels[NUM_TRAIN:])
    trial.set_user_attr("loss", round(measured["loss"], 4))
    trial.set_user_attr("began_at_epoch", began_at)
    print(f"accuracy {measured['accuracy']:.4f}, loss {measured['loss']:.4f}, in {folder}")
    if isinstance(cfg.objective, str):
        return measured[cfg.objective]
    return [measured[name] for name in cfg.objective]


if __name__ == "__main__":
    main()
