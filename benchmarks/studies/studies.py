"""All studies of docs/studies, by name."""

from __future__ import annotations

from benchmarks.studies import causes, depth, lr_search, lr_trials, variants

STUDIES = {one.STUDY.name: one.STUDY for one in (lr_trials, causes, lr_search, depth, variants)}
