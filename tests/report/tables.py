"""Tables of results as the report gets them, made up."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.report.columns import Row, frame
from resnet_sweep.report.page.content import PageContent

START = datetime(2026, 11, 24, 7, 0, 0)
HOSTILE = (
    '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">'
    "%{x}\u2028<b>bold</b>&amp;"
)
_Z = 1.959964


def wilson(share: float, n: int) -> tuple[float, float]:
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return float(centre - half), float(centre + half)


def run(
    number: int | None, parameters: dict[str, Any], state: str = "COMPLETE", **facts: Any
) -> Row:
    """A row of a trial of ours; ``last`` stands for an accuracy with all that goes with it."""
    told = facts.pop("told", {})
    last = facts.pop("last", None)
    study = facts.pop("study", "lr_trials")
    if last is not None:
        low, high = wilson(last, 600)
        facts |= {
            "last_val_accuracy": last,
            "last_val_accuracy_low": low,
            "last_val_accuracy_high": high,
            "chance_accuracy": 0.5,
            "learned": low > 0.5,
            "num_val_images": 600,
            "epochs": 20,
        }
    known = {
        "study": study,
        "ticket": number,
        "number": number,
        "attempt": 0,
        "state": state,
        "metric": "best_val_accuracy",
        "direction": "maximize",
        "folder": f"/tmp/{study}/trials/{number}",
    }
    return Row(known | facts, parameters, told)


def epochs_of(rows: list[Row], shapes: dict[int, np.ndarray]) -> pd.DataFrame:
    """A history: for each trial its validation accuracies."""
    frames = []
    for row in rows:
        values = shapes.get(row.facts["number"])
        if values is None:
            continue
        num = len(values)
        frames.append(
            pd.DataFrame(
                {
                    "study": row.facts["study"],
                    "ticket": row.facts["ticket"],
                    "number": row.facts["number"],
                    "attempt": row.facts["attempt"],
                    "epoch": np.arange(1, num + 1),
                    "train_loss": 0.75 - 0.3 * np.arange(num) / max(num, 1),
                    "val_loss": 1.2 - values,
                    "train_accuracy": np.clip(values + 0.03, 0, 1),
                    "val_accuracy": values,
                    "lr": 1e-3,
                    "reported": np.maximum.accumulate(values),
                    "folder": row.facts["folder"],
                }
            )
        )
    table = pd.concat(frames, ignore_index=True)
    for name in ("study", "folder"):
        table[name] = table[name].astype("string")
    for name in ("ticket", "number", "attempt", "epoch"):
        table[name] = table[name].astype("Int64")
    return table


def _curve(rng: np.random.Generator, end: float, num: int) -> np.ndarray:
    rise = 0.5 + (end - 0.5) * (1 - np.exp(-np.arange(num) / 6))
    return np.clip(rise + rng.normal(0, 0.012, num), 0, 1)


def lr_trials() -> PageContent:
    """Three settings on two networks, with what was published of them."""
    rng = np.random.default_rng(3)
    plan = [
        (0.0025, "resnet50", 0.55, 0.49, False),
        (0.0025, "plain50", 0.51, 0.49, False),
        (0.01, "resnet50", 0.5, None, False),
        (0.01, "plain50", 0.5, None, False),
        (0.0001, "resnet50", 0.69, 0.73, True),
        (0.0001, "plain50", 0.58, 0.53, True),
    ]
    rows, shapes = [], {}
    for i, (lr, model, end, published, learned) in enumerate(plan):
        values = _curve(rng, end, 20)
        shapes[i] = values
        parameters = {
            "optimizer.lr": lr,
            "optimizer.momentum": 0.9,
            "optimizer.weight_decay": 0.0 if lr == 0.0025 else 1e-4,
            "model": model,
        }
        begun = START + timedelta(minutes=15 * (i // 2))
        rows.append(
            run(
                i,
                parameters,
                last=float(values[-1]),
                objective=float(values.max()),
                best_epoch=int(values.argmax()) + 1,
                best_val_accuracy=float(values.max()),
                published=published,
                published_learned=learned,
                seconds=840.0 + 7 * i,
                images_per_s=71.5 + i,
                slot=f"cpu{i % 2}",
                worker=f"host-{i % 2}",
                started=begun,
                ended=begun + timedelta(seconds=840 + 7 * i),
                seed=0,
            )
        )
    rows.sort(key=lambda row: -row.facts["objective"])
    return PageContent(
        title="lr_trials",
        made_at=START + timedelta(hours=1),
        runs=frame(rows),
        history=epochs_of(rows, shapes),
        attempts=frame(rows),
        groups=_groups(),
        rerun_command="python -m resnet_sweep --config-dir outputs/lr_trials --config-name best",
        best_yaml="outputs/lr_trials/best.yaml",
    )


def _groups() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "parameter": ["model"] * 3,
            "a": ["resnet50"] * 3,
            "b": ["plain50"] * 3,
            "optimizer.lr": [0.0025, 0.01, 0.0001],
            "num_pairs": [1, 1, 1],
            "split": ["last epoch"] * 3,
            "a_accuracy": [0.55, 0.5, 0.69],
            "b_accuracy": [0.51, 0.5, 0.58],
            "difference": [0.04, 0.0, 0.11],
            "difference_low": [-0.01, -0.002, 0.06],
            "difference_high": [0.09, 0.002, 0.16],
            "method": ["same images", "same images", pd.NA],
            "mcnemar_p": [0.12, 1.0, 1.2e-5],
            "verdict": [
                "no difference shown",
                "no difference shown",
                "resnet50 better by 0.11 (0.06 to 0.16)",
            ],
        }
    )


def search(num: int, num_epochs: int = 12) -> PageContent:
    """A search over six parameters with prunings, failures, repeats' gaps and open trials."""
    rng = np.random.default_rng(0)
    rows, shapes = [], {}
    clock = [START] * 4
    for i in range(num):
        parameters: dict[str, Any] = {
            "optimizer.lr": float(10 ** rng.uniform(-5, -0.5)),
            "optimizer": str(rng.choice(["sgd", "adamw", "rmsprop"])),
            "model": str(rng.choice(["resnet18", "resnet50", "plain50"])),
            "trainer.batch_size": int(rng.choice([16, 32, 64, 128])),
            "augment.crop": [int(v) for v in rng.choice([0, 4, 8], 2)],
            "label_smoothing": None if rng.random() < 0.3 else 0.1,
        }
        if parameters["optimizer"] == "sgd":
            parameters["optimizer.momentum"] = float(rng.uniform(0, 0.99))
        quality = 0.9 - 0.09 * abs(np.log10(parameters["optimizer.lr"]) + 3) ** 1.5
        end = float(np.clip(quality + rng.normal(0, 0.03), 0.45, 0.97))
        slot = int(np.argmin(clock))
        state = str(rng.choice(["COMPLETE", "PRUNED", "FAIL"], p=[0.6, 0.33, 0.07]))
        length = num_epochs if state == "COMPLETE" else int(rng.integers(2, num_epochs))
        seconds = 30.0 * length
        values = _curve(rng, end, length)
        facts: dict[str, Any] = {
            "slot": f"cuda:{slot}",
            "worker": f"host-{slot}",
            "started": clock[slot],
            "ended": clock[slot] + timedelta(seconds=seconds),
            "seconds": seconds,
            "seed": i,
        }
        clock[slot] += timedelta(seconds=seconds + 1)
        if state == "FAIL":
            facts |= {"error_kind": "non_finite", "error": f"NonFiniteLossError: epoch {length}"}
        else:
            shapes[i] = values
            facts |= {"objective": float(values.max()), "last": float(values[-1])}
        rows.append(run(i, parameters, state, study="search", **facts))
    order = {"COMPLETE": 0, "PRUNED": 1, "FAIL": 2}
    rows.sort(key=lambda r: (order[r.facts["state"]], -r.facts.get("objective", 0)))
    runs = frame(rows)
    kept = {row.facts["number"] for row in rows[:250]}
    shown = {number: shape for number, shape in shapes.items() if number in kept or num <= 250}
    return PageContent(
        title="search",
        made_at=max(clock),
        runs=runs,
        history=epochs_of(rows, shown),
        attempts=runs,
        log_parameters=frozenset(["optimizer.lr"]),
        tracebacks={
            row.facts["folder"]: "Traceback (most recent call last):\n  ..."
            for row in rows
            if row.facts["state"] == "FAIL"
        },
        rerun_command="python -m resnet_sweep --config-dir outputs/search --config-name best",
        best_yaml="outputs/search/best.yaml",
        notes=("Workers drew values side by side: these depend on the order in which they ended.",),
    )


