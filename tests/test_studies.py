"""conf/study: what each study runs, as Hydra composes it for our sweeper."""

import numpy as np
import pytest
from commands import Command
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from PIL import Image

import resnet_sweep
import resnet_sweep.app
from resnet_sweep.config import check_config, register_schema, to_config
from resnet_sweep.paths import config_dir
from resnet_sweep.training.config import ConstantConfig, SgdConfig


@pytest.fixture
def study():
    """Composes a study and gives its sweeper's settings, and a way to compose its trials."""
    register_schema()
    with initialize_config_dir(config_dir=str(config_dir())):
        loader = GlobalHydra.instance().config_loader()

        def compose(*overrides):
            master = loader.load_configuration("config", list(overrides), run_mode=RunMode.MULTIRUN)
            HydraConfig.instance().set_config(master)
            task = master.hydra.overrides.task
            return (
                OmegaConf.to_container(master.hydra.sweeper, resolve=True),
                lambda *values: to_config(loader.load_sweep_config(master, [*task, *values])),
            )

        yield compose
        HydraConfig.instance().cfg = None


# The trials of design.md, "The study to reproduce".
PUBLISHED = [(0.0025, 0.9, 0.0), (0.01, 0.9, 1e-4), (0.0001, 0.9, 1e-4)]


def test_lr_trials_are_the_published_ones_with_the_fixed_recipe(study, tmp_path):
    sweeper, trial = study("study=lr_trials", f"data.root={tmp_path}")
    assert sweeper["study_name"] == "lr_trials"
    assert sweeper["params"] == {"model": "resnet50,plain50"}
    assert sweeper["n_trials"] is None
    assert [tuple(values.values()) for values in sweeper["trials"]] == PUBLISHED
    for values in sweeper["trials"]:
        pairs = [f"{key}={value}" for key, value in values.items()]
        config = trial("model=plain50", *pairs)
        assert check_config(config) == []
        lr, momentum, weight_decay = values.values()
        assert config.optimizer == SgdConfig(lr=lr, momentum=momentum, weight_decay=weight_decay)
    assert (config.model.depth, config.model.plain) == (50, True)
    assert config.scheduler == ConstantConfig(warmup=0.0)
    assert (config.trainer.epochs, config.trainer.batch_size, config.trainer.seed) == (20, 32, 0)
    assert (config.trainer.label_smoothing, config.trainer.grad_clip) == (0.0, None)
    data, augment = config.data, config.data.augment
    assert (data.name, data.image_size, data.split_seed) == ("cats_dogs", 224, 0)
    assert (data.num_train, data.num_val) == (3000, 600)
    assert (augment.horizontal_flip, augment.random_crop, augment.random_resized_crop) == (
        True,
        0,
        None,
    )


def test_lr_trials_without_a_gpu_are_the_same_trials_with_more_seeds_of_the_third(study, tmp_path):
    full, trial = study("study=lr_trials", f"data.root={tmp_path}")
    cpu, small = study("study=lr_trials_cpu", f"data.root={tmp_path}")
    assert full["repeats"] == 3
    assert (cpu["repeats"], cpu["published"]) == (1, full["published"])
    seeds = [values.pop("trainer.seed") for values in cpu["trials"]]
    first, second, third = full["trials"]
    assert cpu["trials"] == [first, second, third, third, third]
    assert seeds == [0, 0, 0, 1, 2]
    expected = trial("model=plain50")
    expected.data.image_size = 64
    assert small("model=plain50") == expected


@pytest.mark.parametrize(
    ("name", "num_trials"), [("depth", 18), ("variants", 24), ("causes", 8), ("lr_search", 0)]
)
def test_a_study_is_small_with_scale_small_and_keeps_its_space(study, tmp_path, name, num_trials):
    sizes = {"": (224, 20), "scale=small": (32, 6)}
    spaces = []
    for scale, (image_size, epochs) in sizes.items():
        typed = [f"study={name}", f"data.root={tmp_path}", *filter(None, [scale])]
        sweeper, trial = study(*typed)
        spaces.append({**sweeper, "study_name": None})
        config = trial()
        assert check_config(config) == []
        assert (config.data.image_size, config.trainer.epochs) == (image_size, epochs)
        assert (config.scheduler, config.trainer.batch_size) == (ConstantConfig(warmup=0.0), 32)
    assert (config.data.num_train, config.data.num_val, config.model.depth) == (1000, 400, 18)
    assert spaces[0] == spaces[1]
    texts = [text for text in (sweeper["params"] or {}).values() if "interval" not in text]
    grid = np.prod([len(text.split(",")) for text in texts]) if texts else 0
    assert max(grid, len(sweeper["trials"] or [])) == num_trials


