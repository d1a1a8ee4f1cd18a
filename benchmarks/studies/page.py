"""The page and the pictures of a study, made of its committed tables and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.studies.numbers import duration
from benchmarks.studies.running import tables
from benchmarks.studies.study import Section, Study, Tables
from resnet_sweep.report.formats import to_text

_DPI = 110


def write_page(study: Study, folder: Path) -> None:
    """Writes README.md and the pictures of a study.

    Args:
        study: Whose page.
        folder: With results.csv, history.csv and study.json.
    """
    read = tables(folder)
    (folder / "README.md").write_text(page(study, folder, read))
    for name, draw in study.pictures.items():
        # Without a date: the same tables give the same file.
        draw(read).savefig(folder / f"{name}.png", dpi=_DPI, metadata={"Software": None})


def page(study: Study, folder: Path, read: Tables) -> str:
    """The page of a study, Markdown.

    Args:
        study: Whose page.
        folder: With study.json.
        read: Its tables.
    """
    told = json.loads((folder / "study.json").read_text())
    scale = study.sizes[told["scale"]]
    parts = [f"# {study.name}", study.question, f"**{scale[0].upper()}{scale[1:]}.**"]
    for section in study.sections(read):
        parts += section_text(section, scale)
    parts += _provenance(study.name, told)
    return "\n\n".join(parts) + "\n"


def section_text(section: Section, scale: str) -> list[str]:
    """The paragraphs of a section.

    Args:
        section: Which one.
        scale: Said below its table.
    """
    parts = [f"## {section.title}"]
    if section.table is not None:
        parts += [to_text(section.table, "md").strip(), f"*{scale}*"]
    if section.picture is not None:
        parts.append(f"![{section.title}]({section.picture}.png)")
    return [*parts, *section.words]


def _provenance(name: str, told: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{package} {number}" for package, number in told["versions"].items())
    gpu = told["gpu"] or "no GPU"
    lines = [
        f"{sweep['command']}   # {sweep['num_runs']} runs, {sweep['num_epochs']} epochs, "
        f"{duration(sweep['wall_s'])}"
        for sweep in told["sweeps"]
    ]
    commit = told["commit"] or "unknown"
    return [
        "## How it was made",
        f"`python -m benchmarks.studies {name} --root FOLDER --scale {told['scale']}` runs these "
        "sweeps, one after the other, and writes this page:",
        "```text\n" + "\n".join(lines) + "\n```",
        f"Commit {commit}, {told['date'][:10]}; {told['cpu']}, {told['cores']} cores, "
        f"{gpu}; Python {told['python']}, {versions}. {told['note']}".strip(),
        "[results.csv](results.csv) has a row a run, [history.csv](history.csv) a row an epoch, "
        "[report.html](report.html) is the sweeps' own report, and [best.yaml](best.yaml) runs the "
        "best trial again, with `data.root=FOLDER` behind its command. "
        f"`python -m benchmarks.studies {name} --page` makes this page again from the tables.",
    ]
