"""What a task should not do, and does."""

import decimal
import itertools
import locale
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hydra.core.hydra_config import HydraConfig


class UnspeakableError(RuntimeError):
    """Raises whatever is asked of it."""

    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__

    def __reduce__(self) -> tuple:
        raise TypeError("no copy")


class StubbornError(BaseException):
    """No Exception."""


def raises(error: BaseException) -> None:
    raise error


def own_folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def _recursion() -> None:
    _recursion()


def _close_all() -> str:
    os.closerange(0, 4096)
    return "work"


def _close_output() -> str:
    os.closerange(0, 3)
    return "work"


def _elsewhere() -> str:
    """Changes all that a process has only one of."""
    os.chdir(tempfile.mkdtemp())
    os.rmdir(os.getcwd())
    os.umask(0o777)
    os.environ.clear()
    sys.path.clear()
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    logging.disable()
    return "work"


def _remove_folder() -> str:
    shutil.rmtree(own_folder())
    own_folder().mkdir()
    return "work"


def _remove_folder_for_good() -> float:
    shutil.rmtree(own_folder())
    return 1.0


def _log_much() -> str:
    line = "x" * (1 << 20)
    for _ in range(100):
        logging.getLogger("app").info(line)
    return "work"


def _orphan() -> str:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    return "work"


def _fork() -> str:
    """A child that is a copy of the worker, and outlives it."""
    if os.fork() == 0:
        import time

        time.sleep(300)
        os._exit(0)
    return "work"


def _numpy() -> object:
    import numpy as np

    return np.float32(2.5)


def _array() -> object:
    import numpy as np

    return np.array([[2.5]])


def _arrays() -> object:
    import numpy as np

    return np.array([2.5, 3.5])


def _torch() -> object:
    import torch

    return torch.tensor(2.5, requires_grad=True)


WAYS = {
    "exit_0": lambda: os._exit(0),
    "base": lambda: raises(StubbornError("not to be stopped")),
    "keyboard": lambda: raises(KeyboardInterrupt()),
    "generator_exit": lambda: raises(GeneratorExit()),
    "recursion": _recursion,
    "unspeakable": lambda: raises(UnspeakableError()),
    "enormous": lambda: raises(RuntimeError("much " * 4_000_000)),
    "surrogates": lambda: raises(RuntimeError("a lone \udc80 and \ud83d, nul \x00, bell \x07")),
    "group": lambda: raises(ExceptionGroup("both", [ValueError("one"), TypeError("two")])),
    "stop_iteration": lambda: raises(StopIteration()),
    "no_words": lambda: raises(RuntimeError()),
    "close_all": _close_all,
    "close_output": _close_output,
    "elsewhere": _elsewhere,
    "remove_folder": _remove_folder,
    "remove_for_good": _remove_folder_for_good,
    "log_much": _log_much,
    "orphan": _orphan,
    "fork": _fork,
    "numpy": _numpy,
    "an_array": _array,
    "arrays": _arrays,
    "torch": _torch,
    "decimal": lambda: decimal.Decimal("2.5"),
    "a_bool": lambda: True,
    "generator": lambda: (x for x in [1.0, 2.0]),
    "endless": lambda: itertools.count(),
    "a_dict": lambda: {"accuracy": 1.0},
    "complex": lambda: 1j,
    "huge": lambda: 10**400,
    "a_list": lambda: [2.5],
}
