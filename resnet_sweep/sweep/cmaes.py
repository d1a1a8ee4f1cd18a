"""CMA-ES without foreign code. Imports Optuna, so it is imported only when a trial is drawn.

Optuna's sampler keeps its optimizer in the study, pickled, and a pickle runs what it likes.
"""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Sequence
from typing import Any

from optuna.samplers import BaseSampler, CmaEsSampler
from optuna.trial import FrozenTrial

from resnet_sweep.faults import ConfigError, Fault

# All that optimizers are made of.
_PARTS = {
    ("cmaes._cma", "CMA"),
    ("cmaes._sepcma", "SepCMA"),
    ("cmaes._cmawm", "CMAwM"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    # Of numpy 1.
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
}


def without_foreign_code(sampler: BaseSampler) -> BaseSampler:
    """The sampler; one of CMA-ES takes nothing else than an optimizer out of the study."""
    if isinstance(sampler, CmaEsSampler):
        # Where Optuna calls pickle.loads.
        restore = functools.partial(_restored, sampler)
        sampler._restore_optimizer = restore  # type: ignore[method-assign]
    return sampler


def _restored(sampler: CmaEsSampler, trials: Sequence[FrozenTrial]) -> Any:
    """The newest optimizer that a trial keeps; None where there is none.

    Raises:
        ConfigError: What it keeps is something else.
    """
    for trial in reversed(trials):
        parts = {
            key: value
            for key, value in trial.system_attrs.items()
            if key.startswith(sampler._attr_key_optimizer)
        }
        if parts:
            try:
                return _Unpickler(
                    io.BytesIO(bytes.fromhex(sampler._concat_optimizer_attrs(parts)))
                ).load()
            except Exception as error:
                # A pickle that is broken raises nearly anything.
                rule = f"cannot be used: in trial {trial.number} the study keeps {error}"
                fix = "choose another sampler, or another study"
                raise ConfigError(
                    [Fault("hydra.sweeper.sampler", "cmaes", rule, fix=fix)]
                ) from error
    return None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PARTS:
            raise pickle.UnpicklingError(f"{module}.{name}, which is no part of an optimizer")
        return super().find_class(module, name)
