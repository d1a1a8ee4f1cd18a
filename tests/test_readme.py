"""What the README tells a newcomer to type, typed."""

import re
import shlex
from pathlib import Path

import pytest
from commands import ROOT, Command
from studies import StudyOnDisk

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line
    for block in BLOCKS
    for line in block.splitlines()
    if line.startswith("python -m resnet_sweep")
]
# Later overrides win, so that the commands take seconds.
FEW = ("data.num_train=64", "data.num_val=20", "trainer.epochs=1", "trainer.threads=1")
NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
"""


def test_the_set_up_is_two_command_lines():
    lines = [line for block in BLOCKS for line in block.splitlines() if "pip install" in line]
    assert [line.rpartition(" && ")[2] for line in lines] == ["python -m resnet_sweep", "pytest"]
    assert [re.findall(r"pip install (\S+ \S+)", line)[0] for line in lines] == [
        "-e .",
        '-e ".[dev]"',
    ]


def test_every_choice_is_in_the_readme():
    for group in ("model", "data", "optimizer", "scheduler", "trainer"):
        row = next(line for line in README.splitlines() if line.startswith(f"| `{group}`"))
        names = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
        if group == "model":
            # The plain twins stand as a range.
            names = {name for name in names if name.startswith("resnet")} | {"plain18", "plain152"}
        assert all(f"`{name}`" in row for name in names), names


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_works(command: Command, tmp_path: Path, line: str):
    (tmp_path / "my_networks.py").write_text(NETWORK)
    _, _, module, *arguments = shlex.split(line)
    if "hydra.sweeper.n_trials=20" in arguments:
        arguments.append("hydra.sweeper.n_trials=2")
    if module == "resnet_sweep":
        arguments += FEW
    if module == "resnet_sweep.report":
        # Of a sweep that the reader has made.
        made = StudyOnDisk(tmp_path / arguments[0], [{"optimizer.lr": 0.1}])
        made.add(0, {"optimizer.lr": 0.1}, values=0.5)
        made.close()
    done = command(*arguments, module=module)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_refusal_in_the_readme_is_what_is_printed(command: Command):
    block = README.split("$ python -m resnet_sweep ")[1].split("```")[0]
    typed, _, said = block.partition("\n")
    done = command(*typed.split())
    assert done.returncode == 2
    assert done.stderr.strip() == said.strip()
