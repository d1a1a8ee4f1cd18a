"""``python -m resnet_sweep.status``: how a sweep stands, from anywhere, while it runs or after."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from resnet_sweep.faults import UserError
from resnet_sweep.outcome import ExitCode, leave_quietly
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.reading import Snapshot, open_study, read_study
from resnet_sweep.study.sessions import is_at_work

_NUM_ROWS = 50
_POLL_S = 0.5
_PIPE_CELLS = 160


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        Exit code: 0, or 2 when there is no study.
    """
    parser = argparse.ArgumentParser(
        prog="python -m resnet_sweep.status",
        description="Shows how a sweep stands, while it runs or after. Changes nothing.",
    )
    parser.add_argument("folder", type=Path, help="the sweep's folder, outputs/<study>")
    parser.add_argument(
        "--follow", action="store_true", help="go on showing it until the sweep ends or Ctrl-C"
    )
    arguments = parser.parse_args(argv)
    try:
        # First of all, so that a wrong folder is told and not waited for.
        snapshot = read_study(arguments.folder)
        if arguments.follow and snapshot.is_active:
            _follow(arguments.folder)
            snapshot = read_study(arguments.folder)
        _show(snapshot, arguments.folder)
    except BrokenPipeError:
        pass  # See leave_quietly.
    except UserError as error:
        print(error, file=sys.stderr)
        return ExitCode.BAD_CONFIG
    finally:
        leave_quietly()
    return ExitCode.ALL_ENDED


def _follow(folder: Path) -> None:
    """Shows the sweep until it ends; Ctrl-C leaves the sweep alone."""
    from resnet_sweep.sweep.view import View

    files = StudyFolder(folder)
    view = View(
        files,
        lambda: open_study(folder),
        sys.stdout,
        is_live=sys.stdout.isatty(),
        shows_elapsed=False,
    )
    view.start()
    try:
        while is_at_work(files):
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        pass
    finally:
        view.stop()


def _show(snapshot: Snapshot, folder: Path) -> None:
    from rich.console import Console

    from resnet_sweep.report.render import render
    from resnet_sweep.report.results import table_of
    from resnet_sweep.report.studies import study_source
    from resnet_sweep.report.text import writable
    from resnet_sweep.sweep.picture import picture

    # A pipe has no width; a log file is read in something wider than 80 columns.
    width = shutil.get_terminal_size((_PIPE_CELLS, 24)).columns
    console = Console(width=width, highlight=False)
    console.print(picture(snapshot, console.size))
    console.print(_activity(snapshot), style="dim")
    source = study_source(snapshot, folder.absolute())
    text = render(table_of([source]), width, _NUM_ROWS, source.notes)
    print(writable(f"\n{text}", sys.stdout))


def _activity(snapshot: Snapshot) -> str:
    starts = [trial.datetime_start for trial in snapshot.trials if trial.datetime_start]
    ends = [trial.datetime_complete for trial in snapshot.trials if trial.datetime_complete]
    times = []
    if starts:
        times.append(f"first trial {min(starts):%Y-%m-%d %H:%M}")
    if ends:
        times.append(f"last end {max(ends):%Y-%m-%d %H:%M}")
    if snapshot.is_active:
        workers = "1 worker" if snapshot.num_workers == 1 else f"{snapshot.num_workers} workers"
        times.append(f"a sweep works on it with {workers}")
    elif snapshot.num_done < snapshot.total:
        times.append("no sweep works on it now; the same command goes on with it")
    else:
        times.append("it has ended")
    return "; ".join(times)


if __name__ == "__main__":
    sys.exit(main())
