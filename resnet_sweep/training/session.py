"""What lives from run to run in one process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from resnet_sweep.data import DeviceSplit, ImageData, Split, open_data, place
from resnet_sweep.data.config import AugmentConfig, DataConfig
from resnet_sweep.models.config import ModelConfig
from resnet_sweep.training.config import Recipe
from resnet_sweep.training.device import give_back_memory
from resnet_sweep.training.prepared import Place, Prepared, tensors_of

# Settings of a trainer that a captured step does not contain. Everything else is baked into
# it, a setting that is added later as well.
_OUTSIDE_THE_STEP = frozenset(
    {
        "epochs",
        "val_batch_size",
        "seed",
        "resume",
        "checkpoint_every_s",
        "tensorboard",
        "profile",
    }
)


@dataclass(frozen=True)
class StepKey:
    """All that is baked into a prepared step; the learning rate and the seed are not.

    Runs with equal keys train with the same kernels on the same shapes.

    Attributes:
        settings: Of network, optimizer, augmentation and trainer, as far as they are in it.
        data: Hash of the images.
        num_classes: Outputs of the network.
        place: Device and arithmetic.
        num_threads: Of the CPU.
    """

    settings: str
    data: str
    num_classes: int
    place: Place
    num_threads: int

    @classmethod
    def of(
        cls,
        model: ModelConfig,
        augment: AugmentConfig,
        recipe: Recipe,
        data: ImageData,
        place: Place,
    ) -> StepKey | None:
        """The key of a run; None for a network that is not ours.

        Such a network may keep something that is neither a parameter nor a buffer.
        """
        if model._target_ is not None:
            return None
        optimizer, trainer = (dataclasses.asdict(c) for c in (recipe.optimizer, recipe.trainer))
        del optimizer["lr"]
        for name in _OUTSIDE_THE_STEP:
            del trainer[name]
        # What is in the file is written over the weights at every start.
        network = dataclasses.asdict(dataclasses.replace(model, weights=None))
        settings = repr((network, optimizer, dataclasses.asdict(augment), trainer))
        return cls(settings, data.key, len(data.classes), place, torch.get_num_threads())


class Session:
    """Keeps what is dear between the runs of a process.

    The opened data set, its splits on the device, and the last network with its optimizer and
    its captured step: the next run of the same images starts without looking at the disk, and
    one that differs only in learning rate, schedule, seed or epochs without preparing anything.

    Args:
        admit: Called with the images of every run; raises for those that it must not have.
    """

    def __init__(self, admit: Callable[[DataConfig, ImageData], None] | None = None) -> None:
        self._admit = admit
        self._config: DataConfig | None = None
        self._data: ImageData | None = None
        self._placed: dict[tuple[int, str, bool], tuple[Split, DeviceSplit]] = {}
        self._key: StepKey | None = None
        self._prepared: Prepared | None = None

    def data(self, config: DataConfig) -> ImageData:
        """The decoded data set, opened once for consecutive runs of the same images.

        Raises:
            DataError: The images on disk are not what the settings need, or not admitted.
        """
        # Augmentation happens on the device, batch by batch.
        config = dataclasses.replace(config, augment=AugmentConfig())
        if self._data is None or config != self._config:
            # In this order: forgetting the step hands the memory of both back to the device.
            self._placed.clear()
            self.forget_step()
            self._config, self._data = config, open_data(config)
        if self._admit is not None:
            self._admit(config, self._data)
        return self._data

    def place(self, split: Split, device: torch.device, *, on_device: bool = True) -> DeviceSplit:
        """The split's tensors, put on the device once; see ``data.place``."""
        key = (id(split), str(device), on_device)
        if key not in self._placed:
            # The split is kept beside them, so that nothing else gets its id.
            self._placed[key] = split, place(split, device, on_device=on_device)
        return self._placed[key][1]

    def prepared(
        self, key: StepKey | None, model: nn.Module, prepare: Callable[[], Prepared]
    ) -> Prepared:
        """What the last run has left if its key is the same, begun anew; else a new one.

        Args:
            key: None is equal to no other: what is prepared lives as long as its caller.
            model: Has the weights to begin with.
            prepare: Prepares ``model``; called when the memory of the last run is free.
        """
        if self._prepared is not None and key is not None and key == self._key:
            self._prepared.start(tensors_of(model))
            return self._prepared
        self.forget_step()
        prepared = prepare()
        if key is not None:
            self._key, self._prepared = key, prepared
        return prepared

    def forget_step(self) -> None:
        """Gives back the memory of the last network and its captured step."""
        self._key = self._prepared = None
        # A captured step refers to itself in a circle, and a graph's memory is its own.
        give_back_memory()
