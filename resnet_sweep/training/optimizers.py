"""The optimizers: what a step does to the weights, all of it in place.

They follow ``torch.optim`` to the last rounding of its fused kernels, which they call. They are
our own for three reasons. A step that is captured once and replayed needs state that exists
before the first step and a learning rate that is a tensor. The next trial of a process takes over
both by writing into them. And torch's classes load its compiler, which is a third of the time
from a command to its first step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from resnet_sweep.training.config import (
    AdamConfig,
    AdamWConfig,
    OptimizerConfig,
    RmspropConfig,
    SgdConfig,
)

State = dict[str, list[Tensor]]
C = TypeVar("C", bound=OptimizerConfig)

# Kinds of devices that have fused kernels.
_FUSED = ("cpu", "cuda")


class Optimizer(ABC, Generic[C]):
    """Changes parameters by their gradients.

    Args:
        config: Its group.
        parameters: On the device where they stay; those without a gradient are left alone.
        fused: Whether one kernel does the whole update, where torch has one for the device.
        captured: Whether a step is recorded and replayed.

    Attributes:
        params: The parameters.
        lr: The learning rate; where a step is captured a scalar on the device, so that a
            replay reads what was set after the capture.
    """

    def __init__(
        self,
        config: C,
        parameters: Iterable[nn.Parameter],
        *,
        fused: bool = True,
        captured: bool = False,
    ) -> None:
        self._config = config
        self.params = list(parameters)
        # The fused kernels want one dtype.
        has_one = len({p.dtype for p in self.params}) == 1
        self.fused = fused and has_one and all(p.device.type in _FUSED for p in self.params)
        self._lr_value = config.lr
        self.lr: float | Tensor = config.lr
        if captured:
            self.lr = torch.tensor(config.lr, dtype=torch.float32, device=self._device)
        self._state: State = {}
        self._make_state()

    @property
    def _device(self) -> torch.device | None:
        return self.params[0].device if self.params else None

    def set_lr(self, lr: float) -> None:
        """Sets the learning rate of the following steps."""
        if isinstance(self.lr, Tensor):
            if lr != self._lr_value:
                self.lr.fill_(lr)
        else:
            self.lr = lr
        self._lr_value = lr

    @torch.no_grad()
    def step(self) -> None:
        """Changes every parameter that has a gradient; captured, it can be replayed."""
        index = [i for i, p in enumerate(self.params) if p.grad is not None]
        params: list[Tensor] = [self.params[i] for i in index]
        if params:
            self._update(params, [p.grad for p in params if p.grad is not None], index)

    def zero_grad(self) -> None:
        """Lets go of the gradients."""
        for param in self.params:
            param.grad = None

    def reset(self) -> None:
        """Puts the state back to what it was before the first step, in place."""
        for tensors in self._state.values():
            for tensor in tensors:
                tensor.zero_()

    def state_dict(self) -> State:
        """What the next step depends on beside weights, gradients and settings.

        Returns:
            Lists of tensors by name, the tensors themselves.
        """
        return {name: list(tensors) for name, tensors in self._state.items()}

    def load_state_dict(self, state: Mapping[str, list[Tensor]]) -> None:
        """Takes over the state of the same optimizer over parameters of the same shapes.

        Raises:
            ValueError: It is of another optimizer or of other parameters.
        """
        if _shapes(state) != _shapes(self._state):
            raise ValueError("the optimizer's state is of another optimizer or network")
        for name, tensors in self._state.items():
            for tensor, new in zip(tensors, state[name], strict=True):
                tensor.copy_(new)

    @abstractmethod
    def _make_state(self) -> None:
        """Makes what is kept from step to step, zeros before the first."""

    @abstractmethod
    def _update(self, params: list[Tensor], grads: list[Tensor], index: list[int]) -> None:
        """Changes ``params``, which are those at ``index``, in place; may change ``grads``."""

    def _keep(self, *names: str) -> None:
        for name in names:
            self._state[name] = [torch.zeros_like(p) for p in self.params]

    def _keep_step(self) -> None:
        """Counts steps once for all parameters, where the update itself happens."""
        self._state["step"] = [torch.zeros((), dtype=torch.float32, device=self._device)]

    def _of(self, name: str, index: list[int]) -> list[Tensor]:
        tensors = self._state[name]
        return [tensors[i] for i in index]

    def _descend(self, params: list[Tensor], direction: list[Tensor]) -> None:
        if isinstance(self.lr, Tensor):
            torch._foreach_add_(params, torch._foreach_mul(direction, -self.lr))
        else:
            torch._foreach_add_(params, direction, alpha=-self.lr)


class Sgd(Optimizer[SgdConfig]):
    """Gradient descent with momentum, as ``torch.optim.SGD`` without dampening."""

    def _make_state(self) -> None:
        if self._config.momentum:
            self._keep("momentum")

    def _update(self, params: list[Tensor], grads: list[Tensor], index: list[int]) -> None:
        config = self._config
        buffers = self._of("momentum", index) if config.momentum else []
        if self.fused:
            torch._fused_sgd_(
                params,
                grads,
                buffers,
                weight_decay=config.weight_decay,
                momentum=config.momentum,
                lr=self.lr,
                dampening=0.0,
                nesterov=config.nesterov,
                maximize=False,
                # The buffers begin with zeros, to which the first gradient is added.
                is_first_step=False,
            )
            return
        if config.weight_decay:
            grads = list(torch._foreach_add(grads, params, alpha=config.weight_decay))
        if config.momentum:
            torch._foreach_mul_(buffers, config.momentum)
            torch._foreach_add_(buffers, grads)
            if config.nesterov:
                grads = list(torch._foreach_add(grads, buffers, alpha=config.momentum))
            else:
                grads = buffers
        self._descend(params, grads)


class Adam(Optimizer[AdamConfig]):
    """Adam (Kingma and Ba 2015), as ``torch.optim.Adam``; of an AdamWConfig ``AdamW``."""

    @property
    def decoupled(self) -> bool:
        """Whether the weight decay is decoupled from the gradient."""
        return isinstance(self._config, AdamWConfig)

    def _make_state(self) -> None:
        self._keep("mean", "square")
        self._keep_step()

    def _update(self, params: list[Tensor], grads: list[Tensor], index: list[int]) -> None:
        step = self._state["step"][0]
        step += 1
        means, squares = self._of("mean", index), self._of("square", index)
        if self.fused:
            config = self._config
            update = torch._fused_adamw_ if self.decoupled else torch._fused_adam_
            update(
                params,
                grads,
                means,
                squares,
                [],
                [step] * len(params),
                lr=self.lr,
                beta1=config.betas[0],
                beta2=config.betas[1],
                weight_decay=config.weight_decay,
                eps=config.eps,
                amsgrad=False,
                maximize=False,
            )
        else:
            self._update_one_by_one(params, grads, means, squares)

    def _update_one_by_one(
        self,
        params: list[Tensor],
        grads: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
    ) -> None:
        config, step = self._config, self._state["step"][0]
        beta1, beta2 = config.betas
        if self.decoupled:
            torch._foreach_mul_(params, 1 - self.lr * config.weight_decay)
        elif config.weight_decay:
            grads = list(torch._foreach_add(grads, params, alpha=config.weight_decay))
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - beta2)
        # Tensors, not numbers: a captured step would replay the first step's corrections.
        scale = (1 - beta2**step).sqrt()
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, scale)
        torch._foreach_add_(roots, config.eps)
        torch._foreach_mul_(roots, (1 - beta1**step) / -self.lr)
        torch._foreach_addcdiv_(params, means, roots)


class Rmsprop(Optimizer[RmspropConfig]):
    """RMSprop (Hinton, lecture 6e), as ``torch.optim.RMSprop``, which has no fused kernel."""

    def _make_state(self) -> None:
        self._keep("square", *(["momentum"] if self._config.momentum else []))

    def _update(self, params: list[Tensor], grads: list[Tensor], index: list[int]) -> None:
        config, squares = self._config, self._of("square", index)
        if config.weight_decay:
            grads = list(torch._foreach_add(grads, params, alpha=config.weight_decay))
        torch._foreach_mul_(squares, config.alpha)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - config.alpha)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, config.eps)
        if config.momentum:
            buffers = self._of("momentum", index)
            torch._foreach_mul_(buffers, config.momentum)
            torch._foreach_addcdiv_(buffers, grads, roots)
            self._descend(params, buffers)
        elif isinstance(self.lr, Tensor):
            torch._foreach_div_(roots, -self.lr)
            torch._foreach_addcdiv_(params, grads, roots)
        else:
            torch._foreach_addcdiv_(params, grads, roots, value=-self.lr)


AnyOptimizer = Optimizer[Any]


def build_optimizer(
    config: OptimizerConfig,
    parameters: Iterable[nn.Parameter],
    *,
    fused: bool = True,
    captured: bool = False,
) -> AnyOptimizer:
    """The optimizer that ``config`` names, over ``parameters`` as one group.

    Args:
        config: Its group.
        parameters: On the device where they stay.
        fused: See Optimizer.
        captured: See Optimizer.
    """
    if isinstance(config, SgdConfig):
        return Sgd(config, parameters, fused=fused, captured=captured)
    if isinstance(config, AdamConfig):
        return Adam(config, parameters, fused=fused, captured=captured)
    assert isinstance(config, RmspropConfig), f"no optimizer for {type(config).__name__}"
    return Rmsprop(config, parameters, fused=fused, captured=captured)


def _shapes(state: Mapping[str, list[Tensor]]) -> dict[str, list[torch.Size]]:
    return {name: [tensor.shape for tensor in tensors] for name, tensors in state.items()}
