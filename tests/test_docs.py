"""What the pages tell a reader to set, and where their links lead."""

import dataclasses
import re
from pathlib import Path

import pytest
from commands import ROOT
from documented import PAGES
from omegaconf import OmegaConf

from resnet_sweep import load_history
from resnet_sweep.data.config import DATA_CONFIGS, AugmentConfig
from resnet_sweep.models.config import ModelConfig
from resnet_sweep.sweep.slurm.config import SlurmLauncherConf
from resnet_sweep.training.config import OPTIMIZER_CONFIGS, SCHEDULER_CONFIGS, TrainerConfig

SPEED = (ROOT / "docs" / "speed.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
SCALE = (ROOT / "docs" / "scale.md").read_text()
RESULTS = (ROOT / "docs" / "results.md").read_text()
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


def test_every_setting_of_the_slurm_launcher_is_on_the_page_on_scale():
    settings = {field.name for field in dataclasses.fields(SlurmLauncherConf)}
    assert {name for name in settings - {"_target_"} if f"{name}" not in SCALE} == set()


def test_the_page_on_results_lists_the_columns_of_epochs_and_brings_in_the_parameters():
    study = ROOT / "docs" / "studies" / "lr_trials"
    listed = re.search(r"The columns of `load_history` are(.*?)\. There", RESULTS, flags=re.DOTALL)
    assert listed is not None
    assert re.findall(r"`(\w+)`", listed[1]) == list(load_history(study).columns)
    program = "".join(re.findall(r"```python\n(.*?)```", RESULTS, flags=re.DOTALL))
    means = []
    exec(program.replace("outputs/lr_trials", str(study)), {"print": means.append})
    assert [list(table.index.names) for table in means] == [["model", "epoch"]]
