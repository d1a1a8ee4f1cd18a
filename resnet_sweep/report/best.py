"""best.yaml: the configuration of the best trial, whole, and the command that runs it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_sweep.files import replacing
from resnet_sweep.report.columns import Row
from resnet_sweep.report.runs import read_config
from resnet_sweep.report.source import Source
from resnet_sweep.report.text import number, one_line, values_text
from resnet_sweep.study.folder import StudyFolder

_OURS = ("python", "-m", "resnet_sweep")
_RERUN_COMMAND, _RERUN_NAME = "#   python -m resnet_sweep", "--config-name rerun"


@dataclass(frozen=True)
class Best:
    """A file that runs a trial again.

    Attributes:
        path: Of the file.
        command: To type; None for an application of which it is not known how it is started.
        title: Which trial it is, in words.
    """

    path: Path
    command: str | None
    title: str


def write_best(
    sources: Sequence[Source], folder: Path, num: int = 1, base: Path | None = None
) -> list[Best]:
    """Writes best.yaml, best-2.yaml and so on.

    Args:
        sources: Studies, sweeps or folders of runs; of several the best of all, if they have
            the same objective.
        folder: Where the files go.
        num: How many different trials, best first; fewer if fewer are complete.
        base: Where the commands will be typed; None is the working directory.

    Returns:
        What was written; nothing of runs whose folders are elsewhere.
    """
    written = []
    for place, (source, row) in enumerate(_best_runs(sources)[:num], start=1):
        path, run = StudyFolder(folder).best_yaml(place), Path(row.facts["folder"])
        program = _program(source, run)
        words = _config_words(path, run, base or Path.cwd())
        command = shlex.join([*program, *words]) if program else None
        title = f"{_ordinal(place)} of {source.name}: {_title(row)}"
        header = f"# {one_line(title)}\n"
        if command is not None:
            header += f"# The same again: {_comment(command)}\n"
        with replacing(path) as temporary:
            temporary.write_text(header + (_rerun_body(run) or _plain_body(run)), encoding="utf-8")
        written.append(Best(path, command, title))
    return written


def _best_runs(sources: Sequence[Source]) -> list[tuple[Source, Row]]:
    """Completed trials whose configuration is there, best first, the first run of each."""
    found = [(source, row) for source in sources for row in source.rows if _is_candidate(row)]
    if len(sources) < 2:
        return found
    kinds = {(row.facts.get("metric"), row.facts.get("direction")) for _, row in found}
    if len(kinds) != 1 or any("objective" not in row.facts for _, row in found):
        return []
    sign = -1.0 if found[0][1].facts.get("direction") == "maximize" else 1.0
    return sorted(found, key=lambda pair: sign * pair[1].facts["objective"])


def _is_candidate(row: Row) -> bool:
    facts = row.facts
    if facts["state"] != "COMPLETE" or facts.get("repeat") or not row.is_last:
        return False
    folder = facts.get("folder") if facts.get("duplicate_of") is None else None
    return folder is not None and (Path(folder) / ".hydra" / "config.yaml").is_file()


def _ordinal(place: int) -> str:
    return "Best" if place == 1 else f"Number {place}"


def _title(row: Row) -> str:
    facts = row.facts
    name = Path(facts["folder"]).name if facts.get("number") is None else f"{facts['number']}"
    title = f"{'run' if facts.get('number') is None else 'trial'} {name}"
    values = [value for key, value in facts.items() if key.startswith("objective")]
    title += f", {facts.get('metric') or 'objective'} {', '.join(map(number, values))}"
    if facts.get("repeat") is not None:
        title += f" with seed {facts.get('seed')}, the first of its runs"
    return f"{title}; {values_text(row.parameters)}" if row.parameters else title


def _program(source: Source, run: Path) -> Sequence[str]:
    if (run / "rerun.yaml").is_file():
        return _OURS
    return source.snapshot.program if source.snapshot is not None else ()


def _config_words(path: Path, run: Path, base: Path) -> list[str]:
    folder = path.parent.absolute()
    shown = str(folder.relative_to(base)) if folder.is_relative_to(base) else str(folder)
    if (run / "rerun.yaml").is_file():
        return ["--config-dir", shown, "--config-name", path.stem, *_allowed(run)]
    # Relative to the application's file, which may be anywhere.
    return ["--config-path", str(folder), "--config-name", path.stem]


def _allowed(run: Path) -> list[str]:
    """Modules that the user's own network comes from."""
    for line in (run / "rerun.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith(_RERUN_COMMAND):
            return shlex.split(line.partition(_RERUN_NAME)[2])
    return []


def _rerun_body(run: Path) -> str:
    """What the run itself has pinned; nothing of a task that is not ours."""
    path = run / "rerun.yaml"
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return "".join(lines[first:])


def _plain_body(run: Path) -> str:
    """The composed configuration, with interpolations resolved where that can be done here."""
    config = read_config(run)
    assert config is not None
    resolved: Any = config
    try:
        resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    except OmegaConfBaseException:
        # It asks for something that only the application has, its own resolvers for instance.
        resolved = config
    return OmegaConf.to_yaml(resolved)


def _comment(text: str) -> str:
    """The text on one line, so that all of it is a comment."""
    return text if text.isprintable() else one_line(text)
