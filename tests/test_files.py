import errno

import pytest

from resnet_sweep.files import remove_left, replacing


def test_replacing_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_shows_the_new_file_only_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_an_error_of_a_failed_write_names_the_file(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"), replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path}/none/file'"):
        replacing(tmp_path / "none" / "file").__enter__()


def test_what_a_killed_writer_has_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    (tmp_path / "below").mkdir()
    left = [tmp_path / ".file.1-abcd.tmp", tmp_path / "below" / ".file.2-abcd.tmp"]
    for path in left:
        path.write_text("half")
    with replacing(tmp_path / "below" / "file") as temporary:
        temporary.write_text("half")
        remove_left(tmp_path)
        assert [path.exists() for path in left] == [False, True]
        remove_left(tmp_path, deep=True)
        assert not left[1].exists()
        assert temporary.read_text() == "half"
