"""Studies that are there already: where they live, and whether there is more to do."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from resnet_sweep.faults import ConfigError
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.sweep.config import Options

log = logging.getLogger(__name__)


def home_of(options: Options) -> Path | None:
    """Where the study lives that an earlier command has begun under this name in this storage.

    Args:
        options: The sweeper's settings.
    """
    if options.storage is None or options.study_name is None:
        return None
    from optuna import load_study

    from resnet_sweep.study.storage import absolute_url, close_storage, open_storage

    file = absolute_url(options.storage).partition(":///")[2].partition("?")[0]
    if options.storage.startswith(("sqlite", "journal")) and not Path(file).is_file():
        # Nothing is written before the sweep is known to be right.
        return None
    with tempfile.TemporaryDirectory() as nowhere:
        storage = open_storage(options.storage, StudyFolder(Path(nowhere)))
        try:
            home = load_study(study_name=options.study_name, storage=storage).user_attrs
        except KeyError:
            return None
        finally:
            close_storage(storage)
    # Of a study that something else has made it may be anything.
    return Path(home["folder"]) if isinstance(home.get("folder"), str) else None


def is_unfinished(folder: StudyFolder, num_tickets: int | None) -> bool:
    """Whether a study has fewer ended tickets than are wanted, or its tables are missing.

    Args:
        folder: The study's.
        num_tickets: How many are wanted; None for as many as the study has.
    """
    from resnet_sweep.study.attributes import attribute_faults
    from resnet_sweep.study.reading import open_study
    from resnet_sweep.study.storage import close_storage
    from resnet_sweep.study.tickets import BURNT, NUM_SHOWN, Ledger

    try:
        study = open_study(folder.path)
    except ConfigError as error:
        log.debug("%s", error)
        return False
    attrs, trials = study.user_attrs, study.get_trials(deepcopy=False)
    close_storage(study._storage)
    if faults := attribute_faults(str(folder.path), attrs, trials):
        log.debug("%s", faults[0])
        return False
    ledger = Ledger(attrs.get("retry", {}))
    ledger.burnt = frozenset(attrs.get(BURNT, ()))
    ledger.update(trials)
    wanted = attrs["plan"]["n_trials"] if num_tickets is None else num_tickets
    if ledger.num_done() < wanted and not attrs.get("used_up"):
        return True
    # A sweep that comes to its end notes what its tables show; files' times would not do, since
    # clocks are set back.
    shown = attrs.get(NUM_SHOWN) if folder.optimization_results_yaml.exists() else None
    return bool(shown != ledger.num_ended())