def two_objectives(num: int = 40) -> PageContent:
    """Accuracy against seconds, both of a task that tells nothing else."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(num):
        depth = int(rng.choice([18, 34, 50, 101]))
        rows.append(
            run(
                i,
                {"model.depth": depth, "width": float(rng.uniform(0.25, 2))},
                study="trade_off",
                metric=None,
                direction="maximize,minimize",
                objective_0=0.6 + 0.001 * depth + float(rng.normal(0, 0.03)),
                objective_1=depth * 1.5 + float(rng.normal(0, 8)),
                seconds=12.0,
            )
        )
    return PageContent("trade_off", START, frame(rows), attempts=frame(rows))


def hostile() -> PageContent:
    """Markup wherever a text can come from."""
    rows, shapes = [], {}
    for i in range(8):
        parameters = {
            f"parameter{HOSTILE}": f"value {i % 2} {HOSTILE}",
            f"number{HOSTILE}": 0.1 * (i + 1),
            "list": [HOSTILE, i],
        }
        failed = i >= 6
        shapes[i] = np.linspace(0.5, 0.6 + i / 50, 5)
        facts: dict[str, Any] = {
            "study": f"study {HOSTILE}",
            "slot": f"slot {HOSTILE}",
            "worker": f"worker {HOSTILE}",
            "folder": f"/tmp/{HOSTILE}/{i}",
            "device": f"device {HOSTILE}",
            "started": START + timedelta(minutes=i),
            "ended": START + timedelta(minutes=i + 1),
            "seconds": 60.0,
            "told": {f"fact{HOSTILE}": f"{HOSTILE}{i}"},
            "metric": f"best_{HOSTILE}",
        }
        if failed:
            facts |= {"error_kind": f"kind{HOSTILE}", "error": f"Error: {HOSTILE}"}
        else:
            facts |= {"objective": 0.6 + i / 50, "last": 0.6 + i / 50}
            facts |= {"published": 0.7, "published_learned": True}
        state = "FAIL" if failed else "PRUNED" if i == 5 else "COMPLETE"
        rows.append(run(i, parameters, state, **facts))
    history = epochs_of(rows, shapes)
    history[f"metric{HOSTILE}"] = history["val_accuracy"]
    groups = _groups().rename(columns={"optimizer.lr": f"setting{HOSTILE}"})
    for name in ("a", "b", "parameter", "verdict", "method"):
        groups[name] = f"{name}{HOSTILE}"
    return PageContent(
        title=f"title {HOSTILE}",
        made_at=START,
        runs=frame(rows),
        history=history,
        attempts=frame(rows),
        groups=groups,
        rerun_command=f"python -m {HOSTILE}",
        best_yaml=HOSTILE,
        tracebacks={row.facts["folder"]: f"Traceback {HOSTILE}" for row in rows},
        notes=(f"note {HOSTILE}",),
    )


def odd() -> dict[str, PageContent]:
    """Tables that a study can leave which has not gone well, or not yet."""
    nan, inf = float("nan"), float("inf")
    lr = "optimizer.lr"

    def content(name: str, rows: list[Row], **others: Any) -> PageContent:
        return PageContent(name, START, frame(rows), attempts=frame(rows), **others)

    failed = [run(i, {lr: 0.1}, "FAIL", error_kind="lost", error="gone") for i in range(3)]
    begun = run(0, {lr: 0.1}, "RUNNING", started=START, slot="cpu0", worker="a-0")
    waiting = Row({"study": "s", "ticket": 1, "state": "WAITING"}, {lr: 0.2})
    strange = [
        run(0, {lr: 1e-3, "a": None}, objective=nan, last=0.5),
        run(1, {lr: 1e-2, "a": [1, 2]}, objective=inf),
        run(2, {lr: 1e-1, "a": "x"}, objective=0.5, seconds=nan),
        run(3, {"b": True}, objective=0.6, last=0.6),
        run(4, {"b": False, "a": {"deep": 1}}, objective=-inf),
    ]
    repeated = [
        run(i // 2, {lr: 0.1 ** (i // 2)}, objective=0.5 + i / 10, last=0.6, repeat=i % 2)
        for i in range(6)
    ]
    foreign = [
        run(i, {"x": float(i)}, metric=None, direction="minimize", objective=float(i**2))
        for i in range(6)
    ]
    single = [Row({"study": "runs", "state": "COMPLETE", "objective": 0.7, "folder": "/a/b-1"})]
    retried = [run(0, {lr: 0.1}, objective=0.5, attempt=1), run(1, {lr: 0.2}, objective=0.6)]
    studies = [run(i, {lr: 0.1 * i}, study=f"s{i % 2}", objective=i / 10) for i in range(8)]
    return {
        "empty": content("empty", []),
        "no table": PageContent("no table", START, pd.DataFrame()),
        "failed": content("failed", failed),
        "running": content("running", [begun, waiting], is_active=True, left_s=60.0),
        "strange": content("strange", strange),
        "repeats": content("repeats", repeated),
        "foreign": content("foreign", foreign),
        "single": content("single", single),
        "retried": content("retried", retried),
        "studies": content("studies", studies),
        "two objectives": two_objectives(12),
        "seeds": repeats(),
        "two studies": two_studies(),
        "extremes": extremes(),
    }


def repeats() -> PageContent:
    """Three seeds a trial: the luckiest run is not of the best trial, and a good one fails once."""
    lr = "optimizer.lr"
    values = [(0.70, 0.72, 0.74), (0.60, 0.60, 0.81), (0.95, 0.95, None), (0.5, 0.52, 0.51)]
    rows = [
        run(
            trial,
            {lr: 0.1**trial},
            "FAIL" if value is None else "COMPLETE",
            study="seeds",
            repeat=repeat,
            seed=repeat,
            folder=f"/tmp/seeds/trials/{trial}/{repeat}",
            **({} if value is None else {"objective": value, "last": value - 0.02}),
        )
        for trial, seeds in enumerate(values)
        for repeat, value in enumerate(seeds)
    ]
    return PageContent("seeds", START, frame(rows), attempts=frame(rows))


def two_studies() -> PageContent:
    """An accuracy and a loss: more of the one is better, less of the other."""
    rows = [
        run(i, {"lr": 0.1**i, "a": i % 3}, study="s_accuracy", objective=0.5 + i / 50, last=0.6)
        for i in range(8)
    ]
    loss = {"metric": "last_val_loss", "direction": "minimize"}
    rows += [
        run(i, {"lr": 0.1**i, "b": i % 2}, study="s_loss", objective=2 - i / 10, **loss)
        for i in range(6)
    ]
    return PageContent("s_accuracy, s_loss", START, frame(rows), attempts=frame(rows))


def extremes() -> PageContent:
    """Numbers that are too large for a picture."""
    rows = [
        run(i, {"p": p, "q": i}, objective=value)
        for i, (p, value) in enumerate(
            [(1, 1e308), (2, -1e308), (10**400, 0.5), (3, 0.6), (-(10**400), 0.7), (4, 0.8)]
        )
    ]
    return PageContent("extremes", START, frame(rows), attempts=frame(rows))
