"""What the other pages tell a reader to type and to set."""

import dataclasses
import importlib
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import ROOT, Command
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from resnet_sweep.config import register_schema
from resnet_sweep.data.config import DATA_CONFIGS, AugmentConfig
from resnet_sweep.models.config import ModelConfig
from resnet_sweep.sweep.slurm.config import SlurmLauncherConf
from resnet_sweep.training.config import OPTIMIZER_CONFIGS, SCHEDULER_CONFIGS, TrainerConfig

SPEED = (ROOT / "docs" / "speed.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks" / "RESULTS.md",
]
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", SPEED, flags=re.DOTALL)
    for line in block.splitlines()
]
SCALE = (ROOT / "docs" / "scale.md").read_text()
SWEEPS = re.findall(r"^python -m resnet_sweep -m (.*)", SCALE, flags=re.MULTILINE)
BENCHMARKS = sorted(
    {
        line
        for page in PAGES
        for line in re.findall(r"python -m benchmarks\.[^`\n]*", page.read_text())
    }
)
# Later overrides win, so that the commands take seconds.
FEW = ("data.num_train=64", "data.num_val=20", "trainer.epochs=1", "trainer.threads=1")
GROUPS = {
    "model": [ModelConfig],
    "data": DATA_CONFIGS,
    "optimizer": OPTIMIZER_CONFIGS,
    "scheduler": SCHEDULER_CONFIGS,
    "trainer": [TrainerConfig],
}
AUGMENT = {field.name for field in dataclasses.fields(AugmentConfig)}


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_every_setting_is_on_the_page_on_configuration(group: str):
    section = CONFIGURATION.split(f"\n## {group}\n")[1].split("\n## ")[0]
    names = {
        name
        for config in GROUPS[group]
        for name in OmegaConf.to_container(OmegaConf.structured(config))
    }
    names |= {f"augment.{name}" for name in AUGMENT} if "augment" in names else set()
    # Which choice it is, and what makes a network of ours, is the group's to say.
    names -= {"name", "augment", "depth", "plain"}
    assert {name for name in names if f"`{name}`" not in section} == set()


def test_the_page_on_configuration_tells_the_trainers_defaults():
    section = CONFIGURATION.split("\n## trainer\n")[1]
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", section, flags=re.MULTILINE))
    assert len(rows) > 10
    defaults = OmegaConf.to_container(OmegaConf.structured(TrainerConfig()))
    told = {name: OmegaConf.create(f"value: {default}").value for name, default in rows.items()}
    assert told == {name: defaults[name] for name in told}


def test_the_switches_are_settings_with_these_defaults():
    rows = re.findall(r"^\| `trainer\.(\w+)` \| (\w+) \|", SPEED, flags=re.MULTILINE)
    assert len(rows) > 5
    defaults = OmegaConf.to_container(OmegaConf.structured(TrainerConfig()))
    told = {name: OmegaConf.create(f"value: {default}").value for name, default in rows}
    assert told == {name: defaults[name] for name in told}
    plain = set(OmegaConf.load(ROOT / "conf" / "trainer" / "plain.yaml")) - {"defaults"}
    assert plain <= told.keys()


@pytest.mark.parametrize("line", BENCHMARKS)
def test_every_benchmark_has_the_options_that_are_typed(line: str):
    module, *arguments = shlex.split(line)[2:]
    assert find_spec(module) is not None
    program = importlib.import_module(module) if arguments else None
    if hasattr(program, "build_parser"):
        program.build_parser().parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path):
    text = page.read_text()
    targets = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r'src="([^"]+)"', text)
    dead = []
    for target in targets:
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = page.parent / file if file else page
        if not there.exists() or (anchor and anchor not in anchors_of(there.read_text())):
            dead.append(target)
    assert dead == []


def anchors_of(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(
        r"^#+ (.*)", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in headings}


@pytest.mark.parametrize("line", SWEEPS)
def test_every_sweep_of_the_page_on_scale_is_composed(line: str):
    """As Hydra composes a sweep; most of them need a cluster to run."""
    register_schema()
    with initialize_config_dir(str(ROOT / "conf")):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", shlex.split(line), RunMode.MULTIRUN)
    launcher = line.partition("hydra/launcher=")[2].partition(" ")[0] or "local"
    assert config.hydra.runtime.choices["hydra/launcher"] == launcher
    assert find_spec(config.hydra.launcher._target_.rpartition(".")[0]) is not None


def test_every_setting_of_the_slurm_launcher_is_on_the_page_on_scale():
    settings = {field.name for field in dataclasses.fields(SlurmLauncherConf)}
    assert {name for name in settings - {"_target_"} if f"{name}" not in SCALE} == set()


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_page_on_speed_works(command: Command, tmp_path: Path, line: str):
    _, _, module, *arguments = shlex.split(line)
    if not any(argument.startswith("model=") for argument in arguments):
        arguments.append("model=resnet18")
    done = command(*arguments, *FEW, module=module)
    assert done.returncode == 0, done.stdout + done.stderr
    if "trainer.profile=true" in arguments:
        (run,) = (tmp_path / "outputs" / "runs").iterdir()
        assert (run / "trace.json.gz").exists()
        assert "a step takes" in done.stdout + done.stderr
