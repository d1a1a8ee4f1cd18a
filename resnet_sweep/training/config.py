"""Settings of the optimizer, scheduler, trainer and objective groups, without torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec

from resnet_sweep.faults import Fault, in_range, one_of

DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
PRECISIONS = ("auto", "bf16", "fp32")
RESUME = ("auto", "never")
COMPILE = ("auto", "always", "never")
EPOCHS = ("best", "last")
# What a run measures once an epoch and may be judged by.
METRICS = ("val_accuracy", "val_loss", "train_accuracy", "train_loss")


@dataclass
class OptimizerConfig:
    """What every optimizer has."""

    name: str = "???"
    # Learning rate at the schedule's peak, per step.
    lr: float = 1e-3
    # L2 penalty (decoupled for adamw), on all parameters.
    weight_decay: float = 0.0


@dataclass
class SgdConfig(OptimizerConfig):
    """Stochastic gradient descent with momentum."""

    name: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = False


@dataclass
class AdamConfig(OptimizerConfig):
    """Adam (Kingma and Ba 2015)."""

    name: str = "adam"
    # Decay of the running means of the gradient and of its square.
    betas: tuple[float, float] = (0.9, 0.999)
    # Added to the denominator.
    eps: float = 1e-8


@dataclass
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: str = "adamw"
    weight_decay: float = 0.01


@dataclass
class RmspropConfig(OptimizerConfig):
    """RMSprop (Hinton, lecture 6e)."""

    name: str = "rmsprop"
    momentum: float = 0.0
    # Decay of the running mean of the squared gradient.
    alpha: float = 0.99
    # Added to the denominator.
    eps: float = 1e-8


OPTIMIZER_CONFIGS: tuple[type[OptimizerConfig], ...] = (
    SgdConfig,
    AdamConfig,
    AdamWConfig,
    RmspropConfig,
)


@dataclass
class SchedulerConfig:
    """The learning rate as a factor of optimizer.lr over the steps of a run."""

    name: str = "???"
    # Share of all steps in which the factor rises linearly to 1.
    warmup: float = 0.0


@dataclass
class ConstantConfig(SchedulerConfig):
    """The factor stays 1."""

    name: str = "constant"


@dataclass
class CosineConfig(SchedulerConfig):
    """Half a cosine from 1 to final_factor (Loshchilov and Hutter 2017)."""

    name: str = "cosine"
    final_factor: float = 0.0


@dataclass
class StepConfig(SchedulerConfig):
    """Multiplied by gamma after each of the milestones."""

    name: str = "step"
    gamma: float = 0.1
    # Shares of all steps after which the factor drops.
    milestones: tuple[float, ...] = (0.5, 0.75)


@dataclass
class OneCycleConfig(SchedulerConfig):
    """Half a cosine up, half a cosine down (Smith and Topin 2018; momentum stays)."""

    name: str = "one_cycle"
    # Share of all steps that the rise takes.
    warmup: float = 0.2
    # The factor at the first step.
    initial_factor: float = 0.04
    # The factor at the last step.
    final_factor: float = 4e-6


SCHEDULER_CONFIGS: tuple[type[SchedulerConfig], ...] = (
    ConstantConfig,
    CosineConfig,
    StepConfig,
    OneCycleConfig,
)


@dataclass
class TrainerConfig:
    """How a network is trained."""

    epochs: int = 8
    # Images a step; the last partial batch of an epoch is dropped.
    batch_size: int = 32
    # Images a step of the validation, which needs no gradients.
    val_batch_size: int = 256
    # auto takes the first GPU there is; cuda:N takes GPU number N.
    device: str = "auto"
    # Of the arithmetic: auto is bf16 where the device has it in hardware, else fp32.
    precision: str = "auto"
    # Memory format of images and weights, NHWC.
    channels_last: bool = True
    # Largest norm of the gradient; null does not clip.
    grad_clip: float | None = None
    # Share of the target spread over all classes (Szegedy et al. 2016, 7).
    label_smoothing: float = 0.0
    # Of initialisation, order and augmentation.
    seed: int = 0
    # Only algorithms whose result does not depend on timing.
    deterministic: bool = False
    # CPU threads of the arithmetic; null leaves torch's own number.
    threads: int | None = None
    # auto goes on with an unfinished run in the same folder; never starts it anew.
    resume: str = "auto"
    # Shortest time between two checkpoints, in seconds.
    checkpoint_every_s: float = 30.0
    # Shortest time between two read-backs of loss and accuracy from the device, in seconds.
    readback_every_s: float = 1.0
    # Write TensorBoard files to tensorboard/ in the run's folder.
    tensorboard: bool = False
    # Keep the images of a GPU's batches on it, as far as they fit.
    device_data: bool = True
    # One kernel for the whole update, where torch has one for the optimizer and the device.
    fused: bool = True
    # On CUDA a step is captured once and replayed: its kernels are launched at once.
    cuda_graph: bool = True
    # torch.compile: auto where the run is long enough to earn its time back, always, never.
    compile: str = "auto"
    # Most images that go through the network at once, gradients of the parts being added up:
    # null is the whole batch, auto the most that fits into memory.
    microbatch: int | str | None = None
    # Write a trace of some steps to trace.json.gz and tell where their time went.
    profile: bool = False


@dataclass
class ObjectiveConfig:
    """The number that a run is judged by."""

    metric: str = "val_accuracy"
    # best: the best of all epochs; last: the last epoch's.
    epoch: str = "best"


@dataclass
class Recipe:
    """How a network is trained and judged: the groups that the loop reads."""

    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    trainer: TrainerConfig
    objective: ObjectiveConfig


def check_optimizer(config: OptimizerConfig) -> list[Fault]:
    """Everything that is wrong with the optimizer group."""
    faults = in_range("optimizer.lr", config.lr, above=0)
    faults += in_range("optimizer.weight_decay", config.weight_decay, at_least=0)
    if isinstance(config, SgdConfig | RmspropConfig):
        faults += in_range("optimizer.momentum", config.momentum, at_least=0, below=1)
    if isinstance(config, SgdConfig) and config.nesterov and config.momentum == 0:
        faults.append(Fault("optimizer.nesterov", True, "needs optimizer.momentum above 0"))
    if isinstance(config, AdamConfig):
        for i, beta in enumerate(config.betas):
            faults += in_range(f"optimizer.betas[{i}]", beta, at_least=0, below=1)
    if isinstance(config, AdamConfig | RmspropConfig):
        faults += in_range("optimizer.eps", config.eps, above=0)
    if isinstance(config, RmspropConfig):
        faults += in_range("optimizer.alpha", config.alpha, at_least=0, below=1)
    return faults


def check_scheduler(config: SchedulerConfig) -> list[Fault]:
    """Everything that is wrong with the scheduler group."""
    faults = in_range("scheduler.warmup", config.warmup, at_least=0, below=1)
    if isinstance(config, CosineConfig | OneCycleConfig):
        faults += in_range("scheduler.final_factor", config.final_factor, at_least=0, at_most=1)
    if isinstance(config, OneCycleConfig):
        factor = config.initial_factor
        faults += in_range("scheduler.initial_factor", factor, above=0, at_most=1)
    if isinstance(config, StepConfig):
        faults += in_range("scheduler.gamma", config.gamma, above=0, at_most=1)
        for i, share in enumerate(config.milestones):
            faults += in_range(f"scheduler.milestones[{i}]", share, above=0, below=1)
        if list(config.milestones) != sorted(set(config.milestones)):
            faults.append(
                Fault("scheduler.milestones", list(config.milestones), "must rise strictly")
            )
    return faults


def check_trainer(config: TrainerConfig) -> list[Fault]:
    """Everything that is wrong with the trainer group; the device itself is not asked."""
    faults = in_range("trainer.epochs", config.epochs, at_least=1)
    faults += in_range("trainer.batch_size", config.batch_size, at_least=2)
    faults += in_range("trainer.val_batch_size", config.val_batch_size, at_least=1)
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", config.device):
        faults += one_of("trainer.device", config.device, DEVICES)
    faults += one_of("trainer.precision", config.precision, PRECISIONS)
    faults += one_of("trainer.compile", config.compile, COMPILE)
    faults += _check_microbatch(config.microbatch)
    faults += in_range("trainer.grad_clip", config.grad_clip, above=0)
    faults += in_range("trainer.label_smoothing", config.label_smoothing, at_least=0, below=1)
    faults += in_range("trainer.seed", config.seed, at_least=0, below=2**63)
    # More threads than cores wait for one another; far too many end the process.
    faults += in_range("trainer.threads", config.threads, at_least=1, at_most=os.cpu_count())
    faults += one_of("trainer.resume", config.resume, RESUME)
    faults += in_range("trainer.checkpoint_every_s", config.checkpoint_every_s, at_least=0)
    faults += in_range("trainer.readback_every_s", config.readback_every_s, at_least=0)
    if config.tensorboard and find_spec("tensorboard") is None:
        faults.append(
            Fault(
                "trainer.tensorboard",
                True,
                "needs the package tensorboard",
                fix="pip install 'resnet-sweep[tensorboard]'",
            )
        )
    return faults


def _check_microbatch(value: int | str | None) -> list[Fault]:
    if value is None or value == "auto":
        return []
    if isinstance(value, str):
        return [Fault("trainer.microbatch", value, "must be auto, null or a number of images")]
    return in_range("trainer.microbatch", value, at_least=2)


def direction_of(metric: str) -> str:
    """Which way a metric is better: "maximize" or "minimize"."""
    return "minimize" if metric.endswith("_loss") else "maximize"


def check_objective(config: ObjectiveConfig) -> list[Fault]:
    """Everything that is wrong with the objective group."""
    return one_of("objective.metric", config.metric, METRICS) + one_of(
        "objective.epoch", config.epoch, EPOCHS
    )
