"""Random changes do what their names say, and no more often than they should."""

import pytest
import torch
import torch.nn.functional as F

from resnet_sweep.data import augment as module
from resnet_sweep.data.augment import (
    Draws,
    Normalize,
    augment,
    draw,
    generator_for,
    resized_crop,
    shifted_crop,
)
from resnet_sweep.data.config import AugmentConfig

CPU = torch.device("cpu")


@pytest.fixture
def images():
    return torch.randint(0, 256, (6, 8, 10, 3), dtype=torch.uint8)


def test_generators_differ_by_seed_epoch_and_purpose():
    state = torch.get_rng_state()
    firsts = {
        int(torch.randint(2**60, (1,), generator=generator_for(seed, epoch, purpose)))
        for seed in range(3)
        for epoch in range(3)
        for purpose in ("order", "augment")
    }
    assert len(firsts) == 18
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_asked_nothing_changed(images):
    draws = draw(AugmentConfig(), 6, generator_for(0, 0, "augment"))
    assert augment(images, draws, 0) is images


def test_flip_mirrors_the_width(images):
    mask = torch.tensor([True, False, True, False, False, True])
    result = augment(images, Draws(flip=mask), 0)
    assert torch.equal(result[mask], images[mask].flip(2))
    assert torch.equal(result[~mask], images[~mask])


def test_shifted_crop_is_shifted_content_over_zeros(images):
    shift = torch.tensor([[0, 0], [2, 2], [4, 4], [2, 3], [0, 4], [1, 0]])
    result = shifted_crop(images, shift, None, 2)
    assert result.dtype == torch.uint8
    padded = F.pad(images, (0, 0, 2, 2, 2, 2))
    for i, (top, left) in enumerate(shift.tolist()):
        assert torch.equal(result[i], padded[i, top : top + 8, left : left + 10])
    assert torch.equal(result[1], images[1])
    assert (result[0, :2] == 0).all()
    assert torch.equal(result[0, 2:, 2:], images[0, :-2, :-2])


def test_both_ways_to_crop_agree(images):
    padded = F.pad(images, (0, 0, 3, 3, 3, 3))
    draws = draw(AugmentConfig(True, 3), 6, generator_for(1, 0, "augment"))
    arguments = (padded, draws.shift, draws.flip, 8, 10)
    assert torch.equal(module._crop_one_by_one(*arguments), module._crop_at_once(*arguments))


@pytest.mark.parametrize("mirrored", [False, True])
def test_resized_crop_agrees_with_interpolation(images, mirrored):
    # Rows 2..6 and columns 0..5 of 8 x 10.
    crop = torch.tensor([[4 / 8, 2.5 / 10, 4 / 8, 5 / 10]]).expand(6, 4)
    result = resized_crop(images, crop, torch.full((6,), mirrored))
    # Inside the crop's border, where the neighbours outside of it do not matter.
    part = images[:, 2:6, 0:5].permute(0, 3, 1, 2).float()
    expected = F.interpolate(part, (8, 10), mode="bilinear").permute(0, 2, 3, 1)
    if mirrored:
        expected = expected.flip(2)
    assert result.shape == images.shape
    torch.testing.assert_close(result[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1])


def test_whole_image_as_resized_crop_is_the_image(images):
    crop = torch.tensor([[0.5, 0.5, 1.0, 1.0]]).expand(6, 4)
    torch.testing.assert_close(resized_crop(images, crop, None), images.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("min_area", [0.08, 0.5, 1.0])
def test_resized_crops_stay_inside_and_keep_their_bounds(min_area):
    config = AugmentConfig(random_resized_crop=min_area)
    y, x, height, width = draw(config, 4000, generator_for(0, 0, "augment")).crop.unbind(1)
    for centre, share in ((y, height), (x, width)):
        assert (centre - share / 2 >= -1e-6).all()
        assert (centre + share / 2 <= 1 + 1e-6).all()
    area, aspect = height * width, width / height
    assert area.min() >= min_area - 1e-5
    assert area.max() <= 1 + 1e-5
    assert aspect.min() >= 3 / 4 - 1e-5
    assert aspect.max() <= 4 / 3 + 1e-5
    if min_area < 0.1:
        assert area.min() < 0.1
        assert 0.45 < area.mean() < 0.55
        assert abs(float(aspect.log().mean())) < 0.02


def test_draws_have_the_right_distribution():
    draws = draw(AugmentConfig(True, 4), 9000, generator_for(0, 0, "augment"))
    assert 0.48 < draws.flip.float().mean() < 0.52
    for axis in range(2):
        counts = draws.shift[:, axis].bincount()
        assert len(counts) == 9
        assert counts.min() > 850
    assert abs(float(torch.corrcoef(draws.shift.T.float())[0, 1])) < 0.05


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalisation_is_the_plain_formula(channels, channels_last, dtype):
    pixels = torch.randint(0, 256, (4, 6, 5, channels), dtype=torch.uint8)
    mean, std = torch.rand(channels), torch.rand(channels) + 0.1
    result = Normalize(mean, std, 5, CPU)(pixels.to(dtype), channels_last=channels_last)
    expected = (pixels.float() / 255 - mean) / std
    torch.testing.assert_close(result, expected.permute(0, 3, 1, 2), atol=1e-5, rtol=1e-5)
    order = torch.channels_last if channels_last else torch.contiguous_format
    assert result.is_contiguous(memory_format=order)


def test_normalisation_leaves_its_input_alone():
    pixels = torch.full((1, 2, 2, 3), 9.0)
    Normalize(torch.zeros(3), torch.ones(3), 2, CPU)(pixels, channels_last=True)
    assert (pixels == 9).all()
