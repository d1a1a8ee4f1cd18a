"""best.yaml: the configuration of the best trial, whole, and the command that runs it again."""

from __future__ import annotations

import logging
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_sweep.files import replacing
from resnet_sweep.literal import shell_word
from resnet_sweep.report.columns import Row
from resnet_sweep.report.runs import read_config
from resnet_sweep.report.source import Source
from resnet_sweep.report.text import number, one_line, shown_path, values_text
from resnet_sweep.report.withheld import environment_withheld
from resnet_sweep.study.folder import StudyFolder

log = logging.getLogger(__name__)

# How our own application is started.
OURS = ("python", "-m", "resnet_sweep")
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
    written: list[Best] = []
    for source, row in _best_runs(sources):
        if len(written) == num:
            break
        best = _write(source, row, StudyFolder(folder).best_yaml(len(written) + 1), base)
        written += [] if best is None else [best]
    for path in (*folder.glob("best.yaml"), *folder.glob("best-[0-9]*.yaml")):
        # Of an earlier report.
        if path not in [one.path for one in written]:
            path.unlink()
    return written


def _write(source: Source, row: Row, path: Path, base: Path | None) -> Best | None:
    """Writes one file; None where the run's configuration cannot be read."""
    run = Path(row.facts["folder"])
    rerun = _rerun_lines(run)
    body = "".join(line for line in rerun if not line.startswith("#")) or _plain_body(run)
    if body is None:
        return None
    words = _command(source, path, rerun, base or Path.cwd())
    place = "Best" if path.stem == "best" else f"Number {path.stem.partition('-')[2]}"
    best = Best(
        path,
        " ".join(map(shell_word, words)) if words else None,
        f"{place} of {source.name}: {trial_title(row)}",
    )
    header = f"# {one_line(best.title)}\n"
    if best.command is not None:
        header += f"# The same again: {_comment(best.command)}\n"
    with replacing(path) as temporary:
        temporary.write_text(header + body, encoding="utf-8")
    return best


def _best_runs(sources: Sequence[Source]) -> list[tuple[Source, Row]]:
    """Completed trials, best first, the first run of each; of several runs the mean counts."""
    found = [(source, row) for source in sources for row in source.rows if _is_candidate(row)]
    if len(sources) < 2:
        return found
    kinds = {(row.facts.get("metric"), row.facts.get("direction")) for _, row in found}
    if len(kinds) != 1 or any("objective" not in row.facts for _, row in found):
        return []
    sign = 1.0 if found[0][1].facts.get("direction") == "minimize" else -1.0
    return sorted(found, key=lambda pair: sign * _mean(*pair))


def _mean(source: Source, row: Row) -> float:
    """The objective of a run's trial."""
    facts = row.facts
    if facts.get("repeat") is None:
        return float(facts["objective"])
    runs = (one.facts for one in source.rows if one.is_last)
    return statistics.fmean(
        one["objective"]
        for one in runs
        if one.get("number") == facts["number"] and one.get("objective") is not None
    )


def _is_candidate(row: Row) -> bool:
    facts = row.facts
    is_known = any(key.startswith("objective") and facts[key] is not None for key in facts)
    if facts["state"] != "COMPLETE" or facts.get("repeat") or not row.is_last or not is_known:
        return False
    folder = facts.get("folder") if facts.get("duplicate_of") is None else None
    return folder is not None and (Path(folder) / ".hydra" / "config.yaml").is_file()


def trial_title(row: Row) -> str:
    """``trial 3, best_val_accuracy 0.9778; optimizer.lr=0.001``; a single run by its folder.

    Args:
        row: Of a run that is complete.
    """
    facts = row.facts
    name = Path(facts["folder"]).name if facts.get("number") is None else f"{facts['number']}"
    title = f"{'run' if facts.get('number') is None else 'trial'} {name}"
    values = [facts[key] for key in facts if key.startswith("objective")]
    values = [value for value in values if value is not None]
    title += f", {facts.get('metric') or 'objective'} {', '.join(map(number, values))}"
    if facts.get("repeat") is not None:
        title += f" with seed {facts.get('seed')}, the first of its runs"
    return f"{title}; {values_text(row.parameters)}" if row.parameters else title


def _command(source: Source, path: Path, rerun: Sequence[str], base: Path) -> list[str]:
    """What runs a file, as words; none for an application nobody knows how to start."""
    folder = path.parent.absolute()
    if not rerun:
        program = source.snapshot.program if source.snapshot is not None else ()
        # Relative paths would be those of the application's file, which may be anywhere.
        words = [*program, "--config-path", str(folder), "--config-name", path.stem]
        return words if program else []
    shown = shown_path(folder, base)
    typed = next((line for line in rerun if line.startswith(_RERUN_COMMAND)), "")
    # Behind it are the modules that the user's own network comes from.
    allowed = shlex.split(typed.partition(_RERUN_NAME)[2])
    return [*OURS, "--config-dir", shown, "--config-name", path.stem, *allowed]


def _rerun_lines(run: Path) -> list[str]:
    """What the run itself has pinned; nothing of a task that is not ours."""
    path = run / "rerun.yaml"
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        log.warning("%s cannot be read: %s", path, error)
        return []
    return lines if any(not line.startswith("#") for line in lines) else []


def _plain_body(run: Path) -> str | None:
    """The composed configuration, with interpolations resolved where that can be done here."""
    config = read_config(run)
    if config is None:
        return None
    resolved: Any = config
    try:
        with environment_withheld():
            resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    except OmegaConfBaseException:
        # It asks for something that only the application has, its own resolvers for instance.
        resolved = config
    return OmegaConf.to_yaml(resolved)


def _comment(text: str) -> str:
    """The text on one line, so that all of it is a comment."""
    return text if text.isprintable() else one_line(text)
