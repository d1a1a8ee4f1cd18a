import io
import logging
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from studies import HOSTILE, START, StudyOnDisk, study_of_every_kind

from resnet_sweep.study.reading import Snapshot, open_study, read_study
from resnet_sweep.sweep import view as view_module
from resnet_sweep.sweep.picture import picture
from resnet_sweep.sweep.view import Lines, View


@pytest.fixture
def every_kind(tmp_path: Path) -> Iterator[StudyOnDisk]:
    made = study_of_every_kind(tmp_path)
    yield made
    made.close()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def text_of(snapshot: Snapshot, width: int = 120, height: int = 24) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(picture(snapshot, ConsoleDimensions(width, height)))
    return console.file.getvalue().splitlines()


def told(path: Path, since: datetime = START) -> list[str]:
    stream = io.StringIO()
    Lines(stream, since).tell(read_study(path))
    return stream.getvalue().splitlines()


def test_a_line_says_how_a_trial_ended_and_how_the_study_stands(tmp_path):
    made = StudyOnDisk(tmp_path, [{"optimizer.lr": 1e-3, "model": "a"}] * 3)
    made.worker_lives()
    made.add(0, {"optimizer.lr": 1e-3, "model": "a"}, values=0.9778, seconds=83.2)
    assert told(tmp_path) == [
        "trial 0 COMPLETE 0.9778 optimizer.lr=0.001 model=a (83 s)"
        "   1/3 done, best 0.9778 (trial 0), about 3 min left"
    ]
    made.close()


def test_lines_come_in_the_order_of_the_ends_each_with_its_own_stand(tmp_path):
    made = StudyOnDisk(tmp_path, [{}] * 4)
    made.begin(0, {})
    made.add(1, {}, "PRUNED", 0.25)
    made.add(2, {}, "FAIL", failure="lost", error="lost: its worker is gone")
    made.add(3, {}, "FAIL", failure="exception", error="ValueError: it\nis bad")
    made.end(0, "COMPLETE", 0.5, seconds=5.0, duplicate_of=1)
    # The lost one will be taken up again, so it is not done.
    assert [line.split("   ")[0] for line in told(tmp_path)] == [
        "trial 1 PRUNED 0.2500 (10 s)",
        "trial 2 FAIL lost: its worker is gone (10 s)",
        "trial 3 FAIL exception: ValueError: it is bad (10 s)",
        "trial 0 COMPLETE 0.5000 as trial 1 (5.0 s)",
    ]
    stands = [line.split("   ")[1].split()[0] for line in told(tmp_path)]
    assert stands == ["1/4", "1/4", "2/4", "3/4"]


def test_what_had_ended_before_is_not_told_and_nothing_twice(tmp_path):
    made = StudyOnDisk(tmp_path, [{}] * 3)
    made.add(0, {}, values=0.5)
    stream = io.StringIO()
    lines = Lines(stream, datetime.now() + timedelta(milliseconds=1))
    lines.tell(read_study(tmp_path))
    assert stream.getvalue() == ""
    made.add(1, {}, values=0.5)
    lines.tell(read_study(tmp_path))
    lines.tell(read_study(tmp_path))
    assert stream.getvalue().count("\n") == 1
    assert "trial 1 COMPLETE" in stream.getvalue()


def test_several_objectives_in_a_line(tmp_path):
    made = StudyOnDisk(tmp_path, [{}], directions=["maximize", "minimize"])
    made.add(0, {}, values=[0.5, 12345.678])
    assert told(tmp_path) == [
        "trial 0 COMPLETE 0.5000, 12345.6780 (10 s)   1/1 done, 1 on the Pareto front"
    ]


