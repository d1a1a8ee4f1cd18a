"""Which device and which arithmetic a run uses."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import re
import resource
import sys
from pathlib import Path

import torch

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.training.config import TrainerConfig

# What torch itself chose at the start of the process, from the cores or OMP_NUM_THREADS.
_DEFAULT_NUM_THREADS = torch.get_num_threads()
# Numbers of glibc's malloc.h: how many blocks may be mapped one by one, and how many free
# bytes may stay on top of the heap.
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1
# Where Linux tells what this process alone has used, in units of 1024 bytes.
_STATUS, _PEAK = Path("/proc/self/status"), re.compile(rb"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


def resolve_device(name: str) -> torch.device:
    """The device of ``trainer.device``.

    Raises:
        ConfigError: The machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    # Without a number it would be whichever GPU an earlier run of the process has chosen.
    device = torch.device("cuda:0" if name == "cuda" else name)
    num_gpus = torch.cuda.device_count()
    found = ["auto", "cpu", *(f"cuda:{i}" for i in range(num_gpus))]
    if torch.backends.mps.is_available():
        found.append("mps")
    missing = (device.type == "cuda" and (device.index or 0) >= num_gpus) or (
        device.type == "mps" and "mps" not in found
    )
    if missing:
        raise ConfigError([Fault("trainer.device", name, "is not on this machine", tuple(found))])
    return device


def resolve_precision(name: str, device: torch.device) -> str:
    """The precision of ``trainer.precision`` on ``device``: "bf16" or "fp32".

    Raises:
        ConfigError: bf16 was asked for and the device cannot compute in it at all.
    """
    native = _has_bf16(device)
    if name == "auto":
        return "bf16" if native else "fp32"
    # A CPU without bf16 instructions computes it in software, slowly but rightly.
    if name == "bf16" and not native and device.type != "cpu":
        raise ConfigError(
            [Fault("trainer.precision", name, f"is not possible on {device}", ("auto", "fp32"))]
        )
    return name


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Older releases of torch cannot tell; fp32 is right everywhere.
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(key) for key in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def set_process_state(config: TrainerConfig, device: torch.device) -> None:
    """Sets what torch keeps for the whole process, all of it for every run.

    A process may run many trials: what one sets must not leak into the next.
    """
    torch.set_num_threads(config.threads or _DEFAULT_NUM_THREADS)
    if config.deterministic:
        # cuBLAS reads it when its handle is made; without it the mode below raises.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != config.deterministic:
        # Even to switch it off loads torch's compiler, which takes a second.
        torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic
    if device.type == "cuda":
        # Events and streams belong to the current GPU, whatever the tensors are on.
        torch.cuda.set_device(device)
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu":
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Lets a freed activation's memory be used by the next one, without the kernel.

    glibc hands large blocks back to the kernel when they are freed, and every step of training
    then waits for the same pages to be mapped and zeroed again: about a tenth of its time for
    ResNet-50 at 224 pixels. What an earlier run left free goes back here, once a run.
    Elsewhere than on glibc it does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    libc.malloc_trim(0)


def give_back_memory() -> None:
    """Frees what nothing refers to any more, on a GPU for other processes as well."""
    gc.collect()
    torch.cuda.empty_cache()  # Nothing where CUDA was never used.


def peak_memory_mib(device: torch.device) -> float:
    """Most memory used so far: of the GPU by this run, else of the host by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # A process is born with the ru_maxrss of the one that started it, on Linux.
    peak = _PEAK.search(_STATUS.read_bytes()) if _STATUS.exists() else None
    if peak is not None:
        return int(peak[1]) / 2**10
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS bytes.
    return peak_rss / (2**20 if sys.platform == "darwin" else 2**10)


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({os.uname().machine}, {torch.get_num_threads()} threads)"
