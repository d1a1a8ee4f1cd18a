"""Explicit trials: ``hydra.sweeper.trials`` as a list or a file; earlier.py has the third form."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.refusals import rule_of
from resnet_sweep.study.canonical import dotted
from resnet_sweep.sweep.config import MAX_TRIALS
from resnet_sweep.yaml_files import YAML_ERRORS, check_depth, text_of

KEY = "hydra.sweeper.trials"
FORMS = (
    "a list of trials: [{optimizer.lr:0.1}]",
    "a file: trials.yaml or trials.csv",
    "the best of a study: {study:FOLDER,best:3}",
)
_YAML = (".yaml", ".yml")
# Nobody means a number of more digits, and Python writes none of more than 4300.
_MAX_DIGITS = 1000
# A longer cell is a text, whatever it begins with.
_MAX_CELL = 10_000
# What YAML may read as something else than text: numbers, true, null, .nan, ~.
_PLAIN_SCALAR = re.compile(r"[\w.+-]+|~")


def read_trials(spec: object, base: Path) -> list[dict[str, Any]]:
    """Reads the explicit trials of a sweep.

    Args:
        spec: The node ``hydra.sweeper.trials``: None, a list of mappings from keys to values, a
            path of a YAML file with such a list, or of a CSV file with keys in its first row.
        base: What relative paths are relative to.

    Returns:
        For each trial, in order, its values under dotted keys; none for None. An empty cell of
        a CSV file is a key that its trial does not set.

    Raises:
        ConfigError: All that is wrong.
    """
    spec = _container(spec)
    if spec is None:
        return []
    if isinstance(spec, str):
        return _read_file(base / spec)
    if isinstance(spec, list):
        return _checked(KEY, spec)
    raise ConfigError([Fault(KEY, spec, "is of no known form", FORMS)])


def _container(spec: object) -> object:
    if not OmegaConf.is_config(spec):
        return spec
    try:
        return OmegaConf.to_container(spec, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([Fault(error.full_key or KEY, "${...}", rule_of(error))]) from error


def _checked(name: str, trials: Sequence[object]) -> list[dict[str, Any]]:
    """Trials with dotted keys, from mappings that may be nested.

    Args:
        name: Where they are, for messages.
        trials: As they were written.
    """
    faults: list[Fault] = []
    read: list[dict[str, Any]] = []
    for i, trial in enumerate(trials):
        where = f"{name}[{i}]"
        if not isinstance(trial, Mapping):
            faults.append(Fault(where, trial, "is no trial", fix="write {key: value, ...}"))
            continue
        values: dict[str, Any] = {}
        for key, value in dotted(trial):
            rule = key_rule(key) or _value_rule(value)
            if key in values:
                rule = "is set twice"
            if rule:
                faults.append(Fault(f"{where}.{key}", value, rule))
            values[key] = value
        read.append(values)
    if faults:
        raise ConfigError(faults)
    return read


def key_rule(key: str) -> str:
    """What is wrong with a key of an explicit trial; empty if nothing is."""
    if not re.fullmatch(r"\+{0,2}[^\s=,{}\[\]+~.]+(\.[^\s=,{}\[\]+~.]+)*", key):
        return "is no key of a configuration"
    if re.match(r"\+*hydra([./@]|$)", key):
        return "belongs to Hydra, which cannot be told otherwise for a single trial"
    return ""


def _value_rule(value: object) -> str:
    if isinstance(value, list):
        return next(filter(None, map(_value_rule, value)), "")
    if isinstance(value, Mapping):
        return _value_rule(list(value.values()))
    if isinstance(value, int) and abs(value) >= 10**_MAX_DIGITS:
        return f"has more than {_MAX_DIGITS} digits"
    if isinstance(value, str) and "\0" in value:
        return "has a NUL in it, which no override can have"
    if isinstance(value, str | int | float | None):
        return ""
    return f"is of type {type(value).__name__}, which cannot be typed as an override"


def _read_file(path: Path) -> list[dict[str, Any]]:
    suffix = path.suffix.lower()
    if suffix not in (*_YAML, ".csv"):
        fix = "name a file that ends in .yaml or .csv"
        raise ConfigError([Fault(KEY, path, "is of no known form", FORMS, fix)])
    if not path.is_file():
        raise ConfigError([Fault(KEY, path, "is no file")])
    try:
        trials = _read_csv(path) if suffix == ".csv" else _read_yaml(path)
    except YAML_ERRORS as error:
        if isinstance(error, ConfigError):
            raise
        fix = "save it as UTF-8" if "UTF-8" in str(error) else ""
        reason = _one_line(error) if not isinstance(error, RecursionError) else "too many levels"
        raise ConfigError([Fault(KEY, path, f"cannot be read: {reason}", fix=fix)]) from error
    if not trials:
        raise ConfigError([Fault(KEY, path, "has no trials in it")])
    if len(trials) > MAX_TRIALS:
        rule = f"has {len(trials)} trials, and a study has at most {MAX_TRIALS}"
        raise ConfigError([Fault(KEY, path, rule)])
    return _checked(f"{KEY}={path.name}", trials)


def _read_yaml(path: Path) -> list[object]:
    try:
        # Not PyYAML's own loader, to which 1e-3 is text. A trial's interpolations are its own.
        trials = OmegaConf.to_container(OmegaConf.load(StringIO(text_of(path))), resolve=False)
    except OmegaConfBaseException as error:
        raise ConfigError([Fault(KEY, path, rule_of(error))]) from error
    if isinstance(trials, list):
        return list(trials)
    if not trials:
        return []
    fix = "begin each trial with '- '"
    raise ConfigError([Fault(KEY, path, "must hold a list of trials", fix=fix)])


def _read_csv(path: Path) -> list[object]:
    lines = StringIO(text_of(path), newline="")
    try:
        rows = [row for row in csv.reader(lines, strict=True) if any(map(str.strip, row))]
    except csv.Error as error:
        raise ConfigError([Fault(KEY, path, f"is no CSV file: {error}")]) from error
    if not rows:
        return []
    header = [cell.strip() for cell in rows[0]]
    other = next((mark for mark in ";\t|" if mark in rows[0][0] and len(header) == 1), None)
    if other is not None:
        rule, fix = f"has {other!r} between its cells", "save it with commas between them"
        raise ConfigError([Fault(KEY, path, rule, fix=fix)])
    faults = [Fault(KEY, path, f"has the column {name} twice") for name in _repeated(header)]
    if "" in header:
        faults.append(Fault(KEY, path, "has a column without a key in its first row"))
    trials: list[object] = []
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            rule = f"has {len(row)} cells for trial {number} and {len(header)} columns"
            faults.append(Fault(KEY, path, rule))
        cells = zip(header, row, strict=False)
        trials.append({key: _cell_value(cell) for key, cell in cells if cell.strip()})
    if faults:
        raise ConfigError(faults)
    return trials


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if name and names.count(name) > 1})


def _cell_value(cell: str) -> object:
    """A cell as YAML would read it: a number, true, null, a quoted text, a list; else text."""
    text = cell.strip()
    if len(text) > _MAX_CELL or not (_PLAIN_SCALAR.fullmatch(text) or text[0] in "'\"["):
        # YAML would take a colon or a hash in it for something of its own.
        return text
    try:
        check_depth(text)
        value = OmegaConf.to_container(OmegaConf.create(f"- {text}"), resolve=False)
    except (YAMLError, OmegaConfBaseException, ValueError, RecursionError):
        return text
    found: object = value[0] if isinstance(value, list) and len(value) == 1 else [None]
    # A lone dash, for instance, is a list to YAML.
    return text if isinstance(found, list) and text[0] != "[" else found


def _one_line(error: BaseException) -> str:
    # The parser is given a text, and knows no name of its file.
    return " ".join(str(error).split()).replace('in "<file>", ', "in ")
