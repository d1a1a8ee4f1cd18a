"""Tables of all studies that a storage holds."""

from pathlib import Path

import pytest
from studies import StudyOnDisk

from resnet_sweep.report.results import load_history, load_results
from resnet_sweep.report.sources import open_sources


def make(path: Path, value: float, name: str, storage: str) -> Path:
    study = StudyOnDisk(path, [{"x": 1}], name=name, storage=storage)
    study.report(study.begin(0, {"x": 1}), step1=value)
    study.end(0, values=value)
    study.close()
    return path


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql"])
def test_any_storage_can_be_named(tmp_path, kind, request):
    if kind == "postgresql":
        url = request.getfixturevalue("empty_postgresql_url")
    else:
        url = f"{kind}:///{tmp_path}/there"
    make(tmp_path / "sweep", 0.25, "a", url)
    make(tmp_path / "other", 0.5, "b", url)
    table = load_results(url)
    assert sorted(table["study"]) == ["a", "b"]
    assert sorted(table["objective"]) == [0.25, 0.5]
    assert sorted(load_history(url)["reported"]) == [0.25, 0.5]
    assert load_results(tmp_path / "sweep")["objective"].tolist() == [0.25]
    assert "secret" not in " ".join(source.origin for source in open_sources(url))
