"""Every shell command of the pages, found where a reader finds it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from commands import ROOT

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "outputs" / "README.md",
    *sorted((ROOT / "examples").rglob("README.md")),
    ROOT / "benchmarks" / "RESULTS.md",
]
_FENCE = re.compile(r"^ *```(\S*)[^\n]*\n(.*?)^ *```", flags=re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_OURS = r"(?:\w+=\S+ )*(?:python -m (?:resnet_sweep|benchmarks)|resnet-sweep)(?=[\s.]|$)"
# A line of a block without a language is a command, or what one prints.
_TYPED = re.compile(rf"{_OURS}|python \S+\.py ")
_VARIABLE = re.compile(r"[A-Za-z_]\w*=")
_SHELLS = ("bash", "sh", "shell", "console")


@dataclass(frozen=True)
class Documented:
    """One command, without the others of its line.

    Attributes:
        page: Relative to the checkout.
        line: Where it stands, counted from 1.
        words: Program and arguments, as a shell splits them.
        env: Variables that stand before the program.
        said: What the page shows as its answer; empty where it shows none.
    """

    page: str
    line: int
    words: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    said: str = ""

    @property
    def text(self) -> str:
        """The command and where it stands, for messages."""
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


def commands_of(page: Path) -> list[Documented]:
    """All commands of a page, in their order.

    Args:
        page: A Markdown file.
    """
    text = page.read_text()
    where = str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name
    found: list[Documented] = []
    for number, line, said in sorted((*_in_blocks(text), *_in_prose(text))):
        for words in _split(line):
            num = next((i for i, word in enumerate(words) if not _VARIABLE.match(word)), len(words))
            env = tuple((name, value) for name, _, value in (w.partition("=") for w in words[:num]))
            found.append(Documented(where, number, tuple(words[num:]), env, said))
    return [one for one in found if one.words]


def files_of(page: Path) -> dict[str, str]:
    """What a page has its reader write: blocks that begin with a comment that is a path.

    Hydra wants its own comment, ``# @package``, in the first line of a file; then the path comes
    next. A reader copies all of it, so the path stays in.

    Args:
        page: A Markdown file.
    """
    files = {}
    for _, block in _FENCE.findall(page.read_text()):
        named = re.match(r"(?:# @package \S+\n)?# ([\w./-]+\.(?:yaml|py))\n", block)
        if named:
            files[named[1]] = block
    return files


def _in_blocks(text: str) -> Iterator[tuple[int, str, str]]:
    for match in _FENCE.finditer(text):
        language, first = match[1], text.count("\n", 0, match.start(2)) + 1
        lines = list(_joined(match[2].splitlines()))
        prompts = [i for i, (_, line) in enumerate(lines) if line.startswith("$ ")]
        for i, (number, line) in enumerate(lines):
            if i in prompts:
                end = next((j for j in prompts if j > i), len(lines))
                said = "\n".join(raw for _, raw in lines[i + 1 : end]).strip()
                yield first + number, line.removeprefix("$ "), said
            elif prompts or line.startswith("#"):
                continue  # What the command above has printed.
            elif language in _SHELLS or (not language and _TYPED.match(line)):
                yield first + number, line, ""


def _joined(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Lines with those that a backslash continues, and where each begins."""
    begun, start = "", 0
    for number, line in enumerate(lines):
        start = start if begun else number
        if line.endswith("\\"):
            begun += line[:-1]
            continue
        yield start, begun + line
        begun = ""


def _in_prose(text: str) -> Iterator[tuple[int, str, str]]:
    # Of the same length, so that places stay.
    prose = _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    for match in _INLINE.finditer(prose):
        line = " ".join(match[1].split())
        if re.match(_OURS, line):
            yield prose.count("\n", 0, match.start()) + 1, line, ""


def _split(line: str) -> Iterator[list[str]]:
    """The commands of a line, split as a shell does at &&, ;, | and &."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    for word in lexer:
        if word == "#":
            break
        if set(word) <= set("&;|"):
            yield words
            words = []
        else:
            words.append(word)
    yield words
