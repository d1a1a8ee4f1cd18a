"""The journal file: torn ends, damage, other programs' records, a disk that is full."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from small_disks import fill, small_disk
from study_workers import STUDY

from resnet_sweep.faults import StorageError
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.storage import open_storage, repair, tell_torn_end
from resnet_sweep.study.storages.patience import WAIT_VARIABLE


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WAIT_VARIABLE, "0")


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "study")


def _create(folder: StudyFolder) -> BaseStorage:
    storage = open_storage(None, folder)
    optuna.create_study(study_name=STUDY, storage=storage, direction="maximize")
    return storage


def _torn(folder: StudyFolder) -> Path:
    return folder.journal.with_name("study.journal.torn")


def _records(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _attrs(folder: StudyFolder) -> dict[str, object]:
    study = optuna.load_study(study_name=STUDY, storage=open_storage(None, folder))
    return study.user_attrs


@pytest.fixture
def written(folder: StudyFolder) -> list[bytes]:
    """The records of a journal whose last two set the attributes a and b."""
    study = optuna.load_study(study_name=STUDY, storage=_create(folder))
    study.set_user_attr("a", 1)
    study.set_user_attr("b", "é")
    return _records(folder.journal)


def _assert_tail_is_cut(folder: StudyFolder, good: list[bytes], tail: bytes) -> None:
    _torn(folder).unlink(missing_ok=True)
    folder.journal.write_bytes(b"".join(good) + tail)
    storage = open_storage(None, folder)
    study = optuna.load_study(study_name=STUDY, storage=storage)
    assert study.user_attrs == {"a": 1}
    assert folder.journal.read_bytes() == b"".join(good) + tail
    # By a writer that has already read the torn file.
    study.set_user_attr("c", 3)
    assert _records(folder.journal)[:-1] == good
    assert json.loads(_records(folder.journal)[-1])["user_attr"] == {"c": 3}
    assert study.user_attrs == _attrs(folder) == {"a": 1, "c": 3}
    if tail:
        assert _torn(folder).read_bytes().partition(b"\n")[2] == tail + b"\n"


def test_a_record_torn_at_any_byte_is_as_if_never_written(
    folder: StudyFolder, written: list[bytes]
) -> None:
    *good, last = written
    for num_bytes in range(len(last)):
        _assert_tail_is_cut(folder, good, last[:num_bytes])


@pytest.mark.parametrize(
    "tail",
    [b"\0" * 100, b"\0\0\n", b"\n", b"\n\n\n", b"\xff\xfe\n{\n", b"12\n", b"{" * 200_000],
    ids=["zeros", "zeros_line", "empty_line", "empty_lines", "not_utf8", "no_record", "long"],
)
def test_whatever_is_not_a_record_is_cut_off(
    folder: StudyFolder, written: list[bytes], tail: bytes
) -> None:
    _assert_tail_is_cut(folder, written[:-1], tail)


def test_a_storage_that_is_open_reads_past_a_tail_that_was_cut(
    folder: StudyFolder, written: list[bytes]
) -> None:
    *good, last = written
    folder.journal.write_bytes(b"".join(good) + last[:20])
    reader = optuna.load_study(study_name=STUDY, storage=open_storage(None, folder))
    assert reader.user_attrs == {"a": 1}
    writer = optuna.load_study(study_name=STUDY, storage=open_storage(None, folder))
    writer.set_user_attr("c", "x" * 100_000)
    assert reader.user_attrs == {"a": 1, "c": "x" * 100_000}


def test_damage_before_the_end_is_refused(folder: StudyFolder, written: list[bytes]) -> None:
    folder.journal.write_bytes(b"".join([*written[:-1], b'{"op_{"op_code":1}\n', written[-1]]))
    at = len(b"".join(written[:-1]))
    with pytest.raises(StorageError, match=f"line at byte {at} is not a record.*remove that line"):
        open_storage(None, folder)


def test_the_journal_is_optunas_own_format(folder: StudyFolder, written: list[bytes]) -> None:
    theirs = JournalStorage(JournalFileBackend(str(folder.journal)))
    optuna.load_study(study_name=STUDY, storage=theirs).set_user_attr("c", 3)
    assert _attrs(folder) == {"a": 1, "b": "é", "c": 3}


def test_a_storage_goes_on_after_a_record_that_is_refused(folder: StudyFolder) -> None:
    storage = _create(folder)
    with pytest.raises(optuna.exceptions.DuplicatedStudyError):
        optuna.create_study(study_name=STUDY, storage=storage)
    study = optuna.load_study(study_name=STUDY, storage=storage)
    study.set_user_attr("a", 1)
    assert study.user_attrs == {"a": 1}


# What is cut, and who says so


def test_what_is_cut_is_told_and_kept_beside(
    folder: StudyFolder, written: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    *good, last = written
    at = len(b"".join(good))
    for tail in (last[:-1], b"\0" * 7):
        folder.journal.write_bytes(b"".join(good) + tail)
        caplog.clear()
        torn = repair(open_storage(None, folder))
        assert torn is not None
        assert (torn.path, torn.start, torn.num_bytes) == (folder.journal, at, len(tail))
        assert f"{folder.journal}: the last {len(tail)} bytes, from byte {at} on" in caplog.text
        assert f"kept in {_torn(folder)}" in caplog.text
        assert folder.journal.read_bytes() == b"".join(good)
    kept = _torn(folder).read_bytes()
    assert last[:-1] + b"\n#" in kept
    assert kept.endswith(b"\0" * 7 + b"\n")


def test_a_whole_journal_is_not_repaired(folder: StudyFolder, written: list[bytes]) -> None:
    assert repair(open_storage(None, folder)) is None
    assert _records(folder.journal) == written
    assert not _torn(folder).exists()


def test_a_reader_changes_nothing_and_says_what_it_leaves_out(
    folder: StudyFolder, written: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    folder.journal.write_bytes(b"".join(written) + b'{"op')
    tell_torn_end(open_storage(None, folder, creates=False))
    assert f"the last 4 bytes, from byte {len(b''.join(written))} on" in caplog.text
    assert "left out here" in caplog.text
    assert os.listdir(folder.path) == ["study.journal"]
    caplog.clear()
    # Somebody is just writing the rest of it.
    with FileLock(folder.journal):
        tell_torn_end(open_storage(None, folder, creates=False))
    assert not caplog.records


def test_what_cannot_be_kept_is_not_cut(folder: StudyFolder, written: list[bytes]) -> None:
    folder.journal.write_bytes(b"".join(written) + b'{"op')
    before = folder.journal.read_bytes()
    _torn(folder).mkdir()
    with pytest.raises(StorageError, match="cannot be used: Is a directory"):
        repair(open_storage(None, folder))
    assert folder.journal.read_bytes() == before


# A journal that changes under those who use it


def test_a_journal_that_is_gone_is_not_made_anew(folder: StudyFolder, written: list[bytes]) -> None:
    study = optuna.load_study(study_name=STUDY, storage=open_storage(None, folder))
    content = folder.journal.read_bytes()
    folder.journal.unlink()
    for _ in range(2):
        with pytest.raises(StorageError, match=r"study\.journal: is gone.*put it back"):
            study.ask()
    assert not folder.journal.exists()
    folder.journal.write_bytes(content)
    assert study.ask().number == 0


@pytest.mark.parametrize("num_left", [0, 2])
def test_a_journal_that_is_cut_short_or_replaced_is_noticed(
    folder: StudyFolder, written: list[bytes], num_left: int
) -> None:
    study = optuna.load_study(study_name=STUDY, storage=open_storage(None, folder))
    assert study.user_attrs["a"] == 1
    folder.journal.write_bytes(b"".join(written[:num_left]))
    with pytest.raises(StorageError, match="was cut short, replaced or changed before byte"):
        study.set_user_attr("c", 3)
    other = b"".join(written).replace(b'"a":1', b'"a":2') + b"".join(written[-1:])
    folder.journal.write_bytes(other.replace(b'"b"', b'"B"'))
    with pytest.raises(StorageError, match="was cut short, replaced or changed"):
        study.set_user_attr("c", 3)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"op_code": 77}, r"of a kind \(77\) that Optuna .* not know: a newer.*pip install -U"),
        ({"op_code": 4, "study_id": 0}, "not one of Optuna's"),
        ({"op_code": 2, "study_id": 0, "user_attr": 5}, "not one of Optuna's"),
        ({"op_code": "4"}, "not one of Optuna's"),
        ({}, "not one of Optuna's"),
    ],
)
def test_records_that_optuna_cannot_take_in_are_told(
    folder: StudyFolder, written: list[bytes], line: dict[str, object], said: str
) -> None:
    open_before = open_storage(None, folder)
    at = len(b"".join(written))
    text = json.dumps({"worker_id": "somebody", **line}) + "\n"
    folder.journal.write_bytes(b"".join(written) + text.encode() + written[1])
    for refused in (lambda: open_storage(None, folder), lambda: open_before.get_all_studies()):
        with pytest.raises(StorageError, match=f"record at byte {at} is .*{said}"):
            refused()


# A disk that is full


def test_a_record_for_which_there_is_no_room_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        folder = StudyFolder(disk / "study")
        study = optuna.load_study(study_name=STUDY, storage=_create(folder))
        study.set_user_attr("a", 1)
        before = folder.journal.read_bytes()
        filler = fill(disk, num_left=1)
        with pytest.raises(StorageError, match=r"journal: cannot be written: the disk is full"):
            # A part of it has room.
            study.set_user_attr("b", "x" * 20_000)
        assert folder.journal.read_bytes() == before
        filler.unlink()
        study.set_user_attr("b", 2)
        assert _attrs(folder) == {"a": 1, "b": 2}