def test_values_cannot_break_a_line_or_command_the_terminal(tmp_path):
    made = StudyOnDisk(tmp_path, [{"text": text} for text in HOSTILE])
    made.worker_lives()
    for ticket, text in enumerate(HOSTILE):
        made.add(ticket, {"text": text}, values=0.5)
    lines = told(tmp_path)
    assert len(lines) == len(HOSTILE)
    assert not any("\x1b" in line for line in lines)
    assert max(map(len, lines)) < 160
    # Their time is part of a line: hours would leave less room for the values.
    now_s = (datetime.now() - START).total_seconds()
    for i in range(len(HOSTILE)):
        made.begin(20 + i, {"text": HOSTILE[i]}, started_s=now_s)
    for width in (60, 120):
        shown = text_of(read_study(tmp_path), width, height=40)
        assert max(map(cell_len, shown)) <= width
        assert any("[bold]markup[/]" in line for line in shown)
        assert sum("text=" in line for line in shown) == len(HOSTILE) + 4 + 1
    made.close()


def test_a_stream_that_cannot_write_everything_gets_escapes(tmp_path):
    made = StudyOnDisk(tmp_path, [{"text": "é"}])
    made.add(0, {"text": "é"}, values=0.5)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Lines(stream, START).tell(read_study(tmp_path))
    stream.seek(0)
    assert "text=\\xe9" in stream.read()


@pytest.mark.parametrize("width", [60, 120])
def test_the_picture_shows_all_kinds_and_fits(every_kind, width):
    lines = text_of(read_study(every_kind.path), width)
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    assert lines[0].startswith("lr_trials  4/10 done  2 complete  1 pruned  1 failed")
    assert "      4  gpu1     2  0.6000" in text
    assert "ended 6 LOST lost: its worker is gone" in text
    assert "ended 7 COMPLETE 0.5000 as trial 0" in text
    assert "best  0.5000 (trial 0) lr=0.1 model=res" in text


def test_many_running_trials_leave_room_for_the_rest(tmp_path):
    made = StudyOnDisk(tmp_path, n_trials=100)
    made.worker_lives()
    for i in range(64):
        made.begin(i, {"x": i / 100})
    lines = text_of(read_study(tmp_path), height=24)
    assert len(lines) < 24
    assert "58 more" in "\n".join(lines) or "57 more" in "\n".join(lines)
    made.close()


def test_a_picture_of_nothing_yet(tmp_path):
    StudyOnDisk(tmp_path, n_trials=3)
    (line,) = text_of(read_study(tmp_path))
    assert line.rstrip() == "lr_trials  0/3 done  0 complete  0 pruned  0 failed"


def test_a_pareto_front_is_counted_and_begun(tmp_path):
    made = StudyOnDisk(tmp_path, [{"x": i / 10} for i in range(9)], directions=["maximize"] * 2)
    for i in range(9):
        made.add(i, {"x": i / 10}, values=[i / 10, -i / 10])
    text = "\n".join(text_of(read_study(tmp_path)))
    assert "best  9 on the Pareto front" in text
    assert text.count("(trial ") == 5


def test_the_view_tells_what_ends_until_it_is_stopped(tmp_path):
    made = StudyOnDisk(tmp_path, [{}] * 3)
    made.add(0, {}, values=0.5)
    stream = io.StringIO()
    view = View(made.folder, lambda: open_study(tmp_path), stream, is_live=False)
    view.start()
    made.add(1, {}, values=0.5)
    made.add(2, {}, "PRUNED", 0.25)
    view.stop()
    lines = stream.getvalue().splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        "trial 1 COMPLETE 0.5000",
        "trial 2 PRUNED 0.2500",
    ]


