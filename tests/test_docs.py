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
from resnet_sweep.sweep.slurm.config import SlurmLauncherConf
from resnet_sweep.training.config import TrainerConfig

SPEED = (ROOT / "docs" / "speed.md").read_text()
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
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
SETTINGS = {field.name for field in dataclasses.fields(TrainerConfig)}


def test_every_setting_of_the_trainer_is_in_the_readme():
    row = next(
        line for line in PAGES[0].read_text().splitlines() if line.startswith("| `trainer` |")
    )
    assert {name for name in SETTINGS if f"`{name}`" not in row} == set()


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


@pytest.mark.parametrize(
    "target", sorted({t for page in PAGES for t in re.findall(r"\]\(([^)#\s]*)", page.read_text())})
)
def test_every_link_to_a_file_leads_somewhere(target: str):
    if target and "://" not in target:
        assert any((page.parent / target).exists() for page in PAGES if target in page.read_text())


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
