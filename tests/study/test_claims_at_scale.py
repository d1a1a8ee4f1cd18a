"""More processes than cores on one study: 64 that claim, 32 that come to an empty storage."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_workers import STUDY, in_processes, open_and_create

from benchmarks.claiming import Case, run_ours
from benchmarks.claims import evaluate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    url = None
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/study.db"
    if request.param == "postgresql":
        # With the hundred connections that a server takes when it is told nothing.
        url = request.getfixturevalue("empty_postgresql_url")
    return Case(request.param, url, tmp_path, num_workers=64, num_tickets=96, limit_s=300)


def test_sixty_four_processes_claim_each_ticket_once(case: Case) -> None:
    found = evaluate("ours", case, run_ours(case))
    assert found.is_exact, found


def test_thirty_two_make_the_same_storage_at_once(case: Case) -> None:
    seen = in_processes(32, open_and_create, case.url, case.folder)
    assert seen == [[STUDY]] * 32
