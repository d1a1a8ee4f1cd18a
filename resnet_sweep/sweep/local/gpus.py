"""Which GPUs this process may use, found without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpu:
    """A GPU that is visible to this process.

    Attributes:
        name: What its slot is called: "gpu4".
        token: What CUDA_VISIBLE_DEVICES names it by here: "4", or the start of a UUID.
        uuid: Names it wherever devices are numbered otherwise.
    """

    name: str
    token: str
    uuid: str


def installed_uuids() -> list[str]:
    """The UUIDs of all GPUs of the machine in the driver's order; none without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def visible_gpus(uuids: Sequence[str], environment: Mapping[str, str]) -> list[Gpu]:
    """The GPUs that CUDA would show, in its order.

    Args:
        uuids: UUIDs of the machine's GPUs in the driver's order.
        environment: Where CUDA_VISIBLE_DEVICES may stand: numbers, UUIDs, or the beginnings
            of UUIDs. As in CUDA, the first entry that names no GPU ends the list, so that
            "" and "-1" show none.
    """
    listed = environment.get(VISIBLE)
    if listed is None:
        return [Gpu(f"gpu{i}", str(i), uuid) for i, uuid in enumerate(uuids)]
    gpus: list[Gpu] = []
    for token in (entry.strip() for entry in listed.split(",")):
        gpu = _gpu_of(token, uuids, num_before=len(gpus))
        if gpu is None:
            break
        if gpu.uuid not in [known.uuid for known in gpus]:
            gpus.append(gpu)
    return gpus


def _gpu_of(token: str, uuids: Sequence[str], num_before: int) -> Gpu | None:
    if not uuids:
        return None
    if token.startswith("MIG-"):
        # An instance of a GPU; the driver lists GPUs, so there is nothing to compare it with.
        return Gpu(f"mig{num_before}", token, token)
    if token.isdecimal():
        index = int(token)
    else:
        found = [i for i, uuid in enumerate(uuids) if token and uuid.startswith(token)]
        index = found[0] if len(found) == 1 else len(uuids)
    return Gpu(f"gpu{index}", token, uuids[index]) if index < len(uuids) else None
