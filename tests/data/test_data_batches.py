"""Batches: complete, the same for the same seed and epoch, and no more read than needed."""

import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from resnet_sweep.data import EvalBatches, Split, TrainBatches, open_data, place
from resnet_sweep.data import batches as module
from resnet_sweep.data.cache import map_array
from resnet_sweep.data.config import AugmentConfig, CatsDogsConfig
from resnet_sweep.faults import DataError

CPU = torch.device("cpu")
ALL = AugmentConfig(horizontal_flip=True, random_crop=2)
NONE = AugmentConfig()


def make_split(num=23, size=6):
    images = np.zeros((num, size, size, 3), dtype=np.uint8)
    images[...] = np.arange(num, dtype=np.uint8)[:, None, None, None]
    return Split(images, np.arange(num), tuple(map(str, range(num))))


def train_batches(split=None, *, batch_size=5, augment=NONE, seed=0, channels_last=True):
    return TrainBatches(
        split or make_split(),
        batch_size=batch_size,
        device=CPU,
        mean=[0.0] * 3,
        std=[1 / 255] * 3,
        augment=augment,
        channels_last=channels_last,
        seed=seed,
    )


def eval_batches(split, batch_size=5, channels_last=True):
    return EvalBatches(
        split,
        batch_size=batch_size,
        device=CPU,
        mean=np.zeros(3, np.float32),
        std=np.ones(3, np.float32),
        channels_last=channels_last,
    )


def test_an_epoch_has_full_batches_of_different_images():
    batches = train_batches()
    assert len(batches) == 4
    epoch = list(batches.epoch(0))
    assert len(epoch) == 4
    labels = torch.cat([labels for _, labels in epoch])
    assert len(set(labels.tolist())) == 20
    for images, labels in epoch:
        assert images.shape == (5, 3, 6, 6)
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        # The pixels say which image it is.
        torch.testing.assert_close(images[:, 0, 0, 0], labels.float())


def test_every_image_comes_once_where_no_batch_is_partial():
    labels = torch.cat([labels for _, labels in train_batches(make_split(20)).epoch(3)])
    assert sorted(labels.tolist()) == list(range(20))


def test_contiguous_memory_where_asked():
    images, _ = next(train_batches(channels_last=False).epoch(0))
    assert images.is_contiguous()


def equal(first, second):
    return all(
        torch.equal(a, b) and torch.equal(c, d)
        for (a, c), (b, d) in zip(first, second, strict=True)
    )


@pytest.mark.parametrize(
    "augment", [NONE, ALL, AugmentConfig(horizontal_flip=True, random_resized_crop=0.3)]
)
def test_seed_and_epoch_alone_decide(augment):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (23, 6, 6, 3), dtype=np.uint8)
    split = Split(pixels, np.arange(23), ("",) * 23)
    first = list(train_batches(split, augment=augment).epoch(4))
    torch.rand(3)  # the global state does not matter
    state = torch.get_rng_state()
    again = train_batches(split, augment=augment)
    list(again.epoch(0))
    assert equal(first, again.epoch(4))
    assert not equal(first, again.epoch(5))
    assert not equal(first, train_batches(split, augment=augment, seed=1).epoch(4))
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluation_keeps_order_and_the_partial_batch():
    split = make_split()
    batches = eval_batches(split)
    assert len(batches) == 5
    for _ in range(2):
        labels = torch.cat([labels for _, labels in batches])
        assert labels.tolist() == list(range(23))
    images = torch.cat([images for images, _ in batches])
    expected = torch.from_numpy(split.images).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(images, expected)


def test_a_batch_larger_than_the_split():
    with pytest.raises(DataError, match=r"trainer\.batch_size=24: must be at most the 23 images"):
        train_batches(batch_size=24)
    assert len(list(train_batches(batch_size=23).epoch(0))) == 1
    assert len(list(eval_batches(make_split(), batch_size=100))) == 1


def test_batches_do_not_change_the_images():
    split = make_split()
    before = split.images.copy()
    for images, _ in train_batches(split, augment=ALL).epoch(0):
        images.zero_()
    for images, _ in eval_batches(split):
        images.zero_()
    assert (split.images == before).all()


def test_placed_splits_share_the_memory_and_can_be_used_again():
    split = make_split()
    placed = place(split, CPU)
    assert placed.images.data_ptr() == split.images.ctypes.data
    assert placed.resident
    assert equal(train_batches(placed).epoch(0), train_batches(split).epoch(0))
    assert equal(eval_batches(placed), eval_batches(split))


