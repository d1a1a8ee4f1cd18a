import errno
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from gates import Gate

from resnet_sweep.models.weights import read_tensors
from resnet_sweep.training.checkpoint import snapshot
from resnet_sweep.training.writer import Writer, staged


@contextmanager
def files_at_most(num_bytes: int) -> Iterator[None]:
    """A file system on which no file can grow any further."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def writer() -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_started_is_there_after_the_wait(tmp_path, writer):
    images = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    writer.start({"a": [images], "b": {"c": 1.5}}, tmp_path / "x.pt")
    writer.wait()
    assert not writer.is_busy
    read = read_tensors(tmp_path / "x.pt")
    assert read["b"] == {"c": 1.5}
    assert torch.equal(read["a"][0], images)
    assert read["a"][0].is_contiguous(memory_format=torch.channels_last)
    assert names(tmp_path) == ["x.pt"]


def test_a_slow_write_holds_nobody_up_and_the_next_one_waits_its_turn(tmp_path, writer):
    gate = Gate()
    writer.start({"gate": gate}, tmp_path / "first.pt")
    assert gate.reached.wait(60)
    writer.start({"a": 1}, tmp_path / "second.pt")
    assert writer.is_busy
    writer.check()
    assert not (tmp_path / "first.pt").exists()
    assert not (tmp_path / "second.pt").exists()
    gate.opened.set()
    writer.write({"a": 1}, tmp_path / "third.pt")
    assert not writer.is_busy
    assert names(tmp_path) == ["first.pt", "second.pt", "third.pt"]


def test_nothing_appears_after_it_was_closed_and_it_can_go_on(tmp_path, writer):
    gate = Gate()
    writer.start({"gate": gate}, tmp_path / "x.pt")
    assert gate.reached.wait(60)
    threading.Timer(0.1, gate.opened.set).start()
    writer.close()
    (tmp_path / "x.pt").unlink()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("checkpoint")]
    writer.close()
    writer.write({"a": 1}, tmp_path / "y.pt")
    writer.start({"a": 1}, tmp_path / "z.pt")
    writer.close()
    assert names(tmp_path) == ["y.pt", "z.pt"]


@pytest.mark.parametrize("told_by", ["check", "wait", "close", "write"])
def test_a_failure_is_told_once_by_whatever_comes_first(tmp_path, writer, told_by):
    path = tmp_path / "missing" / "x.pt"
    writer.start({"a": 1}, path)
    while writer.is_busy:
        time.sleep(0.001)
    call = getattr(writer, told_by)
    with pytest.raises(FileNotFoundError, match=r"missing/x\.pt"):
        call({"a": 1}, tmp_path / "y.pt") if told_by == "write" else call()
    writer.check()
    writer.write({"a": 1}, tmp_path / "z.pt")
    assert names(tmp_path) == ["z.pt"]


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path, writer):
    path = tmp_path / "x.pt"
    writer.write({"a": 1}, path)
    with files_at_most(2**24):
        writer.start({"a": torch.zeros(2**23)}, path)
        with pytest.raises(OSError, match=r"File too large.*x\.pt") as caught:
            writer.wait()
    assert caught.value.errno == errno.EFBIG
    assert read_tensors(path) == {"a": 1}
    assert names(tmp_path) == ["x.pt"]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.rand(7, 3, 5, 5),
        torch.rand(7, 3, 5, 5).to(memory_format=torch.channels_last),
        torch.rand(6, 9).t(),
        torch.arange(100)[10:90],
        torch.tensor(3),
        torch.rand(30) > 0.5,
        torch.rand(40).to(torch.bfloat16),
        torch.empty(0, 4),
    ],
    ids=lambda tensor: f"{tensor.dtype}{tuple(tensor.shape)}",
)
def test_what_comes_through_a_small_buffer_is_the_same(tensor):
    num_waits = 0

    def wait() -> None:
        nonlocal num_waits
        num_waits += 1

    copy = staged(tensor, torch.empty(64, dtype=torch.uint8), wait)
    assert torch.equal(copy, tensor)
    assert (copy.dtype, copy.stride()) == (tensor.dtype, tensor.stride())
    assert num_waits == -(-tensor.numel() * tensor.element_size() // 64)


KILLED = """
import sys
from pathlib import Path
import torch
from resnet_sweep.training.writer import Writer

writer = Writer()
for epoch in range(1, 10_000):
    tensors = {str(i): torch.full((500_000,), float(epoch)) for i in range(8)}
    writer.start({"epoch": epoch, "model": tensors}, Path(sys.argv[1]))
    print(epoch, flush=True)
    writer.wait()
"""


@pytest.mark.slow
def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "last.pt"
    num_torn = 0
    for i in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) == 3:
                    break
            # Somewhere in the third write, or just after it.
            time.sleep(0.004 * i)
            process.send_signal(signal.SIGKILL)
        read = read_tensors(path)
        assert read["epoch"] >= 2
        assert all((tensor == read["epoch"]).all() for tensor in read["model"].values())
        num_torn += len(list(tmp_path.glob("*.tmp")))
    assert num_torn, "no write was hit"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpus_tensors_are_those_of_the_snapshot(tmp_path, writer):
    weights = [
        torch.rand(64, 64, 3, 3, device="cuda").to(memory_format=torch.channels_last),
        torch.rand(5 * 2**20, device="cuda"),
        torch.tensor(3, device="cuda"),
    ]
    expected = [weight.cpu() for weight in weights]
    kept = snapshot({"model": weights})
    assert kept["model"][0].device.type == "cuda"
    writer.start(kept, tmp_path / "x.pt")
    del kept
    # Memory that is given back too early, or a copy that comes too late, would show these.
    for _ in range(20):
        for weight in weights:
            weight.add_(1)
            torch.full_like(weight, 7)
    writer.wait()
    for read, weight in zip(read_tensors(tmp_path / "x.pt")["model"], expected, strict=True):
        assert torch.equal(read, weight)
        assert read.stride() == weight.stride()
