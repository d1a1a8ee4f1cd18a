"""The sweep from its settings to its results: plan, place, study, workers, end."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from resnet_sweep.faults import ConfigError
from resnet_sweep.files import replacing
from resnet_sweep.started import started_as
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.reading import holds_study
from resnet_sweep.study.sessions import Session
from resnet_sweep.sweep.compose import Composer
from resnet_sweep.sweep.conditions import lookup_in
from resnet_sweep.sweep.config import Options, check_options
from resnet_sweep.sweep.found import home_of, is_unfinished
from resnet_sweep.sweep.frozen import changed_sources, freeze, frozen_loader
from resnet_sweep.sweep.identity import (
    differences,
    overrides_hash,
    quoted,
    study_identity,
)
from resnet_sweep.sweep.place import Place, find_place
from resnet_sweep.sweep.plan import Plan, check_plan, make_plan
from resnet_sweep.sweep.slots import num_slots, workers_outlive
from resnet_sweep.sweep.stopping import StopFlag
from resnet_sweep.sweep.taken import Command, kept_by, recomposed, typed_for_hydra
from resnet_sweep.sweep.takeover import take_over
from resnet_sweep.sweep.task import find_hook, make_task
from resnet_sweep.sweep.unwritable import unwritable_told

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Sweep:
    """All that is known when the workers can start.

    Attributes:
        options: The sweeper's settings, names and URLs made concrete.
        plan: Tickets and space.
        place: The study's folder.
        session: This sweep, among those that work on the study.
        context: Of Hydra, composing from the frozen sources.
        function: The application's task function.
        master: The sweep's configuration, naming the folder.
        study: Opened by the sweep itself.
        seed: Of the sampler.
        num_slots: Of the launcher; None where it is not known.
        stop: Knows whether a signal has come to this process.
    """

    options: Options
    plan: Plan
    place: Place
    session: Session
    context: HydraContext
    function: TaskFunction
    master: DictConfig
    study: optuna.Study
    seed: int
    num_slots: int | None
    stop: StopFlag

    @property
    def folder(self) -> StudyFolder:
        """The study's."""
        return self.place.folder


