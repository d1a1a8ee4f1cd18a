import ctypes
import dataclasses
import gc
import resource
import weakref
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from commands import SMALL
from recording import record_operations

from resnet_sweep.data import augment as augmenting
from resnet_sweep.data.config import AugmentConfig, DigitsConfig
from resnet_sweep.models import build_model
from resnet_sweep.models.config import ModelConfig, is_captured
from resnet_sweep.training import prepared as preparing
from resnet_sweep.training.config import (
    AdamConfig,
    ConstantConfig,
    CosineConfig,
    ObjectiveConfig,
    OptimizerConfig,
    Recipe,
    SgdConfig,
    TrainerConfig,
)
from resnet_sweep.training.folder import RunFolder
from resnet_sweep.training.loop import Trainer
from resnet_sweep.training.prepared import Place
from resnet_sweep.training.session import Session, StepKey

CPU = torch.device("cpu")


class Silent:
    def report(self, epoch: int, metrics: Any) -> None:
        pass


def data_config(cache_dir: Path, **changes: Any) -> DigitsConfig:
    return DigitsConfig(
        image_size=32, num_train=96, num_val=40, cache_dir=str(cache_dir), **changes
    )


def run(
    session: Session,
    path: Path,
    cache_dir: Path,
    *,
    optimizer: OptimizerConfig | None = None,
    model: ModelConfig | None = None,
    augment: AugmentConfig | None = None,
    **changes: Any,
) -> tuple[Trainer, pd.DataFrame]:
    """One run as an application makes it; returns what metrics.csv says, times left out."""
    trainer_config = TrainerConfig(**{"epochs": 2, "batch_size": 16} | changes)
    augment = augment or AugmentConfig(horizontal_flip=True)
    recipe = Recipe(
        optimizer or SgdConfig(lr=0.02), ConstantConfig(), trainer_config, ObjectiveConfig()
    )
    model = model or ModelConfig(depth=18)
    data = session.data(data_config(cache_dir, augment=augment))
    torch.manual_seed(trainer_config.seed)
    trainer = Trainer(
        model=build_model(model, len(data.classes), 3, 32),
        data=data,
        recipe=recipe,
        augment=augment,
        folder=RunFolder(path),
        device=CPU,
        precision="fp32",
        settings={},
        model_config=model,
        session=session,
    )
    trainer.fit(Silent(), lambda: None)
    measured = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    return trainer, pd.read_csv(path / "metrics.csv")[measured]


@pytest.mark.slow
@pytest.mark.parametrize("captured", [False, True], ids=["eager", "captured"])
def test_runs_after_one_another_are_those_of_a_new_process(
    tmp_path, cache_dir, monkeypatch, captured
):
    """Whatever was there before, also with steps that are recorded and replayed."""
    if captured:
        monkeypatch.setattr(preparing, "recorder_for", lambda device: record_operations)
        # On a CPU images are cropped one by one in Python, which no recording can hold.
        monkeypatch.setattr(augmenting, "_crop_one_by_one", augmenting._crop_at_once)
    runs: list[dict[str, Any]] = [
        {"optimizer": SgdConfig(lr=0.05)},
        {"optimizer": SgdConfig(lr=0.01), "seed": 4},
        {"optimizer": SgdConfig(lr=0.01, momentum=0.5)},
        {"optimizer": AdamConfig(lr=0.001)},
        {"optimizer": SgdConfig(lr=0.05)},
    ]
    shared = Session()
    for i, settings in enumerate(runs[:3] if captured else runs):
        _, found = run(shared, tmp_path / f"shared-{i}", cache_dir, **settings)
        _, expected = run(Session(), tmp_path / f"own-{i}", cache_dir, **settings)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_only_what_is_not_in_a_step_may_differ_for_it_to_be_taken_over(tmp_path, cache_dir):
    session = Session()
    first, _ = run(session, tmp_path / "0", cache_dir, epochs=1)
    settings: dict[str, Any] = {"optimizer": SgdConfig(lr=0.01), "seed": 2, "epochs": 1}
    second, found = run(session, tmp_path / "1", cache_dir, **settings)
    assert second.prepared is first.prepared
    _, expected = run(Session(), tmp_path / "own", cache_dir, **settings)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    another = SgdConfig(lr=0.01, momentum=0.1)
    third, _ = run(session, tmp_path / "2", cache_dir, optimizer=another, epochs=1)
    assert third.prepared is not first.prepared
    assert session.place(third.data.train, CPU) is session.place(first.data.train, CPU)


