"""Every odd kind of image becomes the right pixels, or a reason."""

import io

import numpy as np
import pytest
from PIL import Image

from resnet_sweep.data.decode import decode, quiet_pillow, reason_of

RED = (255, 0, 0)


def reopened(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def pixels_of(image, size=8, channels=3, resize="crop"):
    return decode(image, size=size, channels=channels, resize=resize)


def test_plain_colours_survive():
    image = reopened(Image.new("RGB", (20, 11), RED))
    assert (pixels_of(image) == RED).all()
    grey = pixels_of(reopened(Image.new("RGB", (20, 11), RED)), channels=1)
    assert grey.shape == (8, 8, 1)
    assert (grey == 76).all()


def test_grey_is_repeated():
    assert (pixels_of(reopened(Image.new("L", (9, 9), 77))) == 77).all()


def test_cmyk_jpeg():
    image = reopened(Image.new("RGB", (16, 16), RED).convert("CMYK"), "JPEG", quality=100)
    assert image.mode == "CMYK"
    np.testing.assert_allclose(pixels_of(image)[4, 4], RED, atol=4)


def test_palette_and_its_transparency():
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, *RED])
    assert (pixels_of(reopened(palette)) == RED).all()
    assert (pixels_of(reopened(palette, transparency=1)) == 255).all()
    assert (pixels_of(reopened(palette, transparency=b"\xff\x80"))[0, 0] == (255, 127, 127)).all()
    assert (pixels_of(reopened(palette, "GIF", transparency=1)) == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_is_over_white(mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    assert (pixels_of(reopened(image)) == 255).all()


def test_transparent_colour_of_an_opaque_mode():
    assert (pixels_of(reopened(Image.new("RGB", (8, 8), RED), transparency=RED)) == 255).all()
    assert (pixels_of(reopened(Image.new("L", (8, 8), 9), transparency=9)) == 255).all()


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    values = np.full((8, 8), 128 * 257, dtype=np.uint16)
    values[:, 4:] = 65535
    result = pixels_of(reopened(Image.fromarray(values)), channels=1)[..., 0]
    assert (result[:, 0] == 128).all()
    assert (result[:, 7] == 255).all()


def test_one_bit():
    assert (pixels_of(reopened(Image.new("1", (8, 8), 1))) == 255).all()


@pytest.mark.parametrize(("value", "match"), [(70_000, "32-bit integers"), (-1, "32-bit")])
def test_integers_without_a_known_white_are_refused(value, match):
    with pytest.raises(ValueError, match=match):
        pixels_of(reopened(Image.new("I", (8, 8), value), "TIFF"))


def test_floats_are_refused():
    with pytest.raises(ValueError, match="floating point"):
        pixels_of(reopened(Image.new("F", (8, 8), 0.5), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    from PIL import ImageOps

    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = reopened(Image.fromarray(values), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(image))
    assert (pixels_of(image) == expected).all()
    assert (orientation == 1) == (expected == values).all()


def test_broken_exif_does_not_break_the_image():
    image = reopened(Image.new("RGB", (8, 8), RED), exif=b"Exif\0\0II*\0garbage of a camera")
    with quiet_pillow():
        assert (pixels_of(image) == RED).all()


def test_crop_takes_the_centre_and_stretch_takes_all():
    values = np.zeros((30, 90, 3), dtype=np.uint8)
    values[:, 30:60] = 255
    image = Image.fromarray(values)
    assert pixels_of(image, 10).min() > 230
    stretched = pixels_of(image, 9, resize="stretch")
    assert stretched[:, 0].max() < 20
    assert stretched[:, 4].min() > 235


def test_large_jpegs_are_drafted_and_look_the_same():
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    large = Image.fromarray(coarse).resize((800, 600), Image.Resampling.BICUBIC)
    image = reopened(large, "JPEG", quality=95)
    result = pixels_of(image, 32)
    assert image.size == (100, 75)
    expected = pixels_of(large, 32).astype(int)
    assert np.abs(result - expected).mean() < 2


def test_enlarging():
    assert pixels_of(Image.new("L", (1, 1), 5), 32).shape == (32, 32, 3)
    assert (pixels_of(Image.new("L", (1, 500), 5), 32) == 5).all()


def broken_files():
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    jpeg, png = io.BytesIO(), io.BytesIO()
    Image.fromarray(noise).save(jpeg, "JPEG")
    Image.fromarray(noise).save(png, "PNG")
    return {
        "empty": b"",
        "text": b"<html>404</html>",
        "cut_jpeg": jpeg.getvalue()[:700],
        "header_only": jpeg.getvalue()[:30],
        "cut_png": png.getvalue()[:3000],
        "damaged_png": png.getvalue()[:50] + b"xxxx" + png.getvalue()[54:],
    }


@pytest.mark.parametrize("name", sorted(broken_files()))
def test_broken_files_raise_with_a_reason(name):
    with pytest.raises((OSError, SyntaxError, ValueError)) as error, quiet_pillow():
        pixels_of(Image.open(io.BytesIO(broken_files()[name])))
    reason = reason_of(error.value)
    assert reason
    assert "BytesIO" not in reason


def test_decompression_bomb(monkeypatch):
    image = io.BytesIO()
    Image.new("L", (64, 64)).save(image, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError) as error:
        pixels_of(Image.open(image))
    assert reason_of(error.value).startswith("too large to be decoded: Image size (4096 pix")


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    from resnet_sweep.data import decode as module

    class Lock:
        num_held = 0

        def __enter__(self):
            self.num_held += 1

        def __exit__(self, *error):
            pass

    lock = Lock()
    monkeypatch.setattr(module, "_one_large", lock)
    monkeypatch.setattr(module, "_LARGE_PIXELS", 400)
    assert (pixels_of(reopened(Image.new("RGB", (20, 20), RED))) == RED).all()
    assert lock.num_held == 0
    assert (pixels_of(reopened(Image.new("RGB", (20, 21), RED))) == RED).all()
    assert lock.num_held == 1


def test_reasons():
    assert reason_of(PermissionError(13, "Permission denied")) == "Permission denied"
    assert reason_of(IndexError()) == "IndexError: no reason given"
