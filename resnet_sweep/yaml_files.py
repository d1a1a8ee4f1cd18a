"""YAML that a stranger may have written: nothing in it may crash the parser."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

# Deeper than any configuration; the parser in C, which calls itself for each level, ends the
# process some ten thousand levels down.
_MAX_DEPTH = 200
_MAX_BYTES = 64 << 20

# What reading and parsing a file raises, of whatever is in it.
YAML_ERRORS = (OSError, ValueError, RecursionError, yaml.YAMLError)
CONFIG_ERRORS = (*YAML_ERRORS, OmegaConfBaseException)


def text_of(path: Path) -> str:
    """The text of a file that can be parsed.

    Args:
        path: Of the file, in UTF-8.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no text, too large, or nested too deeply.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"is larger than {_MAX_BYTES >> 20} MiB")
    try:
        # What spreadsheets write may begin with a byte order mark.
        text = path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"is no text in UTF-8 (byte {error.start})") from error
    check_depth(text)
    return text


def config_of(path: Path) -> DictConfig:
    """The configuration that a file holds.

    Args:
        path: Of the file.

    Raises:
        Exception: One of ``CONFIG_ERRORS``.
    """
    found = OmegaConf.load(StringIO(text_of(path)))
    if not isinstance(found, DictConfig):
        raise ValueError("is no mapping")
    return found


def check_depth(text: str) -> None:
    """Refuses texts that are nested too deeply.

    Args:
        text: Of a file.

    Raises:
        ValueError: It is.
    """
    # Every level needs one of these, so most texts need no second look.
    if sum(map(text.count, "[{-:?")) <= _MAX_DEPTH:
        return
    too_deep = ValueError(f"is nested in more than {_MAX_DEPTH} levels")
    depth = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _MAX_DEPTH:
                    raise too_deep
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError as error:
        # Newer parsers have a limit of their own, and see it before they tell of the levels.
        if "nesting depth" in str(error):
            raise too_deep from error
        raise
