"""Every test that the table names is there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("README.md").read_text()
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", TABLE)


def test_every_test_of_the_table_is_there():
    assert len(NAMED) > 50
    missing = [
        f"{path}::{name}"
        for path, name in NAMED
        if not (TESTS / path).is_file() or name not in _functions(TESTS / path)
    ]
    assert missing == []


def test_every_row_has_a_test_or_says_why_not():
    rows = [line for line in TABLE.splitlines() if line.startswith("|")]
    rows = [row for row in rows if not row.startswith(("|-", "| what"))]
    assert len(rows) > 50
    assert [row for row in rows if "::" not in row and "not covered" not in row] == []


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.glob("test_*.py")), ids=lambda path: path.name
)
def test_every_test_of_a_fault_is_in_the_table_or_a_part_of_one(path):
    """A file of this folder that the table does not know would be forgotten."""
    others = {"test_table.py", "test_exit_codes.py"}
    assert path.name in others or path.name in TABLE


def _functions(path: Path) -> set[str]:
    found = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in found if isinstance(node, ast.FunctionDef)}
