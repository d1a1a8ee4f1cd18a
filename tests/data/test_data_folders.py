"""Folders as people have them: links, pipes, broken files, names that are no text."""

import io
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from resnet_sweep.data import num_classes_of, open_data
from resnet_sweep.data.config import CatsDogsConfig, ImageFolderConfig, check_data
from resnet_sweep.data.sources import build_source
from resnet_sweep.data.sources._trees import shown
from resnet_sweep.faults import DataError


@pytest.fixture
def config(tmp_path, write):
    """Two classes of four images."""
    for number in range(4):
        write(tmp_path / "images" / "a" / f"{number}.png", number)
        write(tmp_path / "images" / "b" / f"{number}.png", 10 + number)
    root = str(tmp_path / "images")
    return ImageFolderConfig(root=root, image_size=8, cache_dir=str(tmp_path / "cache"))


def names_of(config):
    return [sample.name for sample in build_source(config).samples()]


def test_what_is_named_like_an_image_and_is_none_is_broken_and_nothing_hangs(config):
    folder = Path(config.root) / "a"
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.jpg"))
    (folder / "nothing.jpg").symlink_to("nowhere")
    (folder / "itself.jpg").symlink_to("itself.jpg")
    (folder / "empty.jpg").touch()
    (folder / "folder.jpg").mkdir()
    (folder / "._hidden.jpg").touch()
    with pytest.raises(DataError, match="5 faults") as error:
        open_data(config)
    for name, reason in {
        "pipe": "not a file but a pipe",
        "socket": "not a file but a socket",
        "nothing": "No such file or directory",
        "itself": "Too many levels of symbolic links",
        "empty": "not an image that Pillow knows",
    }.items():
        assert f"{folder}/{name}.jpg: is broken: {reason}" in str(error.value)
    config.on_corrupt = "skip"
    data = open_data(config)
    assert (data.num_skipped, len(data.train) + len(data.val)) == (5, 8)