def test_read_only_maps_make_no_warning():
    split = make_split()
    split.images.flags.writeable = False
    assert len(list(train_batches(split, augment=ALL).epoch(0))) == 4


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
def test_data_larger_than_memory_is_read_by_the_row(tmp_path):
    num = 64 * 2**30 // (256 * 256 * 3)
    path = tmp_path / "images.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (num, 256, 256, 3))  # a hole: no disk
    split = Split(map_array(path), np.zeros(num, np.int64), ("",) * num)
    batches = train_batches(split, batch_size=32)
    before = resident_bytes()
    for _, (images, _) in zip(range(3), batches.epoch(0), strict=False):
        assert images.shape == (32, 3, 256, 256)
    assert resident_bytes() - before < 2**30


@dataclass(frozen=True, eq=False)
class Elsewhere(module.DeviceSplit):
    """A split whose images are not where the batches go, as on a GPU that is too small."""

    @property
    def resident(self):
        return False


class Copied:
    """Stands for the end of a batch's copy, which the GPU reaches when somebody waits for it."""

    def __init__(self, log):
        log.append("queued")
        self.log, self.number = log, log.count("queued")

    def synchronize(self):
        self.log.append(f"waited for {self.number}")


def test_rows_from_the_host_are_gathered_one_batch_ahead(monkeypatch):
    monkeypatch.setattr(module, "_event_on", lambda device: Copied([]))
    split = make_split()
    tensors = place(split, CPU)
    split = Elsewhere(tensors.images, tensors.labels, CPU)
    gathered = []

    def gather(start):
        gathered.append(start)
        return tensors.images[start : start + 5], tensors.labels[start : start + 5]

    seen = []
    for number, (_, labels) in enumerate(module._on_device(split, gather, range(0, 20, 5))):
        seen += labels.tolist()
        assert len(gathered) <= number + 2
    assert seen == list(range(20))
    assert gathered == [0, 5, 10, 15]
    assert list(module._on_device(split, gather, [])) == []


def test_few_batches_from_the_host_wait_for_a_gpu_at_once(monkeypatch):
    """Each holds pinned memory until it is copied, however many steps the host may queue."""
    log: list[str] = []
    monkeypatch.setattr(module, "_event_on", lambda device: Copied(log))
    monkeypatch.setattr(module, "_NUM_AHEAD", 2)
    tensors = place(make_split(), CPU)
    split = Elsewhere(tensors.images, tensors.labels, CPU)
    rows = list(module._on_device(split, lambda i: (tensors.images, tensors.labels), range(4)))
    assert len(rows) == 4
    assert log == ["queued", "queued", "waited for 1", "queued", "waited for 2", "queued"]


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@needs_cuda
@pytest.mark.parametrize("share", [0.5, 0.0])
@pytest.mark.parametrize(
    "augment", [NONE, ALL, AugmentConfig(horizontal_flip=True, random_resized_crop=0.3)]
)
def test_a_gpu_gives_the_batches_of_a_cpu(monkeypatch, share, augment):
    monkeypatch.setattr(module, "RESIDENT_SHARE", share)
    split, device = make_split(), torch.device("cuda")
    placed = place(split, device)
    assert placed.resident == (share > 0)
    options = {"batch_size": 5, "mean": [0.4] * 3, "std": [0.3] * 3, "channels_last": True}
    for (images, labels), (expected, expected_labels) in zip(
        TrainBatches(placed, device=device, augment=augment, seed=0, **options).epoch(1),
        TrainBatches(split, device=CPU, augment=augment, seed=0, **options).epoch(1),
        strict=True,
    ):
        assert images.device.type == labels.device.type == "cuda"
        torch.testing.assert_close(images.cpu(), expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(labels.cpu(), expected_labels)
    for (images, _), (expected, _) in zip(
        EvalBatches(placed, device=device, **options),
        EvalBatches(split, device=CPU, **options),
        strict=True,
    ):
        torch.testing.assert_close(images.cpu(), expected)


REAL = os.environ.get("RESNET_SWEEP_TEST_DATA")


@pytest.mark.skipif(not REAL, reason="RESNET_SWEEP_TEST_DATA names no folder of cats and dogs")
def test_real_cats_and_dogs(tmp_path):
    config = CatsDogsConfig(root=REAL, image_size=32, num_train=300, num_val=60, num_test=20)
    config.cache_dir = str(tmp_path)
    data = open_data(config)
    assert data.classes == ("cat", "dog")
    for split, num in ((data.train, 300), (data.val, 60), (data.test, 20)):
        assert np.bincount(split.labels).tolist() == [num // 2, num // 2]
    # What is known of the photographs: brighter in red than in blue, middling contrast.
    np.testing.assert_allclose(data.mean, [0.49, 0.455, 0.417], atol=0.02)
    np.testing.assert_allclose(data.std, [0.25, 0.245, 0.248], atol=0.02)
    batches = TrainBatches(
        data.train,
        batch_size=50,
        device=CPU,
        mean=data.mean,
        std=data.std,
        augment=AugmentConfig(horizontal_flip=True),
        channels_last=True,
        seed=0,
    )
    images = torch.cat([images for images, _ in batches.epoch(0)])
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