def test_every_setting_is_in_the_key_unless_a_step_cannot_contain_it(cache_dir):
    """Each setting of the groups changed by itself."""
    data = Session().data(data_config(cache_dir))

    def key(model=None, augment=None, optimizer=None, trainer=None, scheduler=None):
        recipe = Recipe(
            optimizer or SgdConfig(),
            scheduler or ConstantConfig(),
            trainer or TrainerConfig(),
            ObjectiveConfig(),
        )
        return StepKey.of(
            model or ModelConfig(), augment or AugmentConfig(), recipe, data, Place(CPU, "fp32")
        )

    same = set()
    groups = {
        "model": ModelConfig(),
        "augment": AugmentConfig(),
        "optimizer": SgdConfig(),
        "trainer": TrainerConfig(),
    }
    for group, config in groups.items():
        for field in dataclasses.fields(config):
            changed = dataclasses.replace(config, **{field.name: "another"})
            if key(**{group: changed}) == key():
                same.add(f"{group}.{field.name}")
    assert same == {
        "model.weights",
        "optimizer.lr",
        "trainer.epochs",
        "trainer.val_batch_size",
        "trainer.seed",
        "trainer.resume",
        "trainer.checkpoint_every_s",
        "trainer.tensorboard",
        "trainer.profile",
    }
    assert key(scheduler=CosineConfig()) == key()


def test_a_network_that_is_not_ours_is_never_taken_over(cache_dir):
    data = Session().data(data_config(cache_dir))
    model = ModelConfig(_target_="torchvision.models.resnet18")
    recipe = Recipe(SgdConfig(), ConstantConfig(), TrainerConfig(), ObjectiveConfig())
    assert StepKey.of(model, AugmentConfig(), recipe, data, Place(CPU, "fp32")) is None
    session = Session()
    made: list[Any] = []

    def prepare() -> Any:
        made.append(object())
        return made[-1]

    network = torch.nn.Linear(2, 2)
    assert session.prepared(None, network, prepare) is not session.prepared(None, network, prepare)
    assert len(made) == 2


@pytest.mark.parametrize(
    ("target", "captured"),
    [(None, True), ("torchvision.models.resnet18", True), ("my_networks.Net", False)],
)
def test_a_network_of_a_stranger_is_not_captured(target, captured):
    """Python that it runs in every step would be baked in."""
    assert is_captured(ModelConfig(_target_=target)) is captured


def test_images_are_opened_once_however_they_are_augmented(cache_dir):
    session = Session()
    first = session.data(data_config(cache_dir))
    flipped = data_config(cache_dir, augment=AugmentConfig(horizontal_flip=True))
    assert session.data(flipped) is first
    assert session.data(data_config(cache_dir, split_seed=1)) is not first


def test_what_is_forgotten_is_free(tmp_path, cache_dir):
    session = Session()
    trainer, _ = run(session, tmp_path / "0", cache_dir, epochs=1)
    weights = weakref.ref(next(trainer.model.parameters()))
    del trainer
    gc.collect()
    assert weights() is not None
    session.forget_step()
    assert weights() is None


@pytest.mark.slow
def test_many_runs_in_one_process_do_not_grow(tmp_path, cache_dir):
    """Networks of two shapes in turn, each third one taken over from the run before it."""
    session = Session()

    def some(num):
        for i in range(num):
            depth = 18 if i % 3 else 34
            run(session, tmp_path / "run", cache_dir, model=ModelConfig(depth=depth), epochs=1)

    def resident_mib():
        gc.collect()
        # Training keeps what is freed for the next step, which is no leak.
        ctypes.CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    some(6)
    before_mib = resident_mib()
    some(9)
    # A network of this kind has 45 MiB of weights: not one of them may be left.
    assert resident_mib() - before_mib < 40


@pytest.mark.slow
def test_one_worker_gives_the_numbers_of_processes_of_their_own(command, tmp_path):
    """Trials that differ in momentum, learning rate, seed and size, one after another."""
    swept = (
        "optimizer.momentum=0.5,0.9",
        "optimizer.lr=0.1,0.01",
        "trainer.seed=0,1",
    )
    plain = (*SMALL, "trainer.threads=1", "trainer.deterministic=true")
    done = command("-m", *plain, *swept, "hydra.sweep.dir=sweep", "hydra.launcher.workers=1")
    assert done.returncode == 0, done.stderr
    trials = sorted((tmp_path / "sweep" / "trials").iterdir(), key=lambda path: int(path.name))
    assert len(trials) == 8
    # Each value of each setting.
    for trial in trials[2::3]:
        overrides = (trial / ".hydra" / "overrides.yaml").read_text().splitlines()
        own = [line[2:].strip("'") for line in overrides]
        folder = tmp_path / f"own-{trial.name}"
        done = command(*own, f"hydra.run.dir={folder}")
        assert done.returncode == 0, done.stderr
        columns = ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"]
        pd.testing.assert_frame_equal(
            pd.read_csv(trial / "metrics.csv")[columns],
            pd.read_csv(folder / "metrics.csv")[columns],
            check_exact=True,
        )
