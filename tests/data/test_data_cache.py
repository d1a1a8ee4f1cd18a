"""The decoded cache: made once, shared, mended when torn."""

import json
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_sweep.data import build, cache, open_data
from resnet_sweep.data.checksum import checksum_of
from resnet_sweep.data.config import CatsDogsConfig
from resnet_sweep.faults import DataError


@pytest.fixture
def config(make_config):
    return make_config("cats_dogs_flat")


@pytest.fixture
def decoded(monkeypatch):
    """Sizes of the images that were decoded."""
    calls = []
    original = build.decode

    def counting(image, **options):
        calls.append(image.size)
        return original(image, **options)

    monkeypatch.setattr(build, "decode", counting)
    return calls


def only_cache(config):
    folders = [path for path in Path(config.cache_dir).iterdir() if path.is_dir()]
    assert len(folders) == 1, folders
    return folders[0]


def test_second_open_decodes_nothing(config, decoded, caplog):
    caplog.set_level(logging.INFO)
    first = open_data(config)
    assert len(decoded) == 20
    assert f"decoding 20 images into {config.cache_dir}/cats_dogs-{first.key}" in caplog.text
    assert "took" in caplog.text
    second = open_data(config)
    assert len(decoded) == 20
    assert (second.train.images == first.train.images).all()
    assert second.train.names == first.train.names
    assert second.key == first.key
    assert isinstance(second.train.images, np.memmap)
    assert {path.name for path in only_cache(config).iterdir()} == {
        "images.npy",
        "labels.npy",
        "meta.json",
    }


def test_writing_to_an_image_does_not_reach_the_cache(config):
    before = open_data(config)
    value = int(before.train.images[0, 0, 0, 0])
    before.train.images[0, 0, 0, 0] = value ^ 0xFF
    assert open_data(config).train.images[0, 0, 0, 0] == value


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("image_size", 8),
        ("channels", 1),
        ("resize", "stretch"),
        ("num_train", 4),
        ("num_val", 2),
        ("num_test", 2),
        ("split_seed", 1),
    ],
)
def test_settings_that_matter_have_caches_of_their_own(config, decoded, setting, value):
    key = open_data(config).key
    decoded.clear()
    setattr(config, setting, value)
    assert open_data(config).key != key
    assert decoded


def test_augmentation_and_on_corrupt_share_the_cache(config, decoded):
    open_data(config)
    config.augment.horizontal_flip = True
    config.on_corrupt = "skip"
    open_data(config)
    assert len(decoded) == 20


def test_images_that_hash_to_something_else_are_refused(config, decoded):
    config.content = "another"
    with pytest.raises(DataError, match=r"data.content=another: the images are others: they hash"):
        open_data(config)
    # What was decoded serves whoever asks for it.
    config.content = None
    content = open_data(config).content
    config.content = content
    assert open_data(config).content == content
    assert len(decoded) == 20


def test_a_changed_file_makes_a_new_cache(config, decoded):
    key = open_data(config).key
    path = Path(config.root) / "train" / "cat.0.jpg"
    os.utime(path, ns=(1, 1))
    assert open_data(config).key != key
    path.unlink()
    config.num_train, config.num_val = 8, 4
    open_data(config)


@pytest.mark.parametrize(
    "tear",
    [
        lambda folder: (folder / "meta.json").unlink(),
        lambda folder: (folder / "meta.json").write_text("{"),
        lambda folder: (folder / "meta.json").write_text("[]"),
        lambda folder: (folder / "meta.json").write_text("{}"),
        lambda folder: (folder / "images.npy").unlink(),
        lambda folder: (folder / "labels.npy").write_bytes(b""),
        lambda folder: os.truncate(folder / "images.npy", 5000),
        lambda folder: os.truncate(folder / "images.npy", 0),
        lambda folder: np.save(folder / "images.npy", np.zeros((3, 16, 16, 3), np.uint8)),
        lambda folder: np.save(folder / "labels.npy", np.zeros(3, np.int64)),
        lambda folder: (folder / "meta.json").write_text(
            json.dumps({**json.loads((folder / "meta.json").read_text()), "version": 0})
        ),
        lambda folder: (folder / "meta.json").write_text(
            json.dumps({**json.loads((folder / "meta.json").read_text()), "num_val": 1})
        ),
    ],
)
def test_torn_cache_is_made_again(config, caplog, tear):
    expected = np.array(open_data(config).train.images)
    tear(only_cache(config))
    assert (open_data(config).train.images == expected).all()
    assert "is damaged and will be made again" in caplog.text
    caplog.clear()
    open_data(config)
    assert not caplog.text
    only_cache(config)


