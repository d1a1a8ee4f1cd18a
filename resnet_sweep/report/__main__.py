"""``python -m resnet_sweep.report``: tables, a page and the best configuration of any results."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_sweep.faults import ConfigError, Fault, UserError

if TYPE_CHECKING:
    import pandas as pd

    from resnet_sweep.report.report import Report
    from resnet_sweep.study.folder import StudyFolder

_BAD_CONFIG = 2
_DEFAULTS = {"top": 1, "attempts": "last", "png": False}
# For people: without --columns they have those of the text.
_ROUNDED = ("md", "latex")
FORMATS = ("text", "md", "csv", "latex", "json")
_EPILOG = """\
Without --output the files go into the folder of the sweep, for several into one named report-....
Conditions of --filter: state=COMPLETE, optimizer.lr<1e-3, model!=plain50. All of them must hold.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        Exit code: 0, or 2 when there are no results or an argument is refused.
    """
    arguments = _parser().parse_args(argv)
    try:
        _refuse_unfit(arguments)
        text = _compared(arguments) if arguments.compare else _reported(arguments)
        from resnet_sweep.report.text import writable

        print(writable(text, sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads any more; Python would flush once more on its way out.
        sys.stdout = None
    except UserError as error:
        print(error, file=sys.stderr)
        return _BAD_CONFIG
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m resnet_sweep.report",
        description="Prints the table of sweeps or runs, best first, and writes results.csv, "
        "history.csv, report.html and best.yaml. Works while a sweep runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="folder, results.csv or URL of a storage")
    add("--compare", nargs=2, metavar=("A", "B"), help="differences of B to A, setting by setting")
    add("--by", metavar="COLUMNS", help="means over all runs that agree on these columns")
    add("--sort", metavar="COLUMNS", help="model,-seconds: largest seconds first")
    add("--filter", action="append", default=[], metavar="CONDITION", help="rows to show")
    add("--columns", metavar="COLUMNS", help="columns to show")
    add("--config", metavar="KEYS", help="settings that get columns as well; all for every one")
    add("--attempts", choices=("last", "all"), help="of trials taken up again")
    add("--format", choices=FORMATS, default="text", help="of what is printed")
    add("--output", type=Path, metavar="FOLDER", help="where the files go")
    add("--top", type=int, metavar="K", help="write best.yaml to best-K.yaml")
    add("--png", action="store_true", help="write the plots as PNG files as well, into plots/")
    parser.set_defaults(**_DEFAULTS)
    return parser


def _refuse_unfit(arguments: argparse.Namespace) -> None:
    faults = []
    if not arguments.paths and not arguments.compare:
        faults.append(Fault("PATH", "", "must be given", fix="type outputs/<study>"))
    if arguments.compare:
        rule = "has no meaning with --compare"
        faults += [Fault("PATH", path, rule) for path in arguments.paths]
        for name in ("by", "config", "png", "output", "top", "attempts"):
            if getattr(arguments, name) != _DEFAULTS.get(name):
                faults.append(Fault(f"--{name}", getattr(arguments, name), rule))
    if arguments.top < 1:
        faults.append(Fault("--top", arguments.top, "must be at least 1"))
    if faults:
        raise ConfigError(faults)


def _compared(arguments: argparse.Namespace) -> str:
    from resnet_sweep.report.compare import compare
    from resnet_sweep.report.differing import add_what_differs
    from resnet_sweep.report.results import table_of
    from resnet_sweep.report.sources import open_sources

    first, second = arguments.compare
    # Each on its own, so that a sweep can be compared with its own copy.
    sides = [open_sources(first), open_sources(second)]
    add_what_differs([source for side in sides for source in side])
    table = compare(table_of(sides[0]), table_of(sides[1]), (first, second))
    return _with_lines(
        _shown(table, arguments, arguments.filter), _compare_notes(table, first, second), arguments
    )


def _compare_notes(table: pd.DataFrame, first: str, second: str) -> list[str]:
    lines = [f"a: {first}", f"b: {second}", "difference: b less a, where known with a 95% interval"]
    for name in ("a", "b"):
        num = table.attrs[f"num_unmatched_{name}"]
        if num:
            settings = "1 setting" if num == 1 else f"{num} settings"
            lines.append(f"{settings} of {name} without a counterpart")
    also = table.attrs["also_differ"]
    if also:
        texts = [f"{name} ({values[0]}, {values[1]})" for name, values in also.items()]
        lines.append(f"a and b also differ in {', '.join(texts)}")
    for name, other in (("a", "b"), ("b", "a")):
        if only := table.attrs[f"only_{name}"]:
            lines.append(f"{', '.join(only)}: of {name} only; what {other} had is not known")
    return [*lines, *([table.attrs["note"]] if "note" in table.attrs else [])]


def _reported(arguments: argparse.Namespace) -> str:
    from resnet_sweep.report.report import Report, folder_for
    from resnet_sweep.report.sources import open_sources
    from resnet_sweep.study.folder import StudyFolder

    settings = None if arguments.config == "all" else _split(arguments.config)
    report = Report(open_sources(arguments.paths, settings))
    # Refused before anything is written.
    text = _text(report, arguments)
    folder = StudyFolder(arguments.output or folder_for(report.sources, arguments.paths))
    try:
        lines = _write(report, folder, arguments)
    except OSError as error:
        rule, fix = f"cannot be written: {error.strerror}", "type --output FOLDER"
        raise ConfigError([Fault("--output", folder.path, rule, fix=fix)]) from error
    return _with_lines(text, lines, arguments)


def _with_lines(text: str, lines: Sequence[str], arguments: argparse.Namespace) -> str:
    """What is printed for a person; what another program reads stays without the lines."""
    if arguments.format == "text":
        return "\n".join([text, "", *lines])
    print("\n".join(lines), file=sys.stderr)
    return text


def _text(report: Report, arguments: argparse.Namespace) -> str:
    from resnet_sweep.report.terminal import summary_lines, tell_results

    chosen = (arguments.by, arguments.columns, arguments.sort, *arguments.filter)
    is_text = arguments.format == "text"
    if is_text and not any(chosen) and arguments.attempts == "last":
        return tell_results(report, _width())
    text = _chosen(report, arguments)
    return f"{text}\n\n{summary_lines(report)}" if is_text else text


def _chosen(report: Report, arguments: argparse.Namespace) -> str:
    """The rows and columns that were asked for, or means over them."""
    from resnet_sweep.report.aggregate import aggregate
    from resnet_sweep.report.formats import columns_to_text
    from resnet_sweep.report.render import render, run_columns
    from resnet_sweep.report.shaping import shape

    table = report.attempts if arguments.attempts == "all" else report.runs
    if arguments.by is not None:
        # What is kept are runs; what is sorted and shown are means.
        means = aggregate(shape(table, filter=arguments.filter), _split(arguments.by))
        return _shown(means, arguments, conditions=())
    if arguments.format == "text" and arguments.columns is None:
        shaped = shape(table, arguments.sort, arguments.filter)
        return render(shaped, _width(), notes=report.notes)
    if arguments.format in _ROUNDED and arguments.columns is None:
        shaped = shape(table, arguments.sort, arguments.filter)
        return columns_to_text(run_columns(shaped), arguments.format)
    return _shown(table, arguments, arguments.filter)


def _shown(table: pd.DataFrame, arguments: argparse.Namespace, conditions: Sequence[str]) -> str:
    """Any table, in the format that was asked for."""
    from resnet_sweep.report.formats import columns_to_text, to_text
    from resnet_sweep.report.shaping import shape
    from resnet_sweep.report.summary import render_summary, summary_columns

    shaped = shape(table, arguments.sort, conditions, arguments.columns)
    if arguments.format == "text":
        return render_summary(shaped, _width())
    if arguments.format in _ROUNDED and arguments.columns is None:
        return columns_to_text(list(summary_columns(shaped).values()), arguments.format)
    return to_text(shaped, arguments.format)


def _write(report: Report, folder: StudyFolder, arguments: argparse.Namespace) -> list[str]:
    """Writes all files; returns the lines that tell which."""
    from resnet_sweep.report.terminal import standing_lines, written_lines

    folder.path.mkdir(parents=True, exist_ok=True)
    base = Path.cwd()
    written = report.write_tables(folder)
    best = report.write_best(folder, arguments.top, base=base)
    written.append(report.write_page(folder, best))
    if arguments.png:
        written += report.write_pngs(folder)
    lines = written_lines(written, best, base, is_of_several=len(report.sources) > 1)
    return [*standing_lines(report), *lines]


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _width() -> int | None:
    """Of the terminal; a pipe and a file have none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


if __name__ == "__main__":
    sys.exit(main())
