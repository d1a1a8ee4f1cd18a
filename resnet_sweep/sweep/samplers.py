"""The sampler of each trial, made anew with a seed of its own.

A sampler that lives as long as its worker would draw from one random stream, so what a trial
gets would depend on which worker ran which trials before. A fresh sampler for each trial, its
seed made from the sweep's seed and the trial's place in the sweep, its ticket, draws the same
whoever asks, however often the sweep was stopped, and however many attempts were lost before.
Optuna's samplers keep all else that they know in the storage.

The order around a trial: ``study.sampler = factory.make(ticket)`` as soon as it has its row,
then ``optuna.Trial`` is made, both under the lock of the claim, then the suggestions,
then ``study.tell()`` with that sampler still in place. Making the trial calls the sampler's
``before_trial``, which matters to QMC (its point is taken there) and to GridSampler (grids are
planned by the sweep itself). ``Study.ask()`` calls that of whatever sampler the study has: a
sampler set after it draws the same with one worker. ``tell`` calls ``after_trial``, where
samplers look at constraints.
"""

from __future__ import annotations

import hashlib
import inspect
import secrets
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from resnet_sweep.faults import Fault, in_range
from resnet_sweep.sweep.groups import SAMPLERS
from resnet_sweep.sweep.targets import build_faults, deferred, plain, quiet

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

KEY = "hydra.sweeper.sampler"
ALLOWED = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*")
# hydra-optuna-sweeper's groups name functions of its own for these.
_STOCK_NAMES = {
    "create_nsgaii_sampler": "NSGAIISampler",
    "create_nsgaiii_sampler": "NSGAIIISampler",
    "raise_motpe_removed": "MOTPESampler",
}
# Parameters that are samplers themselves, and so need a seed of their own.
_INNER = ("independent_sampler", "base_sampler")
# Optional packages that Optuna imports only when the first value is drawn.
_NEEDS = {
    "CmaEsSampler": ("cmaes",),
    "GPSampler": ("torch", "scipy"),
    "QMCSampler": ("scipy",),
}
# Numbers that Optuna takes whatever they are, and then fails in the middle of a sweep.
_AT_LEAST = {
    "seed": 0,
    "n_startup_trials": 0,
    "n_ei_candidates": 1,
    "popsize": 4,
    "dividing_parameter": 1,
}
_NUM_SEEDS = 2**32


class SamplerFactory:
    """Makes the sampler of each trial of a sweep; can be pickled into a worker."""

    def __init__(self, config: Any, seed: int) -> None:
        """Keeps what is needed; nothing is imported or built yet.

        Args:
            config: The sampler's configuration, with ``_target_``; checked before.
            seed: The sweep's seed; a seed in ``config`` is not used.
        """
        given = plain(config)
        self._inner: dict[str, SamplerFactory] = {}
        for name in _INNER:
            if isinstance(given.get(name), Mapping):
                inner = given.pop(name)
                own_seed = inner.get("seed")
                inner_seed = derived_seed(seed, name) if own_seed is None else int(own_seed)
                self._inner[name] = SamplerFactory(inner, inner_seed)
        self._config = {
            name: value for name, value in given.items() if name not in ("seed", "_partial_")
        }
        self.seed = seed
        self._call: Callable[..., BaseSampler] | None = None

    def __reduce__(self) -> tuple[type[SamplerFactory], tuple[dict[str, Any], int]]:
        # What Hydra has deferred cannot be pickled; the other process builds its own.
        inner = {name: {**one._config, "seed": one.seed} for name, one in self._inner.items()}
        return type(self), ({**self._config, **inner}, self.seed)

    @property
    def name(self) -> str:
        """The sampler's class, for logs and messages."""
        return sampler_name(self._config)

    @property
    def is_grid(self) -> bool:
        """Whether the sweep plans a grid itself."""
        return is_grid(self._config)

    def make(self, ticket: int) -> BaseSampler:
        """The sampler of one trial.

        Args:
            ticket: The trial's place in the sweep, which all its attempts share.
        """
        from optuna.samplers import RandomSampler

        if self.is_grid:
            # All values of a grid's trials are given; a config may suggest more in Python.
            return RandomSampler(seed=derived_seed(self.seed, ticket))
        with quiet(also_deprecations=self._call is not None):
            if self._call is None:
                self._call = deferred(self._config, ALLOWED)
            arguments: dict[str, Any] = {
                name: one.make(ticket) for name, one in self._inner.items()
            }
            if self.name == "QMCSampler":
                # All trials share one sequence, which its seed names; what is not drawn from
                # it must differ nevertheless.
                arguments["seed"] = self.seed
                arguments.setdefault(
                    "independent_sampler", RandomSampler(seed=derived_seed(self.seed, ticket))
                )
                from resnet_sweep.sweep.qmc import PointAtClaim

                return PointAtClaim(self._call(**arguments))
            if _takes_seed(self._call):
                arguments["seed"] = derived_seed(self.seed, ticket)
            from resnet_sweep.sweep.cmaes import without_foreign_code

            return without_foreign_code(self._call(**arguments))