def flip(folder, name, place):
    """Flips one bit of a file: at a share of its length."""
    path = folder / name
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "meta.json"])
@pytest.mark.parametrize("place", [0, 0.01, 0.02, 0.3, 0.6, 0.9, 1])
def test_a_bit_that_flips_anywhere_is_noticed(config, caplog, name, place):
    expected = open_data(config)
    pixels, labels = np.array(expected.train.images), np.array(expected.train.labels)
    flip(only_cache(config), name, place)
    data = open_data(config)
    assert "is damaged and will be made again" in caplog.text
    assert (data.train.images == pixels).all()
    assert (data.train.labels == labels).all()
    assert (data.content, data.train.names) == (expected.content, expected.train.names)


def test_pages_that_change_places_are_noticed(tmp_path):
    path = tmp_path / "file"
    generator = np.random.default_rng(0)
    pages = [generator.bytes(4096) for _ in range(600)]
    path.write_bytes(b"".join(pages) + b"the end")
    before = checksum_of({"a": 1}, [path])
    assert checksum_of({"a": 1}, [path]) == before
    others = [checksum_of({"a": 2}, [path])]
    for changed in (
        [pages[1], pages[0], *pages[2:]],
        [*pages[:-1], bytes(4096)],
        pages[:-1],
        [*pages, bytes(4096)],
    ):
        path.write_bytes(b"".join(changed) + b"the end")
        others.append(checksum_of({"a": 1}, [path]))
    path.write_bytes(b"".join(pages) + b"the end\0")
    others.append(checksum_of({"a": 1}, [path]))
    assert len({before, *others}) == 7


class Pickled:
    def __reduce__(self):
        return os.mkdir, ("pickle-was-loaded",)


def write_archive(path):
    with path.open("wb") as file:
        np.savez(file, images=np.zeros(3))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_pickles_and_archives_are_never_loaded(config, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    open_data(config)
    for write in (
        lambda path: np.save(path, np.array([Pickled()] * 20, dtype=object)),
        lambda path: path.write_bytes(pickle.dumps(Pickled())),
        write_archive,
    ):
        folder = only_cache(config)
        write(folder / name)
        # As if it were a stranger who knows how.
        meta = json.loads((folder / "meta.json").read_text())
        del meta["checksum"]
        meta["checksum"] = checksum_of(meta, build.array_files(folder))
        (folder / "meta.json").write_text(json.dumps(meta))
        open_data(config)
        assert not (tmp_path / "pickle-was-loaded").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, "null", '{"version": 2}', "\xff", "NaN"])
def test_meta_data_that_are_something_else(config, text):
    open_data(config)
    (only_cache(config) / "meta.json").write_text(text, encoding="latin-1")
    assert len(open_data(config).train) == 16


def test_a_folder_that_changes_while_it_is_decoded_is_refused(config, monkeypatch):
    original = build.decode

    def changing(image, **options):
        os.utime(Path(config.root) / "train" / "cat.3.jpg", ns=(1, 1))
        return original(image, **options)

    monkeypatch.setattr(build, "decode", changing)
    with pytest.raises(DataError, match="changed while its images were decoded; start again when"):
        open_data(config)
    assert not [path for path in Path(config.cache_dir).iterdir() if path.is_dir()]


