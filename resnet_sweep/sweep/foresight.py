"""What the end of a sweep needs is loaded while its process has nothing to do but wait."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator

from resnet_sweep.report.plots.fonts import quiet_fonts

# Tables, page, and the importance of parameters, for which Optuna loads scikit-learn and SciPy;
# its pictures load Matplotlib.
_MODULES = (
    "resnet_sweep.report.report",
    "resnet_sweep.report.studies",
    "resnet_sweep.report.terminal",
    "resnet_sweep.report.page.page",
    "resnet_sweep.report.plots.all",
    "optuna.importance",
    "optuna.visualization",
)
# By then the workers have started, which takes all cores of a small machine.
_AFTER_S = 5.0


@contextlib.contextmanager
def report_loading(after_s: float = _AFTER_S) -> Iterator[None]:
    """Has another thread load the report's modules; to be entered while workers run elsewhere.

    A sweep that is over before then loads them when it needs them.

    Args:
        after_s: How long it waits before it begins.
    """
    is_over = threading.Event()
    thread = threading.Thread(target=_load, args=(is_over, after_s), name="report", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        # Modules that two threads load at once may be seen half loaded. The report comes next
        # in any case, and would load the same.
        thread.join()


def _load(is_over: threading.Event, after_s: float) -> None:
    if is_over.wait(after_s):
        return
    quiet_fonts()
    for name in _MODULES:
        # What cannot be loaded is told where it is needed: it is tried there again.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
        if is_over.is_set():
            return
