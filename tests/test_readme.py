"""What the README promises a newcomer, and what it tells them to type, typed."""

import re
import shlex
from pathlib import Path

import pytest
from commands import ROOT, Command
from studies import StudyOnDisk

README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
PEERS = README.split("## Beside other tools")[1].split("##")[0]
# Where the README sends its reader for what it once said itself.
PAGES = [README, CONFIGURATION, (ROOT / "docs" / "results.md").read_text()]
COMMANDS = [
    line
    for page, begin in zip(PAGES, ("", "", ".report"), strict=True)
    for block in re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    for line in block.replace("\\\n", "").splitlines()
    if line.startswith(f"python -m resnet_sweep{begin}")
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


@pytest.mark.parametrize("group", ["model", "data", "optimizer", "scheduler", "trainer", "scale"])
def test_every_choice_is_on_the_page_on_configuration(group: str):
    row = re.search(rf"^\| (\[`{group}`\]\(#{group}\)|`{group}`) \|.*", CONFIGURATION, flags=re.M)
    assert row is not None
    names = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
    assert {name for name in names if f"`{name}`" not in row[0]} == set()


def test_what_is_ours_in_the_table_of_tools_is_tested():
    """A cell leads to the file of a test; its title is the test's name."""
    rows = [line.split(" | ") for line in PEERS.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    assert {len(row) for row in rows} == {6}
    for name, ours, *others in rows:
        assert {cell.strip(" |") for cell in others} <= {"yes", "no", "partly", "?"}, name
        if ours != "no":
            file, test = re.fullmatch(r'\[[^]]+\]\((\S+) "(\w+)"\)', ours).groups()
            assert f"def {test}(" in (ROOT / file).read_text(), name


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


def test_the_refusal_on_the_page_on_errors_is_what_is_printed(command: Command):
    errors = (ROOT / "docs" / "errors.md").read_text()
    block = errors.split("$ python -m resnet_sweep ")[1].split("```")[0]
    typed, _, said = block.partition("\n")
    done = command(*typed.split())
    assert done.returncode == 2
    assert done.stderr.strip() == said.strip()