def test_what_killed_builders_left_is_removed(config):
    folder = Path(config.cache_dir) / f"cats_dogs-{open_data(config).key}"
    stale = cache._temporary(folder)
    stale.mkdir()
    (stale / "round-0.npy").write_bytes(b"half")
    (folder / "meta.json").unlink()
    open_data(config)
    assert not stale.exists()


def test_a_failed_build_leaves_nothing(config, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "_mean_and_std", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_data(config)
    assert not [path for path in Path(config.cache_dir).iterdir() if path.is_dir()]


def test_without_locks_the_loser_uses_the_winners(config, monkeypatch, decoded):
    import fcntl

    def refuse(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    original = cache.build_cache

    def overtaken(*args):
        monkeypatch.setattr(cache, "build_cache", original)
        open_data(config)
        original(*args)

    monkeypatch.setattr(cache, "build_cache", overtaken)
    open_data(config)
    assert len(decoded) == 40
    only_cache(config)


PROGRAM = """
import logging, sys, hashlib
from resnet_sweep.data import open_data
from resnet_sweep.data.config import *
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
sys.stdin.readline()
data = open_data({config!r})
print("HASH", hashlib.sha256(data.train.images.tobytes() + data.val.images.tobytes()).hexdigest())
"""


def test_eight_processes_at_once_decode_once(config):
    program = PROGRAM.format(config=config)
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, outputs
    text = "".join(out for out, _ in outputs)
    assert text.count("decoding 20 images") == 1
    assert len({line for line in text.splitlines() if line.startswith("HASH")}) == 1


class TestBroken:
    def spoil(self, config, *names):
        for name in names:
            (Path(config.root) / "train" / name).write_bytes(b"no image")

    def test_error_names_every_broken_image(self, config):
        self.spoil(config, "cat.1.jpg", "dog.2.jpg", "dog.3.jpg")
        with pytest.raises(DataError) as error:
            open_data(config)
        assert len(error.value.faults) == 3
        assert str(error.value).count("is broken: not an image that Pillow knows") == 3
        assert str(error.value).count("data.on_corrupt=skip") == 1
        assert f"{config.root}/train/cat.1.jpg" in str(error.value)
        assert not [path for path in Path(config.cache_dir).iterdir() if path.is_dir()]

    def test_skip_keeps_the_counts(self, config, caplog, decoded):
        config.num_train, config.num_val, config.num_test = 10, 4, 2
        expected = open_data(config)
        cats, dogs = (
            [name for split in splits for name in split.names if name.startswith(kind)]
            for kind, splits in (
                ("cat", (expected.test, expected.train)),
                ("dog", (expected.val, expected.train)),
            )
        )
        names = [*cats[:2], *dogs[:1], *dogs[-1:]]
        self.spoil(config, *(f"{name}.jpg" for name in names))
        config.on_corrupt = "skip"
        decoded.clear()
        data = open_data(config)
        assert (len(data.train), len(data.val), len(data.test)) == (10, 4, 2)
        assert np.bincount(data.train.labels).tolist() == [5, 5]
        assert data.num_skipped == 4
        assert len(decoded) == 16, "what a former round decoded is copied"
        for name in names:
            assert f"left out {config.root}/train/{name}.jpg: not an image" in caplog.text
        found = {*data.train.names, *data.val.names, *data.test.names}
        assert not found & set(names)
        self.check_pixels(expected, data)

    @staticmethod
    def check_pixels(expected, data):
        pixels = {
            name: image
            for split in (expected.train, expected.val, expected.test)
            for name, image in zip(split.names, split.images, strict=True)
        }
        for split in (data.train, data.val, data.test):
            for name, image in zip(split.names, split.images, strict=True):
                assert (pixels.get(name, image) == image).all()

    def test_skip_of_all_that_are_left_gives_fewer(self, config):
        self.spoil(config, "cat.0.jpg", "dog.5.jpg")
        config.on_corrupt = "skip"
        data = open_data(config)
        assert len(data.train) + len(data.val) == 18
        assert len(data.val) == 4

    def test_skip_with_a_count_that_cannot_be_kept(self, config):
        self.spoil(config, "cat.0.jpg", "cat.1.jpg")
        config.on_corrupt, config.num_train = "skip", 16
        with pytest.raises(DataError, match=r"cat 8, dog 8, but there are cat 6, dog 8 .*2 broken"):
            open_data(config)

    def test_a_cache_with_skipped_images_is_an_error_for_error(self, config, caplog):
        self.spoil(config, "cat.0.jpg")
        config.on_corrupt = "skip"
        open_data(config)
        caplog.clear()
        assert open_data(config).num_skipped == 1
        assert "1 broken image is left out; " in caplog.text
        config.on_corrupt = "error"
        with pytest.raises(DataError, match=r"cat\.0\.jpg: is broken"):
            open_data(config)


def test_a_cache_folder_that_cannot_be_made(config, tmp_path):
    (tmp_path / "file").write_text("")
    config.cache_dir = str(tmp_path / "file" / "cache")
    with pytest.raises(DataError, match=r"data\.cache_dir=.*Not a directory.*cache_dir=FOLDER"):
        open_data(config)


def test_a_full_disk_is_told_before_it_kills(config, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"has no room for 0\.00 GB .*: No space left on device"):
        open_data(config)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("used", [0, 52, 60])
def test_a_disk_that_is_full_leaves_no_half_cache(config, small_disk, used):
    config.image_size, config.cache_dir = 16 if used else 64, str(small_disk)
    (small_disk / "used").write_bytes(bytes(used * 1024))
    with pytest.raises(DataError, match=r"data\.cache_dir=.*No space left.*type data\.cache_dir="):
        open_data(config)
    assert {path.name for path in small_disk.iterdir() if path.suffix != ".lock"} == {"used"}


def test_a_cache_that_cannot_be_written_is_used_as_it_is(config, small_disk):
    config.cache_dir = str(small_disk)
    expected = open_data(config).content
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert open_data(config).content == expected
    config.image_size = 8
    with pytest.raises(DataError, match=r"cannot be used .*Read-only file system.*cache_dir=FOL"):
        open_data(config)


def test_one_colour_has_a_deviation_that_divides(make_config, tmp_path):
    from PIL import Image

    config = make_config("image_folder")
    for path in Path(config.root).rglob("*.png"):
        Image.new("RGB", (9, 9), (255, 0, 51)).save(path)
    data = open_data(config)
    np.testing.assert_allclose(data.mean, [1, 0, 0.2])
    assert data.std.tolist() == [1, 1, 1]


def test_a_file_larger_than_memory_can_be_mapped(tmp_path):
    num = 64 * 2**30 // (100 * 100 * 3)
    path = tmp_path / "images.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (num, 100, 100, 3))
    images = cache.map_array(path)
    assert images.shape[0] == num
    assert images[num - 1].max() == 0


def test_the_content_is_the_same_wherever_the_files_lie(tmp_path):
    pixels = np.random.default_rng(0)
    for i in range(20):
        image = Image.fromarray(pixels.integers(0, 256, (40, 40, 3), dtype=np.uint8))
        for place in ("here", "there", "changed"):
            (tmp_path / place).mkdir(exist_ok=True)
            image.save(tmp_path / place / f"{('cat', 'dog')[i % 2]}.{i}.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "changed" / "cat.0.png")
    os.utime(tmp_path / "there" / "cat.0.png", (1, 1))
    here, there, changed = (
        open_data(
            CatsDogsConfig(
                root=str(tmp_path / place),
                image_size=32,
                num_train=10,
                num_val=10,
                cache_dir=str(tmp_path / "cache"),
            )
        )
        for place in ("here", "there", "changed")
    )
    assert here.key != there.key
    assert here.content == there.content
    assert here.content != changed.content
