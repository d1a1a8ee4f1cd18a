"""Processes that work on one study, and a real PostgreSQL server for the tests that need one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ROOT
from postgresql_servers import Server, running_server


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    # The process that all workers are forked from imports study_workers, or each of them would.
    paths = (Path(__file__).parent, ROOT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """A server on loopback that ends with the tests."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: Server) -> str:
    """URL of an empty database that all tests of the session share."""
    return postgresql_server.url(postgresql_server.new_database())


@pytest.fixture
def empty_postgresql_url(postgresql_server: Server) -> str:
    """URL of an empty database of the test's own."""
    return postgresql_server.url(postgresql_server.new_database())
