"""What a profile says: where the time of a step went, and the share of the roofline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resnet_sweep.training.kinds import IDLE, LABELS, OTHER
from resnet_sweep.training.roofline import Peaks, Roofline

# Of what has no kind, so many are named, as far as they take this share of a step.
_NUM_NAMED, _LEAST_NAMED = 3, 0.002
_NAME_WIDTH = 100


@dataclass(frozen=True)
class Breakdown:
    """Where the time of a step went.

    Attributes:
        device_type: "cuda", "cpu" or "mps": whose time it is; of mps it is the host's.
        precision: "bf16" or "fp32".
        batch_size: Images a step.
        num_recorded: Steps that were recorded.
        step_s: Wall time of a step without the profiler, in seconds, where there were enough
            steps to time some, else with it.
        recorded_s: Wall time of a step with the profiler.
        s_by_kind: The device's time in a recorded step, by kind.
        unknown: What is in the kind "other", by name, in seconds a step.
        peaks: Of the device, measured.
        roofline: Of a step; None where the network has none.
        problem: Why it has none.
    """

    device_type: str
    precision: str
    batch_size: int
    num_recorded: int
    step_s: float
    recorded_s: float
    s_by_kind: Mapping[str, float]
    unknown: Mapping[str, float]
    peaks: Peaks
    roofline: Roofline | None
    problem: str | None = None

    @property
    def images_per_s(self) -> float:
        """Training images a second, without the profiler."""
        return self.batch_size / self.step_s

    @property
    def shares(self) -> dict[str, float]:
        """Share of a recorded step's wall time by kind, in the order of a step; the sum is 1."""
        busy_s = sum(self.s_by_kind.values())
        # Clocks of the device and of the host differ by a little.
        whole_s = max(self.recorded_s, busy_s)
        seconds = {**self.s_by_kind, IDLE: whole_s - busy_s}
        return {kind: seconds[kind] / whole_s for kind in LABELS if kind in seconds}

    def facts(self) -> dict[str, Any]:
        """For result.json: plain values, shares in percent."""
        roofline = self.roofline
        return {
            "step_ms": self.step_s * 1e3,
            "images_per_s": self.images_per_s,
            "roofline_ms": None if roofline is None else roofline.step_s * 1e3,
            "roofline_share": None if roofline is None else roofline.share(self.step_s),
            "peak_flops_per_s": self.peaks.flops_per_s,
            "peak_bytes_per_s": self.peaks.bytes_per_s,
            "shares_percent": {kind: 100 * share for kind, share in self.shares.items()},
        }

    def text(self) -> str:
        """The table and what follows from it, for a person."""
        return "\n".join([*self._table(), *self._named(), *self._conclusion()])

    def _table(self) -> list[str]:
        steps = "1 step" if self.num_recorded == 1 else f"{self.num_recorded} steps"
        lines = [
            f"where the time of a step went ({steps} of {self.batch_size} images, {self._whose()})",
            f"  {'':<34}{'share':>8}{'ms':>10}{'roofline, ms':>14}",
        ]
        least = {} if self.roofline is None else self.roofline.s_by_kind()
        for kind, share in self.shares.items():
            at_best = f"{least[kind] * 1e3:14.2f}" if kind in least else f"{'-':>14}"
            label = self._idle_label() if kind == IDLE else LABELS[kind]
            seconds = share * max(self.recorded_s, sum(self.s_by_kind.values()))
            lines.append(f"  {label:<34}{100 * share:6.1f} %{seconds * 1e3:10.2f}{at_best}")
        return lines

    def _whose(self) -> str:
        return {
            "cuda": "time of the GPU's kernels",
            "mps": "time of the host, as torch cannot see into this GPU",
        }.get(self.device_type, "time of torch's operations")

    def _idle_label(self) -> str:
        return "idle" if self.device_type == "cuda" else "outside of torch's operations"

    def _named(self) -> list[str]:
        """The largest of what has no kind."""
        if self.device_type == "cuda" and not self.s_by_kind:
            return ["  the profiler saw no kernels: it may lack the permission to trace the GPU"]
        largest = sorted(self.unknown.items(), key=lambda item: item[1], reverse=True)
        return [
            f"  {LABELS[OTHER]}: {100 * seconds / self.recorded_s:.1f} % {name[:_NAME_WIDTH]}"
            for name, seconds in largest[:_NUM_NAMED]
            if seconds >= _LEAST_NAMED * self.recorded_s
        ]

    def _conclusion(self) -> list[str]:
        step = f"a step takes {self.step_s * 1e3:.2f} ms, {self.images_per_s:.1f} images/s"
        if self.roofline is None:
            step += f"; no roofline, as the network does not run on shapes alone ({self.problem})"
        else:
            step += (
                f"; at the roofline {self.roofline.step_s * 1e3:.2f} ms: "
                f"{100 * self.roofline.share(self.step_s):.1f} % of it is reached"
            )
        return [
            step,
            f"peaks, measured: {self.peaks.flops_per_s / 1e12:.3g} TFLOP/s in {self.precision}, "
            f"{self.peaks.bytes_per_s / 1e9:.3g} GB/s",
        ]
