"""How a run can end other than by finishing, each with a name that tables can show."""

from __future__ import annotations

import errno
import signal

from resnet_sweep.data.agreement import ChangedDataError
from resnet_sweep.faults import ConfigError, DataError
from resnet_sweep.files import is_disk_full, mended_by


class RunError(RuntimeError):
    """A run that could not be finished, for a reason that has a name.

    Attributes:
        kind: The name, as it stands in result.json and in the tables.
    """

    kind = "failed"


class NonFiniteLossError(RunError):
    """The loss became NaN or infinite: the training diverged."""

    kind = "non_finite"

    def __init__(self, epoch: int, phase: str) -> None:
        self.epoch, self.phase = epoch, phase
        super().__init__(
            f"the {phase} loss is not finite in epoch {epoch}: the training diverged; "
            "a smaller optimizer.lr, a warmup or trainer.grad_clip may help"
        )

    def __reduce__(self) -> tuple[type[NonFiniteLossError], tuple[int, str]]:
        return type(self), (self.epoch, self.phase)


class DiskError(RunError):
    """The run's files could not be written, or read: the disk is full, or worse.

    The run goes on from its last checkpoint when there is room again.
    """

    kind = "disk"

    @classmethod
    def of(cls, error: OSError) -> DiskError:
        """The same in words that say what to do."""
        where = f" ({error.filename})" if error.filename else ""
        remedy = mended_by(error) or "make room"
        return cls(f"{error.strerror}{where}: {remedy} and give the same command again")


class CheckpointError(ConfigError):
    """A checkpoint that a run cannot go on from: unreadable, or of another run."""


class Stopped(KeyboardInterrupt):
    """A signal asked the run to stop, and it did so between two steps.

    It is no Exception, so that it ends a sweep as well as the run.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(f"stopped by {signal.Signals(signum).name}")

    def __reduce__(self) -> tuple[type[Stopped], tuple[int]]:
        return type(self), (self.signum,)


# What CUDA and its libraries say when memory runs out elsewhere than in torch's allocator.
_OUT_OF_MEMORY = (
    # And what torch says of the host's.
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
# What they say when a kernel failed: from then on every call of the process fails with it.
_BROKEN_DEVICE = ("CUDA error", "device-side assert", "CUDNN_STATUS_EXECUTION_FAILED")


def failure_kind(error: BaseException) -> str:
    """The name of what ended a run, for result.json and the tables.

    "device" means that the process cannot compute on its device any more and should end.
    """
    if isinstance(error, RunError):
        return error.kind
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError) and is_disk_full(error):
        return DiskError.kind
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "out_of_memory"
    # By name: training does not know the sweep, whose limit this is.
    if type(error).__name__ == "TrialTimeoutError":
        return "timeout"
    if isinstance(error, ConfigError):
        return "config"
    if isinstance(error, ChangedDataError):
        return "data_changed"
    if isinstance(error, DataError):
        return "data"
    # By name, so that a caller without torch can ask; torch.OutOfMemoryError is the GPU's.
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return "out_of_memory"
    if isinstance(error, RuntimeError):
        text = str(error)
        if any(words in text for words in _OUT_OF_MEMORY):
            return "out_of_memory"
        is_accelerators = type(error).__name__ == "AcceleratorError"
        if is_accelerators or any(words in text for words in _BROKEN_DEVICE):
            return "device"
    return "exception"