def test_a_device_is_broken(config):
    try:
        os.mknod(Path(config.root) / "a" / "zero.jpg", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(DataError, match=r"zero\.jpg: is broken: not a file but a device"):
        open_data(config)


def test_of_many_broken_images_the_first_are_named_and_all_counted(config):
    for number in range(25):
        (Path(config.root) / "b" / f"x{number:02}.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"11 faults") as error:
        open_data(config)
    assert "15 more images: are broken as well; replace or remove these" in str(error.value)
    assert "x10.jpg" not in str(error.value)


def test_a_file_of_another_program_is_no_image_whatever_it_is_called(config):
    # Pillow would start Ghostscript on it.
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    (Path(config.root) / "a" / "0.png").write_bytes(text)
    with pytest.raises(DataError, match=r"0\.png: is broken: not an image that Pillow knows"):
        open_data(config)


def test_links_out_of_the_folder_are_followed_and_loops_left_out(config, tmp_path, write, caplog):
    root = Path(config.root)
    write(tmp_path / "outside" / "o.png")
    (root / "a" / "out").symlink_to(tmp_path / "outside")
    (root / "a" / "one.png").symlink_to(tmp_path / "outside" / "o.png")
    (root / "a" / "b").symlink_to(root / "b")
    (root / "b" / "up").symlink_to("..")
    expected = [f"{label}/{number}.png" for label in "ab" for number in range(4)]
    assert names_of(config) == sorted([*expected, "a/one.png", "a/out/o.png"])
    # What is really there is not read through a link that happens to come first.
    assert f"left out {root}/a/b: its images are read elsewhere" in caplog.text
    assert f"left out {root}/b/up: its" in caplog.text


@pytest.mark.slow
def test_folders_nested_deeper_than_pythons_stack(config, write):
    program = """
import os, shutil, sys
os.chdir(sys.argv[1])
for _ in range(1200):
    os.mkdir("x")
    os.chdir("x")
shutil.copy(sys.argv[2], ".")
"""
    image = f"{config.root}/b/0.png"
    subprocess.run([sys.executable, "-c", program, f"{config.root}/a", image], check=True)
    assert len(names_of(config)) == 9
    # pytest removes its folders by recursion.
    subprocess.run(["rm", "-r", f"{config.root}/a/x"], check=True)


NAMES = [
    b"with space",
    b"quote'\"",
    b"line\nbreak",
    b"tab\t",
    "ä".encode(),
    b"\xff\xfe no text",
    b"-rf",
    b"$(x) `y`",
    b"a=b,[c]{d}",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_works_and_is_told_in_one_line_of_text(config, tmp_path, name):
    root = os.fsencode(config.root)
    os.rename(root, os.fsencode(tmp_path) + b"/" + name)
    root = os.fsencode(tmp_path) + b"/" + name
    os.rename(root + b"/a", root + b"/" + name)
    os.rename(root + b"/b/0.png", root + b"/b/" + name + b".PNG")
    config.root = os.fsdecode(root)
    data = open_data(config)
    assert len(data.train) + len(data.val) == 8
    assert num_classes_of(config) == 2
    with open(root + b"/b/" + name + b".PNG", "wb") as file:
        file.write(b"no image")
    with pytest.raises(DataError, match="is broken") as error:
        open_data(config)
    _, *lines = str(error.value).split("\n")
    assert len(lines) == 1
    assert lines[0].isprintable()
    # Every file and terminal takes it.
    str(error.value).encode()


def test_names_of_two_systems_are_the_same_image(config):
    folder = Path(config.root) / "a"
    (folder / "0.png").rename(folder / "u\u0308.png")
    composed = names_of(config)
    (folder / "u\u0308.png").rename(folder / "\u00fc.png")
    assert sorted(names_of(config)) == sorted(composed)


@pytest.mark.parametrize(
    ("root", "match"),
    [
        ("/dev/null", "is n"),
        ("~nobody-of-this-name/images", "cannot be looked at: Could not determine home"),
        ("x" * 5000, "cannot be looked at: File name too long"),
        ("a\0b", "cannot be looked at: embedded null byte"),
        ("/etc/passwd/images", "does not exist"),
    ],
)
def test_a_root_that_is_none_is_refused_by_the_configuration(root, match):
    for kind in (ImageFolderConfig, CatsDogsConfig):
        (fault,) = check_data(kind(root=root))
        assert match in str(fault)
    assert num_classes_of(ImageFolderConfig(root=root)) is None


def test_classes_without_images_are_named(config):
    for number in range(20):
        (Path(config.root) / f"empty{number:02}").mkdir()
    with pytest.raises(DataError, match=r"without an image: empty00, .*empty11 and 8 more; put"):
        open_data(config)


PROGRAM = """
import os, sys
from resnet_sweep.data.config import ImageFolderConfig
from resnet_sweep.data.sources.image_folder import ImageFolder
if os.getuid() == 0:
    os.seteuid(65534)  # root may read everything
try:
    ImageFolder(ImageFolderConfig(root=sys.argv[1]))
except Exception as error:
    print(error)
"""


def test_all_folders_that_cannot_be_read_are_named():
    # Not below pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        for name in "abc":
            (Path(root) / name).mkdir(mode=0o755 if name == "b" else 0)
        command = [sys.executable, "-c", PROGRAM, root]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in "ac":
        assert f"data.root={root}/{name}: cannot be read: Permission denied" in told
    assert "2 faults" in told


@pytest.mark.slow
def test_ten_thousand_files_are_listed_without_opening_one(config):
    for number in range(10_000):
        os.close(os.open(f"{config.root}/a/x{number}.jpg", os.O_CREAT | os.O_WRONLY))
    assert len(names_of(config)) == 10_008


@pytest.fixture(scope="module")
def valid():
    """Bytes of one image in each of the usual formats."""
    found = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        Image.radial_gradient("L").resize((24, 18)).save(buffer, kind)
        found.append(buffer.getvalue())
    return found


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(draws=st.data())
def test_damaged_bytes_are_an_image_or_broken_and_never_more(config, valid, draws):
    data = bytearray(draws.draw(st.sampled_from(valid)))
    for _ in range(draws.draw(st.integers(0, 8))):
        data[draws.draw(st.integers(0, len(data) - 1))] = draws.draw(st.integers(0, 255))
    cut = draws.draw(st.integers(0, len(data)))
    (Path(config.root) / "a" / "0.png").write_bytes(data[:cut])
    config.on_corrupt = "skip"
    assert open_data(config).num_skipped in (0, 1)


NAME = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and not {"/", "\0"} & set(name)
)
TREE = st.recursive(
    st.sampled_from(["image", "text", "nothing", "pipe", "link"]),
    lambda inner: st.dictionaries(NAME | NAME.map("{}.jpg".format), inner, max_size=4),
    max_leaves=12,
)


def make_tree(path: Path, tree, image: bytes) -> None:
    if isinstance(tree, dict):
        path.mkdir()
        for name, inner in tree.items():
            make_tree(path / name, inner, image)
    elif tree == "pipe":
        os.mkfifo(path)
    elif tree == "link":
        path.symlink_to("..")
    else:
        path.write_bytes({"image": image, "text": b"text", "nothing": b""}[tree])


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=st.dictionaries(NAME, TREE, max_size=4))
def test_any_tree_is_opened_or_refused(tmp_path_factory, valid, tree):
    root = tmp_path_factory.mktemp("tree") / "root"
    make_tree(root, tree, valid[0])
    for kind in (ImageFolderConfig, CatsDogsConfig):
        config = kind(root=str(root), image_size=4, on_corrupt="skip")
        config.cache_dir = str(root.parent / "cache")
        try:
            data = open_data(config)
        except DataError as error:
            assert all(line.isprintable() for line in str(error).split("\n"))  # noqa: PT017
        else:
            assert len(data.train.names) >= len(data.classes)


@given(st.text() | st.binary().map(os.fsdecode))
def test_what_is_shown_is_printable(text):
    assert shown(text).isprintable()
    if text.isprintable():
        assert shown(text) == text
