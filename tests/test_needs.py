"""A skip turns into a failure where CI has promised what the test needs."""

import needs
import pytest


def test_what_is_required_fails_and_what_is_not_is_skipped(monkeypatch):
    monkeypatch.setenv("CI_REQUIRE", "ray, slurm")
    with pytest.raises(pytest.fail.Exception, match="CI_REQUIRE has slurm: no slurmctld"):
        needs.skip_or_fail("slurm", "no slurmctld")
    with pytest.raises(pytest.skip.Exception, match="no server"):
        needs.skip_or_fail("postgres", "no server")
    monkeypatch.delenv("CI_REQUIRE")
    with pytest.raises(pytest.skip.Exception, match="no slurmctld"):
        needs.skip_or_fail("slurm", "no slurmctld")


def test_a_name_that_is_not_known_is_refused(monkeypatch):
    monkeypatch.setenv("CI_REQUIRE", "postgres,rya")
    with pytest.raises(ValueError, match="CI_REQUIRE: not known: rya; known: cc, chromium, "):
        needs.required()
    with pytest.raises(ValueError, match="postgresql is none of"):
        needs.skip_or_fail("postgresql", "no server")