def sampler_name(config: Any) -> str:
    """The class that a configuration names, without its module."""
    name = str(plain(config).get("_target_")).rpartition(".")[2]
    return _STOCK_NAMES.get(name, name)


def is_grid(config: Any) -> bool:
    """Whether a configuration is that of the grid, which the sweep plans itself."""
    return sampler_name(config) == "GridSampler"


def choose_seed(config: Any) -> int:
    """The seed of a new sweep: the configuration's, else a fresh one. To be kept in the study."""
    seed = plain(config).get("seed")
    return secrets.randbelow(_NUM_SEEDS) if seed is None else int(seed)


def derived_seed(seed: int, *path: int | str) -> int:
    """A seed made from another and from what it is for; the same on every machine."""
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _takes_seed(call: Callable[..., Any]) -> bool:
    parameters = inspect.signature(call).parameters.values()
    return any(one.name == "seed" or one.kind is one.VAR_KEYWORD for one in parameters)


def check_sampler(config: Any, num_objectives: int) -> list[Fault]:
    """Everything that is wrong with a sampler's configuration.

    Args:
        config: The node ``hydra.sweeper.sampler``.
        num_objectives: Values that a trial returns.
    """
    from optuna.samplers import BaseSampler

    given = plain(config)
    name = sampler_name(given)
    if name == "MOTPESampler":
        rule = "is no longer part of Optuna, whose TPE takes several objectives"
        return [Fault(KEY, "motpe", rule, SAMPLERS, "choose hydra/sweeper/sampler=study_tpe")]
    if name == "BruteForceSampler":
        rule = "stops a study by means that only Optuna's own loop has"
        fix = "leave hydra.sweeper.n_trials unset: plain lists are a grid"
        return [Fault(f"{KEY}._target_", given["_target_"], rule, SAMPLERS, fix)]
    faults = _number_faults(KEY, given)
    missing = [one for one in _NEEDS.get(name, ()) if find_spec(one) is None]
    if missing:
        rule = f"needs {' and '.join(missing)}, not installed"
        faults.append(Fault(KEY, name, rule, fix=f"pip install {' '.join(missing)}"))
    if name == "CmaEsSampler" and num_objectives > 1:
        rule = f"takes one objective, and there are {num_objectives}"
        faults.append(Fault(KEY, name, rule, fix="choose hydra/sweeper/sampler=nsgaii"))
    if faults or is_grid(given):
        return faults
    return build_faults(KEY, config, ALLOWED, BaseSampler, SAMPLERS, _first)


def _first(config: dict[str, Any]) -> BaseSampler:
    return SamplerFactory(config, choose_seed(config)).make(0)


def _number_faults(key: str, given: Mapping[str, Any]) -> list[Fault]:
    faults: list[Fault] = []
    for name, value in given.items():
        if isinstance(value, Mapping):
            faults += _number_faults(f"{key}.{name}", value)
        elif name in _AT_LEAST and isinstance(value, int | float):
            faults += in_range(f"{key}.{name}", value, at_least=_AT_LEAST[name])
    return faults