def test_the_picture_is_drawn_in_a_terminal_and_taken_away(every_kind, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    study = open_study(every_kind.path)
    view = View(every_kind.folder, lambda: study, stream, is_live=True)
    view.start()
    view.stop()
    shown = stream.getvalue()
    assert "lr_trials" in shown
    assert "best" in shown
    assert "\x1b[32m" in shown
    # The cursor is back.
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_no_color_is_respected(every_kind, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    view = View(every_kind.folder, lambda: open_study(every_kind.path), stream, is_live=True)
    view.start()
    view.stop()
    assert "lr_trials" in stream.getvalue()
    assert "\x1b[32m" not in stream.getvalue()


def test_log_lines_go_above_the_picture_and_handlers_are_as_before(every_kind, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    shown = threading.Event()

    def opened():
        logging.getLogger("mine").warning("a warning")
        shown.set()
        return open_study(every_kind.path)

    try:
        view = View(every_kind.folder, opened, terminal, is_live=True)
        view.start()
        assert shown.wait(20)
        view.stop()
    finally:
        logging.getLogger().removeHandler(handler)
    assert handler.stream is terminal
    assert sys.stderr is terminal
    assert "a warning\n" in terminal.getvalue()


def test_errors_are_logged_once_and_the_view_goes_on(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(view_module, "_POLL_S", 0.01)
    made = StudyOnDisk(tmp_path, [{}])
    num_calls = 0
    has_worked = threading.Event()

    def opened():
        nonlocal num_calls
        num_calls += 1
        if num_calls < 4:
            raise ConnectionError("the database sleeps")
        has_worked.set()
        return open_study(tmp_path)

    stream = io.StringIO()
    view = View(made.folder, opened, stream, is_live=False)
    view.start()
    assert has_worked.wait(20)
    made.add(0, {}, values=0.5)
    view.stop()
    messages = [record.message for record in caplog.records if record.name == view_module.__name__]
    assert messages == [
        "how the sweep stands cannot be shown: ConnectionError: the database sleeps"
    ]
    assert "trial 0 COMPLETE" in stream.getvalue()


def test_a_storage_that_hangs_does_not_keep_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(view_module, "_PATIENCE_S", 0.05)
    monkeypatch.setenv("TERM", "xterm")
    made = StudyOnDisk(tmp_path, [{}])
    answers, asked = threading.Event(), threading.Event()

    def opened():
        asked.set()
        answers.wait()
        return open_study(tmp_path)

    terminal = Terminal()
    view = View(made.folder, opened, terminal, is_live=True)
    view.start()
    assert asked.wait(20)
    view.stop()
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")
    answers.set()


def test_a_closed_pipe_does_not_hurt(tmp_path, caplog):
    made = StudyOnDisk(tmp_path, [{}])
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stream:
        view = View(made.folder, lambda: open_study(tmp_path), stream, is_live=False)
        view.start()
        made.add(0, {}, values=0.5)
        view.stop()
        assert "BrokenPipeError" in caplog.text
        # What is left in its buffer cannot be written either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


def test_the_picture_in_a_real_terminal(every_kind):
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from resnet_sweep.study.folder import StudyFolder\n"
        "from resnet_sweep.study.reading import open_study\n"
        "from resnet_sweep.sweep.view import View\n"
        "path = Path(sys.argv[1])\n"
        "view = View(StudyFolder(path), lambda: open_study(path), sys.stderr, is_live=True)\n"
        "view.start(); print('IN BETWEEN'); view.stop(); print('AFTER')\n"
    )
    parent, child = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-c", script, str(every_kind.path)],
        stdin=child,
        stdout=child,
        stderr=child,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "60", "LINES": "20"},
    )
    os.close(child)
    shown = b""
    try:
        while piece := os.read(parent, 65536):
            shown += piece
    except OSError:
        pass  # Nobody writes to it any more.
    os.close(parent)
    assert done.wait(20) == 0
    assert b"4/10 done" in shown
    assert shown.rstrip().endswith(b"AFTER")


def test_importing_it_loads_nothing_heavy():
    script = "import sys, resnet_sweep.sweep.view, resnet_sweep.sweep.picture; "
    script += "names = ('optuna', 'numpy', 'pandas', 'rich', 'torch', 'sqlalchemy'); "
    script += "print([n for n in names if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
