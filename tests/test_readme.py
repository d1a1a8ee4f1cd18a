"""What the README promises a newcomer; what it tells them to type is typed elsewhere."""

import re

import pytest
from commands import ROOT

README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
PEERS = README.split("## Beside other tools")[1].split("##")[0]


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


def test_the_index_leads_to_every_page():
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([^)]+)\)", (docs / "README.md").read_text()))
    pages = {path.name for path in docs.glob("*.*") if path.suffix in (".md", ".ipynb")}
    assert pages - {"README.md"} - linked == set()
