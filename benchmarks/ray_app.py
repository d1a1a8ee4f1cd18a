"""The trials of ``benchmarks.sweep`` by Ray Tune: a grid, each trial a call of our application.

    python -m benchmarks.ray_app FOLDER JOBS GPUS_A_TRIAL OVERRIDE...

As many trials as JOBS run at a time, each in a process that Ray keeps for the next one
(``reuse_actors``), with a core and a share of the GPU. Imported where Ray is installed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.nine import POINTS, overrides_of


def train(point: dict[str, Any]) -> None:
    """One trial; its folder is named by its place in the grid."""
    from ray import tune

    from resnet_sweep.__main__ import main

    number = point["number"]
    folder = Path(point["folder"], str(number))
    sys.argv = [
        "resnet_sweep",
        *point["overrides"],
        *overrides_of(POINTS[number]),
        f"hydra.run.dir={folder}",
    ]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"trial {number} ended with exit code {end.code}") from None
    result = json.loads((folder / "result.json").read_text())
    tune.report({"objective": result["objective"]})


def run(folder: Path, jobs: int, gpus: float, overrides: Sequence[str]) -> None:
    """The whole grid.

    Raises:
        RuntimeError: A trial failed.
    """
    import ray
    from ray import tune

    ray.init(num_cpus=jobs, include_dashboard=False)
    space = {
        "number": tune.grid_search(list(range(len(POINTS)))),
        "folder": str(folder.absolute()),
        "overrides": list(overrides),
    }
    results = tune.Tuner(
        tune.with_resources(train, {"cpu": 1, "gpu": gpus}),
        param_space=space,
        tune_config=tune.TuneConfig(metric="objective", mode="max", reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder.absolute().with_name("ray"))),
    ).fit()
    ray.shutdown()
    if results.num_errors:
        raise RuntimeError(f"{results.num_errors} trials failed")


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
