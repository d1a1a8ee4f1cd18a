"""Zip files as strangers make them: nothing is written, and memory has a limit."""

import io
import resource
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from resnet_sweep.data import open_data
from resnet_sweep.data.config import CatsDogsConfig
from resnet_sweep.data.sources import _zips, build_source
from resnet_sweep.faults import DataError

CENTRAL, LOCAL = b"PK\1\2", b"PK\3\4"
# Where a member's sizes, flags and method stand in the two headers.
FLAGS = {CENTRAL: 8, LOCAL: 6}
METHOD = {CENTRAL: 10, LOCAL: 8}
SIZE = {CENTRAL: 24, LOCAL: 22}


def image(number=0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 10), (number, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def make(tmp_path):
    """A zip file of three cats and three dogs, and of more: make(more, name=..., files=...)."""

    def zipped(*more, name="train/{}.{}.jpg", method=zipfile.ZIP_DEFLATED):
        path = tmp_path / "images.zip"
        with zipfile.ZipFile(path, "w", method) as file:
            for label in ("cat", "dog"):
                for number in range(3):
                    info = zipfile.ZipInfo("x")
                    # Its constructor turns backslashes into slashes on Windows only.
                    info.filename, info.compress_type = name.format(label, number), method
                    file.writestr(info, image(number))
            for other, content in more:
                file.writestr(other, content)
        return CatsDogsConfig(root=str(path), image_size=8, cache_dir=str(tmp_path / "cache"))

    return zipped


def patched(config, offsets, layout, *values, last=True):
    """Writes values into the headers of the last member, or of all."""
    path = Path(config.root)
    data = bytearray(path.read_bytes())
    for signature, offset in offsets.items():
        start = data.rfind(signature) if last else data.find(signature)
        while start >= 0:
            struct.pack_into(layout, data, start + offset, *values)
            start = -1 if last else data.find(signature, start + 1)
    path.write_bytes(data)
    return config


def test_names_that_would_escape_are_no_images_or_read_in_memory(make, tmp_path):
    before = sorted(tmp_path.parent.iterdir())
    names = ("../cat.7.jpg", "train/../../cat.8.jpg", "..\\cat.9.jpg")
    config = make(*((name, image(9)) for name in names))
    data = open_data(config)
    assert len(data.train) + len(data.val) == 6
    config = make(("/etc/cat.7.jpg", image()), ("C:\\x\\cat.8.jpg", image()))
    with pytest.raises(DataError, match="has cats and dogs in several folders"):
        open_data(config)
    assert sorted(tmp_path.parent.iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"images.zip", "cache"}


@pytest.mark.parametrize("name", ["train\\{}.{}.jpg", "./train/{}.{}.jpg", "{}s/{}.jpg"])
def test_names_of_other_programs(make, name):
    data = open_data(make(name=name))
    assert sorted(data.train.names + data.val.names)[0] == "cat.0"


def test_of_two_members_of_one_name_the_last_counts(make):
    with pytest.warns(UserWarning, match="Duplicate name"):
        config = make(("train/cat.0.jpg", image(255)))
    data = open_data(config)
    assert len(data.train) + len(data.val) == 6
    (cat,) = (
        split.images[split.names.index("cat.0")]
        for split in (data.train, data.val)
        if "cat.0" in split.names
    )
    assert cat[0, 0, 0] == 255


def test_members_that_cannot_be_read_are_broken(make):
    link = zipfile.ZipInfo("train/cat.8.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DataError, match=r"cat\.8\.jpg: is broken: not a file but a symbolic link"):
        open_data(make((link, "/etc/passwd")))
    config = patched(make(), FLAGS, "<H", 1, last=False)
    with pytest.raises(DataError, match=r"6 faults.*\n.*is broken: encrypted; unzip it"):
        open_data(config)
    # Of these Python's reader unpacks whole blocks, however large they are.
    with pytest.raises(DataError, match=r"compressed by method 12 of zip files; only 0 and 8"):
        open_data(make(method=zipfile.ZIP_BZIP2))
    config = patched(make(("train/cat.8.jpg", image(8))), METHOD, "<H", 97)
    with pytest.raises(DataError, match=r"1 fault.*\n.*cat\.8\.jpg.*compressed by method 97 of"):
        open_data(config)


def test_names_with_line_breaks_are_labelled_and_told_in_one_line(make):
    with pytest.raises(DataError, match=r"train/cat\.a\\nb\.jpg: is broken"):
        open_data(make(("train/cat.a\nb.jpg", b"no image")))


def test_tables_of_contents_that_are_damaged(make):
    config = make(("train/cat.üü.jpg", image()))
    path = Path(config.root)
    whole = path.read_bytes()
    path.write_bytes(whole[:-300])
    with pytest.raises(DataError, match=r"is a zip file that was cut short.*download it again"):
        open_data(config)
    path.write_bytes(whole.replace("üü".encode(), b"\xff\xfe\xff\xfe"))
    with pytest.raises(DataError, match="cannot be read: 'utf-8' codec can't decode"):
        open_data(config)
    for content in (b"", b"PK", b"no zip file"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is neither a folder nor a zip file"):
            open_data(config)


def test_a_zip_file_that_declares_too_much_is_not_read(make, monkeypatch):
    config = make(("train/cat.8.jpg", bytes(120 * 2**20)))
    rule = r"would unpack to 0\.1 GB, more than 100 times its own size"
    with pytest.raises(DataError, match=rule):
        open_data(config)
    config = patched(make(("train/cat.8.jpg", image())), SIZE, "<I", 2**32 - 2)
    with pytest.raises(DataError, match=r"would unpack to 4\.3 GB"):
        open_data(config)
    monkeypatch.setattr(_zips, "MAX_IMAGE_BYTES", 2**20)
    config = make(("train/cat.8.jpg", bytes(2**20 + 1)))
    with pytest.raises(DataError, match=r"cat\.8\.jpg: is broken: too large: it unpacks to 0.0 GB"):
        open_data(config)


LIMITED = """
import resource, sys
from resnet_sweep.data import open_data
from resnet_sweep.data.config import CatsDogsConfig
config = CatsDogsConfig(root=sys.argv[1], image_size=8, cache_dir=sys.argv[2])
from resnet_sweep.data import cache  # numpy's own memory comes before
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_data(config)
except Exception as error:
    print(error)
print("MIB", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_a_member_that_unpacks_to_more_than_it_declares_needs_no_memory(make, tmp_path):
    config = make(("train/cat.8.jpg", bytes(300 * 2**20)))
    patched(config, SIZE, "<I", 1000)
    command = [sys.executable, "-c", LIMITED, config.root, str(tmp_path / "cache")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cat.8.jpg: is broken: BadZipFile: Bad CRC-32" in told
    assert int(told.rpartition(" ")[2]) < 100


@pytest.mark.slow
def test_a_hundred_thousand_members_are_listed(make):
    config = make(*((f"x/{number}.txt", b"") for number in range(100_000)))
    assert len(build_source(config).samples()) == 6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 2**20


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    damages=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=4),
    kept=st.floats(0.5, 1),
)
def test_a_damaged_zip_file_is_opened_or_refused(make, damages, kept):
    config = make()
    config.on_corrupt = "skip"
    data = bytearray(Path(config.root).read_bytes())
    for place, value in damages:
        start = int(place * (len(data) - len(value)))
        data[start : start + len(value)] = value
    Path(config.root).write_bytes(data if kept > 0.9 else data[: int(kept * len(data))])
    try:
        assert open_data(config).num_skipped <= 6
    except DataError as error:
        assert all(line.isprintable() for line in str(error).split("\n"))  # noqa: PT017
