"""Runs a study of docs/studies, and writes its tables, pictures and page.

    python -m benchmarks.studies lr_trials --root FOLDER --scale full     on a GPU
    python -m benchmarks.studies lr_trials --root FOLDER --scale cpu      without one
    python -m benchmarks.studies lr_trials --page                         from the committed tables

The sweeps lie in outputs/ of the working directory; the same command goes on with what was
stopped. Overrides that are typed last go to every sweep.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.studies.page import write_page
from benchmarks.studies.running import run
from benchmarks.studies.studies import STUDIES
from benchmarks.studies.study import SCALES

# Every sweep of a study has its own of these.
_SET_BY_STUDY = ("hydra.sweeper.", "trainer.seed=")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "studies"


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--root", type=Path, help="folder of cats and dogs")
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--docs", type=Path, default=DOCS, help="its folder is made in here")
    parser.add_argument("--note", default="", help="said beside the machine: what else it did")
    parser.add_argument("--page", action="store_true", help="run nothing: the page again")
    parser.add_argument("overrides", nargs="*", help="hydra.launcher.workers=2, for instance")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study that is named."""
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    study, folder = STUDIES[args.study], args.docs / args.study
    if args.page:
        if not (folder / "study.json").exists():
            parser.error(f"--page: {folder} has no tables of a study yet")
        write_page(study, folder)
        return 0
    if args.root is None or not args.root.expanduser().is_dir():
        parser.error(f"--root {args.root}: must be a folder of cats and dogs")
    set_by_study = [one for one in args.overrides if one.startswith(_SET_BY_STUDY)]
    if set_by_study:
        parser.error(f"{' '.join(set_by_study)}: is the study's own")
    if args.scale not in study.sweeps:
        parser.error(f"--scale {args.scale}: {study.name} has {', '.join(study.sweeps)}")
    run(study, args.scale, args.root.expanduser().resolve(), args.overrides, folder, args.note)
    write_page(study, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
