import errno
import os
import pickle
import signal

import pytest

from resnet_sweep.faults import ConfigError, DataError, Fault
from resnet_sweep.sweep.stopping import TrialTimeoutError
from resnet_sweep.training.failures import (
    CheckpointError,
    DiskError,
    NonFiniteLossError,
    RunError,
    Stopped,
    failure_kind,
)

FAULT = Fault("a", 1, "is odd")


class OutOfMemoryError(RuntimeError):
    """Named as torch's own."""


class AcceleratorError(RuntimeError):
    """Named as torch's own."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NonFiniteLossError(3, "training"), "non_finite"),
        (RunError("whatever"), "failed"),
        (Stopped(signal.SIGTERM), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (ConfigError([FAULT]), "config"),
        (CheckpointError([FAULT]), "config"),
        (DataError([FAULT]), "data"),
        (OutOfMemoryError("CUDA"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "out_of_memory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "disk"),
        (DiskError.of(OSError(errno.ENOSPC, "full", "x.pt")), "disk"),
        (FileNotFoundError(errno.ENOENT, "no such file"), "exception"),
        (TrialTimeoutError(3), "timeout"),
        (TimeoutError("a server's"), "exception"),
        (KeyError("x"), "exception"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "exception"),
        (AcceleratorError("CUDA error: device-side assert triggered"), "device"),
        (AcceleratorError("an illegal memory access was encountered"), "device"),
        (RuntimeError("CUDA error: unspecified launch failure"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (AcceleratorError("CUDA error: out of memory"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED in cublasCreate"), "out_of_memory"),
    ],
)
def test_every_way_to_end_has_a_name(error, kind):
    assert failure_kind(error) == kind


@pytest.mark.parametrize("error", [NonFiniteLossError(3, "validation"), Stopped(signal.SIGINT)])
def test_they_cross_processes_whole(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
