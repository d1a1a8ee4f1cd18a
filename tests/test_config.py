import math
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from resnet_sweep.config import Config, check_config, register_schema, to_config
from resnet_sweep.faults import ConfigError
from resnet_sweep.models.config import allow
from resnet_sweep.paths import config_dir
from resnet_sweep.training.config import AdamConfig, SgdConfig

GROUPS = ("model", "data", "optimizer", "scheduler", "trainer")
CHOICES = [
    (group, path.stem) for group in GROUPS for path in sorted((config_dir() / group).glob("*.yaml"))
]


@pytest.fixture
def composed():
    register_schema()
    with initialize_config_dir(config_dir=str(config_dir())):
        yield lambda *overrides: to_config(compose("config", overrides=list(overrides)))


def faults_of(config: Config) -> list[str]:
    return [str(fault) for fault in check_config(config)]


@pytest.mark.parametrize(
    ("group", "some"),
    [
        ("launcher", {"basic", "local", "slurm"}),
        ("sweeper", {"basic", "optuna", "study"}),
        ("sweeper/pruner", {"none", "median", "hyperband"}),
        ("sweeper/sampler", {"study_tpe", "random", "qmc"}),
    ],
)
def test_the_help_lists_what_a_sweep_can_choose(composed, group, some):
    lines = compose("config", return_hydra_config=True).hydra.help.template.splitlines()
    (line,) = (line for line in lines if line.startswith(f"hydra/{group}: "))
    assert some <= set(line.partition(": ")[2].split(", "))


def test_the_help_can_be_read_where_nothing_is_composed(composed):
    config = compose("config", return_hydra_config=True)
    GlobalHydra.instance().clear()
    assert "hydra/launcher: \n" in config.hydra.help.template


def test_the_defaults_are_the_documented_ones(composed):
    config = composed()
    assert faults_of(config) == []
    assert (config.model.depth, config.model.plain) == (50, False)
    assert config.data.name == "digits"
    assert config.optimizer == SgdConfig(lr=3e-3, momentum=0.9)
    assert (config.scheduler.name, config.scheduler.warmup) == ("one_cycle", 0.2)
    assert (config.trainer.epochs, config.trainer.batch_size) == (8, 32)
    assert (config.objective.metric, config.objective.epoch) == ("val_accuracy", "best")


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids="=".join)
def test_every_choice_composes_and_is_in_order(composed, group, choice, tmp_path):
    overrides = [f"{group}={choice}"]
    if choice in ("cats_dogs", "image_folder"):
        overrides.append(f"data.root={tmp_path}")
    config = composed(*overrides)
    assert faults_of(config) == []
    if group in ("data", "optimizer", "scheduler"):
        assert getattr(config, group).name == choice


def test_there_is_a_choice_for_every_depth_and_both_kinds():
    names = {choice for group, choice in CHOICES if group == "model"}
    depths = (18, 34, 50, 101, 152)
    assert names == {f"{kind}{depth}" for kind in ("resnet", "plain") for depth in depths}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=-1", "optimizer.lr=-1.0: must be greater than 0"),
        ("optimizer.lr=nan", "optimizer.lr=nan: must be a finite number"),
        ("optimizer.lr=inf", "optimizer.lr=inf: must be a finite number"),
        ("optimizer.momentum=1", "optimizer.momentum=1.0: must be less than 1"),
        ("trainer.epochs=0", "trainer.epochs=0: must be at least 1"),
        ("trainer.batch_size=1", "trainer.batch_size=1: must be at least 2"),
        ("trainer.device=gpu", "trainer.device=gpu: is not known; choose one of: auto, cpu, cuda"),
        ("trainer.precision=fp16", "is not known; choose one of: auto, bf16, fp32"),
        ("trainer.grad_clip=0", "trainer.grad_clip=0.0: must be greater than 0"),
        ("trainer.label_smoothing=1", "trainer.label_smoothing=1.0: must be less than 1"),
        ("trainer.resume=yes", "is not known; choose one of: auto, never"),
        ("scheduler.warmup=1", "scheduler.warmup=1.0: must be less than 1"),
        ("model.stride_on=2x2", "model.stride_on=2x2: is not known; choose one of: 1x1, 3x3"),
        ("model.depth=51", "choose one of: 18, 34, 50, 101, 152"),
        ("model.in_channels=1", "does not fit the data, whose images have data.channels=3"),
        ("model.weights=nowhere.pt", "model.weights=nowhere.pt: is not a file"),
        ("data.image_size=16", "too small for this network, which needs at least 32 pixels"),
        ("data.channels=2", "data.channels=2: is not known; choose one of: 1, 3"),
        ("data.num_train=31", "trainer.batch_size=32: is larger than the training split"),
        ("objective.metric=f1", "is not known; choose one of: val_accuracy, val_loss"),
    ],
)
def test_each_fault_is_told_with_key_value_and_rule(composed, override, message):
    faults = faults_of(composed(override))
    assert len(faults) == 1
    assert message in faults[0]


def test_all_faults_come_at_once(composed):
    config = composed("optimizer.lr=-1", "trainer.epochs=0", "data=cats_dogs", "scheduler=step")
    config.scheduler.milestones = (0.7, 0.2)  # type: ignore[attr-defined]
    keys = [fault.key for fault in check_config(config)]
    assert keys == ["data.root", "optimizer.lr", "scheduler.milestones", "trainer.epochs"]


def test_a_random_seed_of_zero_is_a_seed(composed):
    assert composed("trainer.seed=0").trainer.seed == 0


def test_what_nothing_reads_is_refused(composed):
    with pytest.raises(ConfigError, match=r"data\.augment\.blur=3: is no setting"):
        composed("+data.augment.blur=3")


def test_a_missing_value_is_named(composed):
    with pytest.raises(ConfigError, match=r"optimizer.lr=\?\?\?: must be set"):
        composed("optimizer.lr=???")


def test_betas_are_checked_one_by_one(composed):
    config = composed("optimizer=adam", "optimizer.betas=[0.9,1.5]")
    assert isinstance(config.optimizer, AdamConfig)
    assert faults_of(config) == ["optimizer.betas[1]=1.5: must be less than 1"]


def test_only_who_starts_it_extends_the_allowed_modules(composed, monkeypatch):
    target = "my_networks.Tiny"
    config = composed(f"model._target_={target}")
    assert "outside the allowed modules" in faults_of(config)[0]
    # A job of Hydra sets variables that a file names (hydra.job.env_set).
    monkeypatch.setenv("RESNET_SWEEP_ALLOW", "my_networks")
    assert "outside the allowed modules" in faults_of(config)[0]
    allow(["other", "my_networks"])
    assert faults_of(config) == []
    config.model._target_ = "my_networks_of_a_stranger.Tiny"
    assert len(faults_of(config)) == 1


def test_the_schema_survives_a_round_trip(composed):
    config = composed("optimizer=adamw", "data=cifar10")
    again = OmegaConf.to_object(OmegaConf.create(OmegaConf.structured(config)))
    assert again == config


def test_numbers_are_finite_by_default(composed):
    config = composed()
    numbers = [config.optimizer.lr, config.optimizer.weight_decay, config.scheduler.warmup]
    assert all(math.isfinite(number) for number in numbers)


def test_conf_is_found_beside_the_package():
    assert (config_dir() / "config.yaml").is_file()
    assert config_dir() == Path(__file__).resolve().parents[1] / "conf"
