"""What makes training fast must not change what is learned."""

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from resnet_sweep.data import open_data
from resnet_sweep.data.config import AugmentConfig, DigitsConfig
from resnet_sweep.models import build_model
from resnet_sweep.models.config import ModelConfig
from resnet_sweep.paths import config_dir
from resnet_sweep.training.config import (
    ConstantConfig,
    ObjectiveConfig,
    Recipe,
    SgdConfig,
    TrainerConfig,
)
from resnet_sweep.training.folder import RunFolder
from resnet_sweep.training.loop import Trainer

NUM_EPOCHS = 4
# Of a training that is stable: at larger ones rounding grows into another course.
LR = 0.001
CPU = torch.device("cpu")


def plain_settings() -> dict[str, object]:
    """What conf/trainer/plain.yaml switches off."""
    settings = OmegaConf.to_container(OmegaConf.load(config_dir() / "trainer" / "plain.yaml"))
    assert isinstance(settings, dict)
    del settings["defaults"]
    return {str(key): value for key, value in settings.items()}


def loss_curve(path: Path, cache_dir: Path, settings: dict[str, object]) -> np.ndarray:
    """Mean loss of every step, [steps], of a ResNet-18 on 192 digits."""
    size = 32
    data = open_data(
        DigitsConfig(image_size=size, num_train=192, num_val=40, cache_dir=str(cache_dir))
    )
    config = TrainerConfig(epochs=NUM_EPOCHS, batch_size=32, **settings)  # type: ignore[arg-type]
    torch.manual_seed(config.seed)
    trainer = Trainer(
        model=build_model(ModelConfig(depth=18), len(data.classes), 3, size),
        data=data,
        recipe=Recipe(SgdConfig(lr=LR), ConstantConfig(), config, ObjectiveConfig()),
        augment=AugmentConfig(random_crop=2),
        folder=RunFolder(path),
        device=CPU,
        precision=config.precision,
        settings={},
    )
    losses = []
    for epoch in range(1, NUM_EPOCHS + 1):
        trainer.model.train()
        for feed in trainer.train_batches.feeds(epoch):
            trainer.prepared.meter.reset()
            trainer.prepared.run(feed, LR)
            trainer.prepared.meter.count(32)
            losses.append(trainer.prepared.meter.read().loss)
    return np.array(losses)


@pytest.mark.slow
def test_the_fast_path_learns_as_the_plain_one_does(tmp_path, cache_dir):
    """Same seed, same batches: bf16, NHWC and fused kernels against none of them.

    Bounds: the first loss, before any update, within 1 %; the mean of each of four epochs within
    0.15, and each of 24 steps within 0.4, while the loss falls by more than 1.5.
    """
    plain = loss_curve(tmp_path / "plain", cache_dir, plain_settings())
    fast = loss_curve(tmp_path / "fast", cache_dir, {"precision": "bf16"})
    assert plain[0] - plain[-6:].mean() > 1.5
    assert fast[0] == pytest.approx(plain[0], rel=0.01)
    np.testing.assert_allclose(fast, plain, atol=0.4)
    by_epoch = [curve.reshape(NUM_EPOCHS, -1).mean(axis=1) for curve in (fast, plain)]
    np.testing.assert_allclose(*by_epoch, atol=0.15)
    # Not the same arithmetic under another name.
    assert not np.array_equal(fast, plain)
    # Without bf16 what is left is rounding, which grows a hundredfold a step at first.
    exact = loss_curve(tmp_path / "exact", cache_dir, {"precision": "fp32"})
    np.testing.assert_allclose(exact[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(exact[:3], plain[:3], rtol=5e-3)
