"""What a person sees while a sweep runs: a picture of it in a terminal, lines elsewhere.

Light to import: Hydra scans this file in every application of the environment.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from resnet_sweep.faults import StorageError

if TYPE_CHECKING:
    from optuna import Study
    from rich.live import Live

    from resnet_sweep.study.folder import StudyFolder
    from resnet_sweep.study.reading import Snapshot

log = logging.getLogger(__name__)

_POLL_S = 1.0
# A poll may take one part in so many of the time.
_SHARE = 20
# A storage that does not answer must not keep a sweep from ending.
_PATIENCE_S = 10.0


class View:
    """Shows how a study stands until it is stopped, in a thread and a storage of its own.

    It never raises and never makes the sweep wait: what goes wrong is logged once, and the
    view goes on.

    Args:
        folder: The sweep's.
        open_study: Opens the study for this view alone; called in its thread.
        stream: Where to write.
        is_live: The stream is a terminal: draw a picture and keep it up to date. Else a line
            is written for each trial that ends.
        shows_elapsed: The sweep begins with the view.
    """

    def __init__(
        self,
        folder: StudyFolder,
        open_study: Callable[[], Study],
        stream: TextIO,
        *,
        is_live: bool,
        shows_elapsed: bool = True,
    ) -> None:
        self._folder, self._open_study = folder, open_study
        self._stream, self._is_live, self._shows_elapsed = stream, is_live, shows_elapsed
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep view", daemon=True)
        self._has_complained = False
        self._live: Live | None = None

    def start(self) -> None:
        """Begins; trials that have ended before are not told."""
        self._started_at = datetime.now()
        self._thread.start()

    def stop(self) -> None:
        """Tells what has ended since the last look, and takes the picture away."""
        self._is_over.set()
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive() and self._live is not None:
            # It waits for the storage; the terminal wants its cursor back.
            self._live.stop()

    def _run(self) -> None:
        try:
            if self._is_live:
                self._draw()
            else:
                lines = Lines(self._stream, self._started_at)
                self._poll(lines.tell)
        except Exception as error:
            self._complain(error)

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live

        from resnet_sweep.sweep.picture import picture

        console = Console(file=self._stream)
        self._live = live = Live(console=console, auto_refresh=False, transient=True)
        with live, _logs_above(live):

            def show(snapshot: Snapshot) -> None:
                elapsed_s = (snapshot.taken_at - self._started_at).total_seconds()
                shown_s = elapsed_s if self._shows_elapsed else None
                live.update(picture(snapshot, console.size, shown_s), refresh=True)

            self._poll(show)

    def _poll(self, show: Callable[[Snapshot], None]) -> None:
        """Looks at the study about once a second, and a last time when it is over."""
        from resnet_sweep.study.reading import Snapshot
        from resnet_sweep.study.storage import close_storage

        study: Study | None = None
        is_last = False
        while not is_last:
            is_last = self._is_over.is_set()
            begin = time.monotonic()
            try:
                study = study or self._open_study()
                show(Snapshot.take(study, self._folder))
            except Exception as error:
                self._complain(error)
            self._is_over.wait(max(_POLL_S, (_SHARE - 1) * (time.monotonic() - begin)))
        if study is not None:
            close_storage(study._storage)

    def _complain(self, error: Exception) -> None:
        # Of a storage that is away it is told already, while it is waited for.
        if self._has_complained or isinstance(error, StorageError):
            return
        self._has_complained = True
        # The sweep is none the worse for it, so nothing of it is raised.
        log.warning("how the sweep stands cannot be shown: %s: %s", type(error).__name__, error)


class Lines:
    """Writes a line for each trial that ends.

    Args:
        stream: Where to write.
        since: Trials that had ended by then are not told.
    """

    def __init__(self, stream: TextIO, since: datetime) -> None:
        self._stream, self._since = stream, since
        self._told: set[int] | None = None

    def tell(self, snapshot: Snapshot) -> None:
        """Tells what has ended since the last time."""
        from resnet_sweep.report.text import ended_line, progress_text, writable

        finished = [trial for trial in snapshot.trials if trial.state.is_finished()]
        if self._told is None:
            self._told = {
                trial.number
                for trial in finished
                if trial.datetime_complete is not None and trial.datetime_complete < self._since
            }
        new = [trial for trial in finished if trial.number not in self._told]
        new.sort(key=lambda trial: trial.datetime_complete or datetime.min)
        final = {
            ticket.last.number for ticket in snapshot.tickets if ticket.is_done and ticket.last
        }
        # Each line says how things stood when its trial ended.
        num_later = sum(trial.number in final for trial in new)
        for trial in new:
            num_later -= trial.number in final
            stand = progress_text(snapshot, snapshot.num_done - num_later)
            self._told.add(trial.number)
            print(writable(f"{ended_line(trial)}   {stand}", self._stream), file=self._stream)
        if new:
            self._stream.flush()


@contextmanager
def _logs_above(live: Live) -> Iterator[None]:
    """Log lines appear above the picture instead of in it.

    The picture takes the place of sys.stdout and sys.stderr, but a handler keeps the stream
    that it was made with.
    """
    moved: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []
    for handler in logging.getLogger().handlers:
        for new in (sys.stdout, sys.stderr):
            old = getattr(new, "rich_proxied_file", None)
            if isinstance(handler, logging.StreamHandler) and handler.stream is old is not None:
                handler.setStream(new)
                moved.append((handler, old))
    try:
        yield
    finally:
        # Stopped first, so that nothing is written to a picture that is gone.
        live.stop()
        for handler, old in moved:
            handler.setStream(old)
