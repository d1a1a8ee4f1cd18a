"""Every message on the page about messages is one that the sources have, word by word."""

from __future__ import annotations

import ast
import re

import pytest
from commands import ROOT

ROWS = [
    line
    for line in (ROOT / "docs" / "troubleshooting.md").read_text().splitlines()
    if line.startswith("| `")
]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """What stands in quotes in the sources, without what is put into it."""
    return [
        node.value
        for path in (ROOT / "resnet_sweep").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def missing_in(message: str, texts: list[str]) -> list[str]:
    """Fixed words of a message that no source has; `...` stands for what varies."""
    missing = []
    for part in filter(None, (part.strip(" ;:,=.?") for part in message.split("..."))):
        # A refusal is put together: its key, its rule, and what to do.
        pieces = [part] if any(part in text for text in texts) else re.split(r"; |: |=", part)
        missing += [piece for piece in pieces if not any(piece.strip() in text for text in texts)]
    return missing


def test_every_message_is_in_the_sources(texts: list[str]):
    messages = [m for row in ROWS for m in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    assert len(messages) > 70
    assert {m: missing_in(m, texts) for m in messages if missing_in(m, texts)} == {}
    # The check itself can fail.
    assert missing_in("slot ... was shut: ...", texts) == ["was shut"]


def test_no_message_stands_twice():
    messages = [row.split(" | ")[0] for row in ROWS]
    assert len(messages) == len(set(messages))
    assert {len(row.split(" | ")) for row in ROWS} == {3}
