"""Every source keeps the same contract; every layout gives the same names."""

import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_sweep.data import num_classes_of, open_data
from resnet_sweep.data.config import (
    CatsDogsConfig,
    Cifar10Config,
    ImageFolderConfig,
    OxfordPetsConfig,
)
from resnet_sweep.data.sources import build_source
from resnet_sweep.faults import DataError


def test_samples_are_consistent(any_config):
    source = build_source(any_config)
    samples = source.samples()
    assert {sample.label for sample in samples} == set(range(len(source.classes)))
    assert len({sample.name for sample in samples}) == len(samples)
    assert num_classes_of(any_config) == len(source.classes)
    assert {sample.split for sample in samples} in ({None}, {"train", "val"})


def test_a_second_source_lists_the_same(any_config):
    first, second = build_source(any_config), build_source(any_config)
    assert list(first.samples()) == list(second.samples())
    assert first.fingerprint() == second.fingerprint()


def test_every_image_opens(any_config):
    source = build_source(any_config)
    for index in range(min(len(source.samples()), 30)):
        with source.open(index) as image:
            assert min(image.size) >= 8


def test_opened_data_keeps_the_contract(any_config):
    any_config.num_test = len(build_source(any_config).classes)
    data = open_data(any_config)
    for split in (data.train, data.val, data.test):
        assert split.images.shape == (len(split), 16, 16, 3)
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert set(split.labels) == set(range(len(data.classes)))
    assert data.mean.dtype == data.std.dtype == np.float32
    pixels = data.train.images.reshape(-1, 3) / 255
    np.testing.assert_allclose(data.mean, pixels.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(data.std, pixels.std(axis=0), atol=1e-6)
    assert data.num_skipped == 0


def test_digits_show_their_pixels(make_config):
    config = make_config("digits")
    config.image_size = 8
    config.channels = 1
    data = open_data(config)
    from sklearn.datasets import load_digits

    digits = load_digits()
    row = int(data.train.names[0].removeprefix("digit."))
    assert data.train.labels[0] == digits.target[row]
    assert np.abs(data.train.images[0, ..., 0] - digits.images[row] * 255 / 16).max() <= 0.5
    assert len(data.train) + len(data.val) == 1797


def test_digits_that_were_decoded_need_no_scikit_learn(make_config, monkeypatch):
    config = make_config("digits")
    first = open_data(config)
    # Importing it takes a second, at the start of every run.
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    second = open_data(config)
    assert (second.key, second.content, second.listing) == (first.key, first.content, first.listing)


@pytest.mark.parametrize("name", ["divided_folder", "oxford_pets", "cifar10"])
def test_own_validation_split_is_used_whole(make_config, name):
    config = make_config(name)
    data = open_data(config)
    source = build_source(config)
    own = {sample.name for sample in source.samples() if sample.split == "val"}
    assert set(data.val.names) == own
    assert not own & set(data.train.names)
    config.num_val = 10
    assert set(open_data(config).val.names) <= own


def test_val_root_adds_validation_images(make_config, tmp_path, write):
    config = make_config("image_folder")
    for label in "ab":
        write(tmp_path / "other" / label / "0.png")
    config.val_root = str(tmp_path / "other")
    data = open_data(config)
    assert (len(data.train), len(data.val)) == (20, 2)
    write(tmp_path / "other" / "c" / "0.png")
    with pytest.raises(DataError, match=r"data\.val_root=.*has classes that .* has not: c"):
        open_data(config)


def test_cats_dogs_names_do_not_depend_on_the_layout(make_config, layouts):
    expected = None
    for layout in layouts:
        data = open_data(make_config(layout))
        names = (data.train.names, data.val.names)
        expected = expected or names
        assert names == expected, layout
        assert (data.train.labels == [name[:3] == "dog" for name in data.train.names]).all()


def test_cats_dogs_ignores_what_is_no_labelled_image(make_config, write):
    config = make_config("cats_dogs_flat")
    root = Path(config.root)
    expected = build_source(config).fingerprint()
    write(root / "test1" / "1.jpg")
    write(root / "test" / "cat.99.jpg")
    write(root / "train" / "kitten.jpg")
    (root / "train" / "Thumbs.db").write_bytes(b"x")
    (root / "train" / "._cat.97.jpg").write_bytes(b"x")
    (root / "sampleSubmission.csv").write_text("id,label")
    assert build_source(config).fingerprint() == expected


def test_files_that_differ_in_suffix_only_keep_it(tmp_path, write):
    for name in ("cats/1.jpg", "cats/1.png", "cats/2.jpg", "dogs/1.jpg"):
        write(tmp_path / name)
    names = [sample.name for sample in build_source(CatsDogsConfig(root=str(tmp_path))).samples()]
    assert names == ["cat.1.jpg", "cat.1.png", "cat.2", "dog.1"]


def test_zip_members_that_would_escape_are_not_written(tmp_path, write):
    write(tmp_path / "image.jpg")
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for label in ("cat", "dog"):
            for name in (f"/tmp/../train/{label}.0.jpg", f"../{label}.1.jpg"):
                file.writestr(name, (tmp_path / "image.jpg").read_bytes())
    # Names of ".." count as hidden; whatever is left is read in memory.
    with pytest.raises(DataError, match="holds 0 images"):
        build_source(CatsDogsConfig(root=str(archive)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.zip", "image.jpg"]


def test_a_link_to_a_folder_above_does_not_loop(tmp_path, write):
    write(tmp_path / "a" / "0.png")
    write(tmp_path / "b" / "0.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert len(build_source(ImageFolderConfig(root=str(tmp_path))).samples()) == 2


def test_num_classes_is_none_without_a_folder(tmp_path):
    assert num_classes_of(ImageFolderConfig(root=None)) is None
    assert num_classes_of(ImageFolderConfig(root=str(tmp_path / "none"))) is None
    assert num_classes_of(ImageFolderConfig(root=str(tmp_path))) is None


def test_counting_classes_loads_neither_torch_nor_numpy(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    program = f"""
import sys
from resnet_sweep.data import num_classes_of
from resnet_sweep.data.config import ImageFolderConfig
assert num_classes_of(ImageFolderConfig(root={str(tmp_path)!r})) == 3
print(sorted({{"torch", "numpy", "PIL", "sklearn"}} & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["digits", "cats_dogs_flat", "image_folder", "oxford_pets"])
def test_opening_data_does_not_load_torch(make_config, name):
    program = f"""
import sys
from resnet_sweep.data.config import *
from resnet_sweep.data import open_data
open_data({make_config(name)!r})
print("torch" in sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


class TestErrors:
    def test_missing_root(self, tmp_path):
        for kind in (CatsDogsConfig, ImageFolderConfig):
            with pytest.raises(DataError, match=r"data\.root=null: must be set"):
                build_source(kind())
            with pytest.raises(DataError, match=r"data\.root=\S*none: does not exist"):
                build_source(kind(root=str(tmp_path / "none")))

    def test_no_layout(self, tmp_path, write):
        write(tmp_path / "1.jpg")
        with pytest.raises(DataError, match=r"holds 1 images without a class.*PetImages/Cat"):
            build_source(CatsDogsConfig(root=str(tmp_path)))
        with pytest.raises(DataError, match=r"one folder for each class, .* no folder and 1 im"):
            build_source(ImageFolderConfig(root=str(tmp_path)))

    def test_several_copies(self, tmp_path, write):
        for folder in ("train", "PetImages"):
            write(tmp_path / folder / "cat" / "1.jpg")
            write(tmp_path / folder / "dog" / "1.jpg")
        with pytest.raises(DataError, match=r"several folders; choose one of: \S*PetImages \(2 "):
            build_source(CatsDogsConfig(root=str(tmp_path)))

    def test_zip_in_a_zip(self, tmp_path, make_config):
        inner = Path(make_config("cats_dogs_flat_zip").root)
        with zipfile.ZipFile(tmp_path / "dogs-vs-cats.zip", "w") as file:
            file.write(inner, "train.zip")
            file.writestr("test1.zip", b"")
        with pytest.raises(DataError, match=r"\(train\.zip, test1\.zip\); unzip this outer file"):
            build_source(CatsDogsConfig(root=str(tmp_path / "dogs-vs-cats.zip")))

    def test_several_zips(self, tmp_path, make_config):
        folder = Path(make_config("cats_dogs_flat_zip_in_folder").root)
        config = CatsDogsConfig(root=str(folder))
        (folder / "test1.zip").write_bytes(b"ignored")
        assert len(build_source(config).samples()) == 20
        (folder / "again.zip").write_bytes(b"not ignored")
        with pytest.raises(DataError, match=r"several zip files \(again\.zip, train\.zip\)"):
            build_source(config)

    def test_no_zip(self, tmp_path):
        path = tmp_path / "train.zip"
        path.write_bytes(b"PK but no more")
        with pytest.raises(DataError, match="is neither a folder nor a zip file"):
            build_source(CatsDogsConfig(root=str(path)))

    @pytest.mark.parametrize("kind", [Cifar10Config, OxfordPetsConfig])
    def test_nothing_downloaded(self, kind, tmp_path):
        config = kind(download=False, cache_dir=str(tmp_path))
        with pytest.raises(DataError, match=r"downloads: does not hold.*data\.download=true"):
            open_data(config)

    @pytest.mark.parametrize("kind", ["cifar10", "oxford_pets"])
    def test_download_is_asked_for_and_fails(self, kind, tmp_path, monkeypatch):
        import torchvision.datasets as datasets

        asked = []

        def refuse(url, *args, **kwargs):
            asked.append(url)
            raise OSError("no network here")

        module = {"cifar10": datasets.cifar, "oxford_pets": datasets.oxford_iiit_pet}[kind]
        monkeypatch.setattr(module, "download_and_extract_archive", refuse)
        config = {"cifar10": Cifar10Config, "oxford_pets": OxfordPetsConfig}[kind]()
        config.cache_dir = str(tmp_path)
        with pytest.raises(DataError, match=r"cannot be filled with \w+: no network here"):
            open_data(config)
        assert len(asked) == 1

    @pytest.mark.parametrize(
        "error",
        [
            EOFError("Compressed file ended before the end-of-stream marker was reached"),
            tarfile.ReadError("unexpected end of data"),
            zipfile.BadZipFile("File is not a zip file"),
            zlib.error("Error -3 while decompressing data"),
            RuntimeError("File not found or corrupted."),
        ],
    )
    def test_an_archive_that_was_cut_short(self, error, tmp_path, monkeypatch):
        import torchvision.datasets as datasets

        def cut_short(*args, **kwargs):
            raise error

        monkeypatch.setattr(datasets.cifar, "download_and_extract_archive", cut_short)
        with pytest.raises(DataError, match=f"cannot be filled with cifar10: {error}; .*in part"):
            open_data(Cifar10Config(cache_dir=str(tmp_path)))

    def test_changed_cifar_file(self, make_config):
        config = make_config("cifar10")
        path = Path(config.root) / "cifar-10-batches-py" / "test_batch"
        path.write_bytes(path.read_bytes() + b"x")
        with pytest.raises(DataError, match="does not hold cifar10 complete"):
            open_data(config)

    def test_incomplete_pets(self, make_config):
        config = make_config("oxford_pets")
        base = Path(config.root) / "oxford-iiit-pet"
        (base / "images" / "beagle_3.jpg").unlink()
        with pytest.raises(DataError, match=r"lacks 1 images of its lists.*beagle_3\.jpg"):
            open_data(config)
        with (base / "annotations" / "test.txt").open("a") as file:
            file.write("strange\n")
        with pytest.raises(DataError, match=r"must say name, breed.* line 21: 'strange'"):
            open_data(config)
        (base / "annotations" / "test.txt").write_bytes(b"\xff 1 1 1")
        with pytest.raises(DataError, match=r"test\.txt: cannot be read: 'utf-8' codec can't"):
            open_data(config)


def test_encrypted_or_damaged_members_are_broken_images(make_config):
    config = make_config("cats_dogs_flat_zip")
    path = Path(config.root)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        start = file.getinfo("train/cat.3.jpg").header_offset
    data[start + 200] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"1 fault.*\n.*train/cat\.3\.jpg: is broken: BadZipFile"):
        open_data(config)


def test_images_are_the_files_pixels(tmp_path):
    colours = {"a/0.png": (255, 0, 0), "b/1.png": (0, 255, 0), "a/2.png": (0, 0, 255)}
    colours["b/3.png"] = (9, 8, 7)
    for name, colour in colours.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 9), colour).save(path)
    config = ImageFolderConfig(root=str(tmp_path / "images"), image_size=4, num_val=2)
    config.cache_dir = str(tmp_path / "cache")
    data = open_data(config)
    found = {
        name: tuple(image[0, 0].tolist())
        for split in (data.train, data.val)
        for name, image in zip(split.names, split.images, strict=True)
    }
    assert found == colours
