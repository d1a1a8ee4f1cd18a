"""Has something happen at a stage of a sweep; Python imports it where PYTHONPATH has its folder.

``FAULT_STAGES`` is a JSON list of stages, ``FAULT_MARKS`` the folder in which a file says which of
them have been: each happens once, in whatever process comes to it first.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def _is_worker() -> bool:
    return any(part.endswith("child.py") for part in sys.orig_argv)


class _Stage:
    """A call of a function, and what happens before or after it."""

    def __init__(self, number: int, spec: dict[str, Any]) -> None:
        self.mark = Path(os.environ["FAULT_MARKS"], str(number))
        self.module, self.name = spec["at"].split(":")
        self.is_before, self.nth = spec["when"] == "before", spec["nth"]
        self.action, self.num_calls = spec["do"], 0

    def patch(self, module: types.ModuleType) -> None:
        *owners, name = self.name.split(".")
        owner: Any = functools.reduce(getattr, owners, module)
        setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def around(*args: Any, **kwargs: Any) -> Any:
            self.num_calls += 1
            is_it = self.num_calls == self.nth
            if is_it and self.is_before:
                self._happen()
            result = function(*args, **kwargs)
            if is_it and not self.is_before:
                self._happen()
            return result

        return around

    def _happen(self) -> None:
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return
        if self.action.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[self.action])
        else:
            os.system(self.action)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds what the other finders find, and changes it once it is loaded."""

    def __init__(self, stages: list[_Stage]) -> None:
        self._stages = stages

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        stages = [stage for stage in self._stages if stage.module == name]
        if not stages:
            return None
        others = [one for one in sys.meta_path if one is not self]
        spec = next(filter(None, (one.find_spec(name, path, target) for one in others)))
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_patch(module: types.ModuleType) -> None:
            execute(module)
            for stage in stages:
                stage.patch(module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


_who = "worker" if _is_worker() else "parent"
_specs = json.loads(os.environ.get("FAULT_STAGES", "[]"))
_mine = [_Stage(i, spec) for i, spec in enumerate(_specs) if spec["who"] in (_who, "anybody")]
if _mine:
    sys.meta_path.insert(0, _Finder(_mine))
