"""The log of a study's events: a line for each trial that starts or ends."""

from __future__ import annotations

import time

from resnet_sweep.faults import Fault, StorageError
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.storages.patience import trouble_of_file


def log_event(folder: StudyFolder, number: int, worker: str, event: str) -> None:
    """Adds a line to the study's log of events; lines of one write never mix.

    Raises:
        StorageError: It cannot be written, for instance because the disk is full.
    """
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        with folder.events_log.open("a") as stream:
            stream.write(f"{now} {worker} trial {number} {event}\n")
    except OSError as error:
        trouble = trouble_of_file(error)
        fault = Fault("file", folder.events_log, trouble.reason, fix=trouble.fix)
        raise StorageError([fault]) from error


def num_events(folder: StudyFolder, worker: str) -> int:
    """Lines of a worker in the study's log of events."""
    try:
        return folder.events_log.read_text().count(f" {worker} trial ")
    except FileNotFoundError:
        return 0