class Engine:
    """One sweep of one command."""

    def __init__(
        self, options: Options, context: HydraContext, function: TaskFunction, config: DictConfig
    ) -> None:
        """Keeps what Hydra gives a sweeper.

        Args:
            options: The sweeper's settings.
            context: Config loader, callbacks and whitelist.
            function: The application's task function.
            config: The sweep's composed configuration.
        """
        # A password that comes from the environment is not to be kept.
        self.options = dataclasses.replace(options, storage=_kept_storage(options, config))
        self.context = context
        self.function = function
        self.config = config
        self.base = Path(config.hydra.runtime.cwd)
        # What a study that begins takes from an earlier one, and keeps.
        self.earlier: dict[str, Any] = {}
        self.task = make_task(options.task, function)
        find_hook(options.custom_search_space)
        self.num_slots = num_slots(config, context, function)

    def run(self, arguments: Sequence[str]) -> None:
        """Runs the study to its total; see StudySweeper.sweep.

        Raises:
            KeyboardInterrupt: A signal came before there was a study, or to a drop-in.
            UnwritableError: A disk is full, or a folder may not be written.
        """
        # What plans can be stopped anywhere; what has begun ends in order.
        with StopFlag() as stop, stop.in_task(), unwritable_told():
            self._run(arguments, stop)

    def _run(self, arguments: Sequence[str], stop: StopFlag) -> None:
        refuse(check_options(self.options))
        # An earlier study is asked only if this one has not begun, so its place comes first.
        plan = None if isinstance(self.options.trials, Mapping) else self._plan(arguments)
        digest = overrides_hash(self.config, self.task.free_keys)
        num_tickets = self.options.n_trials if plan is None else plan.num_tickets
        place: Place | None = None
        sweep: Sweep | None = None
        try:
            with stop.shielded():
                place = find_place(
                    self.options,
                    self.config,
                    digest,
                    lambda folder: is_unfinished(folder, num_tickets),
                    home_of(self.options) if self.options.is_drop_in else None,
                )
            plan = self._take_over(arguments, place) if plan is None else plan
            self._check(plan, place)
            if self.options.plan:
                from resnet_sweep.sweep.preview import show_plan

                show_plan(self, plan, place)
                return
            from resnet_sweep.sweep.running import run_workers

            with stop.shielded():
                sweep = self._open(plan, place, stop)
                # From here on others may join.
                place.leave()
                run_workers(sweep, self.task)
        finally:
            if sweep is not None:
                sweep.session.end()
            elif place is not None:
                place.leave(unused=True)

    def _plan(self, arguments: Sequence[str]) -> Plan:
        loader = self.context.config_loader
        return make_plan(self.options, arguments, loader, self.base, lookup_in(self.config))

    def _take_over(self, arguments: Sequence[str], place: Place) -> Plan:
        """Makes this sweep one of an earlier study's trials."""
        loader, free_keys = self.context.config_loader, self.task.free_keys
        # A file that it takes something from may be gone today.
        loader = loader if place.is_new else frozen_loader(loader, place.folder)
        command = Command(self.options, arguments, self.config, loader, free_keys, self.base)
        kept = None if place.is_new else kept_by(place.folder, command)
        taken = take_over(command) if kept is None else kept
        self.earlier = taken.to_json() if kept is None else {}
        self.options, self.config = taken.applied(command)
        if taken.lines and (place.is_new or self.options.plan):
            log.info("as in %s: %s", command.spec["study"], " ".join(taken.lines))
        return self._plan([*taken.lines, *arguments])

    def _check(self, plan: Plan, place: Place) -> None:
        """What can be refused before anything is written."""
        if place.is_new:
            # A study that goes on was checked at its first start, with the same sources.
            composer = Composer(self.context.config_loader, self.config)
            check_plan(plan, composer, self.task, lookup_in(self.config))
        # Optuna is loaded from here on.
        from resnet_sweep.sweep.pruners import check_pruner
        from resnet_sweep.sweep.samplers import check_sampler
        from resnet_sweep.sweep.slots import check_workers

        num_objectives = len(self.options.directions)
        refuse(
            check_sampler(self.options.sampler, num_objectives)
            + check_pruner(self.options.pruner, num_objectives)
            + check_workers(self.options, self.config, plan.num_tickets, self.num_slots)
            + self._repeat_faults()
        )

    def _repeat_faults(self) -> list[Any]:
        from resnet_sweep.faults import Fault

        if self.options.repeats == 1:
            return []
        key = self.options.seed_key
        faults = []
        seed = OmegaConf.select(self.config, key, throw_on_missing=False)
        if isinstance(seed, bool) or not isinstance(seed, int):
            rule = "names no whole number of the configuration, and repeats count it up"
            faults.append(Fault("hydra.sweeper.seed_key", key, rule))
        if len(self.options.directions) > 1:
            rule = "needs one objective, of which it takes the mean"
            faults.append(Fault("hydra.sweeper.repeats", self.options.repeats, rule))
        return faults

    def _open(self, plan: Plan, place: Place, stop: StopFlag) -> Sweep:
        """Starts the study, or goes on with it."""
        folder = place.folder
        loader = self.context.config_loader
        changed = [] if place.is_new else changed_sources(loader, folder)
        freeze(loader, folder, is_new=place.is_new)
        frozen = frozen_loader(loader, folder)
        options = self._concrete(place)
        master = self._master(frozen, folder)
        identity = study_identity(options, plan, master, self.task.free_keys)
        study = self._study(options, plan, place, identity)
        session = Session.begin(folder, workers_outlive=workers_outlive(self.config))
        # Last: a folder that has it, holds a study that has begun.
        if not holds_study(folder.path):
            # It is not there yet, or damaged.
            self._write_multirun(options, folder, master)
        self._say_where(place, study, changed, session)
        return Sweep(
            options=options,
            plan=plan,
            place=place,
            session=session,
            context=dataclasses.replace(self.context, config_loader=frozen),
            function=self.function,
            master=master,
            study=study,
            seed=int(study.user_attrs["seed"]),
            num_slots=self.num_slots,
            stop=stop,
        )

    def _concrete(self, place: Place) -> Options:
        from resnet_sweep.study.storage import absolute_url

        url = self.options.storage
        return dataclasses.replace(
            self.options,
            storage=None if url is None else absolute_url(url),
            study_name=self.options.study_name or place.folder.path.name,
        )

    def _master(self, loader: ConfigLoader, folder: StudyFolder) -> DictConfig:
        """The sweep's configuration from the frozen sources, with the study's folder in it."""
        typed = typed_for_hydra(self.config)
        own = [line for line in typed if not line.startswith("hydra.sweep.dir=")]
        own.append(f"hydra.sweep.dir={quoted(str(folder.path))}")
        return recomposed(self.config, loader, own)

    def _study(
        self, options: Options, plan: Plan, place: Place, identity: dict[str, Any]
    ) -> optuna.Study:
        """The study in its storage, which agrees with this sweep."""
        import optuna

        from resnet_sweep.study.attributes import refuse_edited
        from resnet_sweep.study.storage import describe, open_storage, repair
        from resnet_sweep.sweep.samplers import choose_seed

        # Its messages would stand between ours.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = open_storage(options.storage, place.folder)
        repair(storage)
        self._refuse_vanished(optuna.get_all_study_names(storage), options, place)
        study = optuna.create_study(
            study_name=options.study_name,
            storage=storage,
            directions=[optuna.study.StudyDirection[one.upper()] for one in options.directions],
            load_if_exists=True,
        )
        refuse_edited(study, describe(options.storage, place.folder))
        attrs = study.user_attrs
        self._refuse_other(study, attrs, place, identity)
        explicit = [dict(values) for values in plan.planned]
        wanted = {
            "folder": str(place.folder.path),
            "identity": identity,
            "space": plan.space.to_json(),
            "plan": {"tickets": explicit, "n_trials": plan.num_tickets},
            "retry": dict(options.retry),
            "program": started_as(),
            "seed": attrs.get("seed", choose_seed(options.sampler)),
        }
        if self.earlier:
            wanted["earlier"] = self.earlier
        if attrs.get("used_up"):
            # With other rules for duplicates there may be more to do.
            wanted["used_up"] = False
        for key, value in wanted.items():
            if attrs.get(key) != value:
                study.set_user_attr(key, value)
        return study

    def _refuse_vanished(self, names: list[str], options: Options, place: Place) -> None:
        """A new study would begin among the trials of the one that is gone."""
        from resnet_sweep.faults import Fault
        from resnet_sweep.study.storage import describe, is_in_memory

        if place.is_new or is_in_memory(options.storage) or options.study_name in names:
            return
        shown = describe(options.storage, place.folder)
        rule = f"has lost the study {options.study_name}, whose trials are in {place.folder.path}"
        fix = "put the storage back as it was, or choose another folder or name"
        raise ConfigError([Fault("hydra.sweeper.storage", shown, rule, fix=fix)])

    def _refuse_other(
        self, study: optuna.Study, attrs: dict[str, Any], place: Place, identity: dict[str, Any]
    ) -> None:
        from resnet_sweep.faults import Fault

        name = study.study_name
        home = attrs.get("folder")
        moved = home is not None and Path(home) != place.folder.path
        if moved and place.is_new:
            rule = f"is a study of this storage that lives in {home}"
            fix = f"choose another name, or type hydra.sweep.dir={home}"
            raise ConfigError([Fault("hydra.sweeper.study_name", name, rule, fix=fix)])
        # A study that something else has made says of itself no more than its directions.
        directions = [one.name.lower() for one in study.directions]
        refuse(differences(attrs.get("identity", {**identity, "directions": directions}), identity))

    def _write_multirun(self, options: Options, folder: StudyFolder, master: DictConfig) -> None:
        config = master.copy()
        with read_write(config), open_dict(config):
            config.hydra.sweeper.storage = options.storage
            config.hydra.sweeper.study_name = options.study_name
            config.hydra.sweep.dir = str(folder.path)
        with replacing(folder.multirun_yaml) as path:
            OmegaConf.save(config, path)

    def _say_where(
        self, place: Place, study: optuna.Study, changed: list[str], session: Session
    ) -> None:
        from resnet_sweep.study.storage import describe

        shown = shown_path(place.folder.path, self.base)
        if place.is_new:
            log.info("study %s in %s", study.study_name, shown)
            log.debug("storage: %s", describe(self.options.storage, place.folder))
            return
        if session.has_company():
            log.info("works together with another sweep on the study in %s", shown)
        else:
            log.info("goes on with the study in %s", shown)
        if changed:
            log.warning(
                "changed since the study was started, and not used by it: %s", ", ".join(changed)
            )


def _kept_storage(options: Options, config: DictConfig) -> str | None:
    from resnet_sweep.study.storages.secrets import kept_url

    written: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
    return kept_url(written["storage"], options.storage)


def refuse(faults: Sequence[Any]) -> None:
    """Raises all faults at once, if there are any."""
    if faults:
        raise ConfigError(faults)


def shown_path(path: Path, base: Path) -> str:
    """A path as seen from where the user is, if it is below."""
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