def test_lr_search_is_a_pruned_study_for_each_network(study, tmp_path):
    for model in ("resnet50", "plain18"):
        sweeper, trial = study("study=lr_search", f"model={model}")
        assert sweeper["study_name"] == f"lr_search-{model}"
        assert sweeper["n_trials"] == 20
        assert HydraConfig.get().runtime.choices["hydra/sweeper/pruner"] == "successive_halving"
        ends = ("optimizer.lr=1e-5", "optimizer.momentum=0.99", "optimizer.weight_decay=1e-6")
        assert {end.partition("=")[0] for end in ends} == set(sweeper["params"])
        config = trial(*ends, f"data.root={tmp_path}")
        assert check_config(config) == []
        assert (config.data.num_train, config.data.num_val, config.data.num_test) == (
            2400,
            600,
            600,
        )


def test_confirm_repeats_the_best_of_a_study_with_seeds_of_its_own(study):
    sweeper, trial = study("study=confirm", "hydra.sweeper.trials.study=outputs/lr_search-a/")
    assert sweeper["study_name"] == "confirm-lr_search-a"
    assert sweeper["trials"] == {"study": "outputs/lr_search-a/", "best": 3}
    assert sweeper["repeats"] == 3
    assert trial().trainer.seed == 1000


@pytest.mark.slow
def test_confirm_trains_what_the_search_trained_with_new_seeds(command: Command, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(32):
        folder = tmp_path / "images" / ("cat", "dog")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    data = ("data=image_folder", "data.root=images", "data.image_size=32", "data.num_val=8")
    data += ("data.num_train=null", "data.num_test=8")
    here = "hydra/launcher=basic"
    typed = ("model=resnet18", *data, "trainer.epochs=1", "trainer.threads=1", here)
    # The study's batch would be more than all images.
    typed += ("trainer.batch_size=16",)
    search = ("-m", "study=lr_search", *typed, "hydra.sweeper.n_trials=2")
    small = (
        "hydra.sweeper.params={optimizer.lr: 'interval(1e-4,1e-3)', optimizer.momentum: '0.8,0.9'}"
    )
    done = command(*search, small.replace(" ", ""))
    assert done.returncode == 0, done.stderr
    again = ("-m", "study=confirm", "hydra.sweeper.trials.study=outputs/lr_search-resnet18")
    few = ("hydra.sweeper.trials.best=1", "hydra.sweeper.repeats=2", "trainer.threads=1", here)
    done = command(*again, *few)
    assert done.returncode == 0, done.stderr
    assert "as in outputs/lr_search-resnet18: " in done.stdout
    outputs = tmp_path / "outputs"
    (best,) = resnet_sweep.load_results(outputs / "lr_search-resnet18").head(1).itertuples()

    def config(folder):
        found = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml"))
        return found, found["trainer"].pop("seed")

    expected, seed = config(outputs / "lr_search-resnet18" / best.folder)
    assert (expected["model"]["depth"], expected["scheduler"]["name"], seed) == (18, "constant", 0)
    trial = outputs / "confirm-lr_search-resnet18" / "trials" / "0"
    assert [config(trial / str(i)) for i in (0, 1)] == [(expected, 1000), (expected, 1001)]


def test_the_command_line_wins_over_the_study(study):
    typed = ("data=digits", "data.image_size=64", "trainer.epochs=1", "hydra.sweeper.n_trials=2")
    for name in ("lr_trials", "lr_search"):
        sweeper, trial = study(f"study={name}", *typed, "hydra.sweeper.study_name=mine")
        config = trial()
        assert (config.data.name, config.data.image_size) == ("digits", 64)
        assert config.trainer.epochs == 1
        assert (sweeper["n_trials"], sweeper["study_name"]) == (2, "mine")
        assert check_config(config) == []
