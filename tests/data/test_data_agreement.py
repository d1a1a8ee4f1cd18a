"""Trials of a study agree on their images."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from resnet_sweep.data import open_data
from resnet_sweep.data.agreement import ChangedDataError, check_same
from resnet_sweep.data.config import DigitsConfig
from resnet_sweep.training.failures import failure_kind


def check(config, kept, fixed=("data.root",)):
    check_same(config, open_data(config), kept.agree, fixed)


class Kept(dict):
    """What a study keeps: the first value of each key."""

    def agree(self, key, value):
        return self.get(key) if value is None else self.setdefault(key, value)


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def config(make_config, kept):
    """A folder that a first trial has had."""
    config = make_config("image_folder")
    check(config, kept)
    return config


def test_the_same_images_elsewhere_are_the_same(config, kept, tmp_path):
    Path(config.root).rename(tmp_path / "moved")
    config.root = str(tmp_path / "moved")
    for path in Path(config.root).rglob("*.png"):
        os.utime(path, ns=(1, 1))
    config.on_corrupt, config.augment.horizontal_flip = "skip", True
    check(config, kept)
    assert len(kept) == 2


def test_other_settings_are_agreed_on_for_themselves(config, kept):
    for name, value in (("num_val", 2), ("image_size", 8), ("split_seed", 1), ("channels", 1)):
        setattr(config, name, value)
        check(config, kept)
    assert len(kept) == 6


def test_settings_that_come_after_a_change_are_refused_and_taken_when_all_is_back(config, kept):
    image = Path(config.root) / "a" / "deep" / "0.png"
    whole = image.read_bytes()
    Image.new("RGB", (20, 16)).save(image)
    config.image_size = 8
    for _ in range(2):
        with pytest.raises(ChangedDataError, match="removed, renamed or replaced since; bring"):
            check(config, kept)
    image.write_bytes(whole)
    check(config, kept)
    config.num_val = 2
    check(config, kept)


def test_an_unused_file_more_changes_nothing_for_settings_that_were_agreed_on(config, kept):
    config.num_train, config.num_val = 4, 2
    check(config, kept)
    names = set(open_data(config).train.names) | set(open_data(config).val.names)
    unused = next(
        path
        for path in sorted(Path(config.root).rglob("*.png"))
        if path.relative_to(config.root).as_posix() not in names
    )
    unused.unlink()
    check(config, kept)


def test_folders_that_a_study_sweeps_are_agreed_on_one_by_one(config, kept, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(config.root, other)
    Image.new("RGB", (20, 16)).save(other / "a" / "deep" / "0.png")
    first = config.root
    for root in (first, str(other), first, str(other)):
        config.root = root
        check(config, kept, fixed=())
    Image.new("RGB", (20, 16), "red").save(other / "a" / "deep" / "0.png")
    with pytest.raises(ChangedDataError, match="other contents"):
        check(config, kept, fixed=())


def test_changes_are_refused_and_told(config, kept):
    folder = Path(config.root) / "a" / "deep"
    whole = (folder / "0.png").read_bytes()
    Image.new("RGB", (20, 16)).save(folder / "0.png")
    with pytest.raises(ChangedDataError, match="files of the same names have other contents") as e:
        check(config, kept)
    assert failure_kind(e.value) == "data_changed"
    assert str(e.value).startswith(f"data.root={config.root}: these are not the images of the st")
    assert "bring the old images back and give the same command again, or start" in str(e.value)
    (folder / "0.png").write_bytes(whole)
    (folder / "0.png").rename(folder / "new.png")
    with pytest.raises(ChangedDataError, match="files were added, removed or renamed; they hash"):
        check(config, kept)
    (folder / "new.png").unlink()
    with pytest.raises(ChangedDataError, match="trial: 3 validation images, not 4; they hash"):
        check(config, kept)
    (folder / "0.png").write_bytes(whole)
    check(config, kept)


def test_images_without_a_folder_are_named_by_their_source(config):
    data, config = open_data(config), DigitsConfig()
    with pytest.raises(ChangedDataError, match=r"^data=digits: these are not the images"):
        check_same(config, data, lambda key, value: value and "others")
