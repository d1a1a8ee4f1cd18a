"""One step of training, and one pass of validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_sweep.training.metrics import Meter, Reading
from resnet_sweep.training.microbatch import part_sizes
from resnet_sweep.training.optimizers import AnyOptimizer

Network = Callable[[Tensor], Tensor]


class TrainStep:
    """Forward, backward and update on one batch.

    Args:
        model: On the device of the batches.
        optimizer: Of the model's parameters; its learning rate is set before every step.
        precision: "bf16" (autocast: fp32 weights, bf16 arithmetic) or "fp32".
        label_smoothing: Share of the target spread over all classes.
        grad_clip: Largest norm of the gradient, or None.
        microbatch: Most images that go through the network at once; gradients of the parts of
            a batch are added up, while batch norm sees one part at a time. None is all.

    Attributes:
        network: Computes what ``model`` does: the model itself, or what torch.compile made of it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: AnyOptimizer,
        *,
        precision: str,
        label_smoothing: float = 0.0,
        grad_clip: float | None = None,
        microbatch: int | None = None,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.precision, self.microbatch = precision, microbatch
        self.label_smoothing, self.grad_clip = label_smoothing, grad_clip
        self.network: Network = model

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Trains on one batch; all of it can be captured and replayed.

        Args:
            images: [B, C, H, W] float32.
            labels: [B] int64.

        Returns:
            Mean loss (scalar float32) and logits [B, num_classes] (float32), both of before
            the update, without history, still on the device.
        """
        if self.microbatch is None or self.microbatch >= len(labels):
            loss, logits = self._backward(images, labels, len(labels))
        else:
            sizes = part_sizes(len(labels), self.microbatch)
            parts = zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True)
            done = [self._backward(*part, len(labels)) for part in parts]
            loss = torch.stack([loss for loss, _ in done]).sum()
            logits = torch.cat([logits for _, logits in done])
        if self.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, logits

    def _backward(self, images: Tensor, labels: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
        """Adds the gradients of a part of a batch; returns its share of the loss, and logits."""
        logits = forward(self.network, images, self.precision)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        if len(labels) != batch_size:
            loss = loss * (len(labels) / batch_size)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), logits.detach()


def forward(model: Network, images: Tensor, precision: str) -> Tensor:
    """Logits [B, num_classes] in float32, computed in ``precision``."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(images)
    return logits.float()


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    precision: str,
    raise_if_stopped: Callable[[], None],
) -> tuple[Reading, Tensor]:
    """One pass over a split without gradients.

    Args:
        model: On ``device``; its mode is put back.
        batches: Images [B, C, H, W] float32 and labels [B] int64, on ``device``.
        device: Where it computes.
        precision: "bf16" or "fp32".
        raise_if_stopped: Called before every batch; raises to end the pass.

    Returns:
        Plain cross entropy and accuracy, and the predicted classes [n] (int64, on the host).
    """
    was_training = model.training
    model.eval()
    meter = Meter(device, every_s=float("inf"))
    predictions = []
    for images, labels in batches:
        raise_if_stopped()
        logits = forward(model, images, precision)
        meter.update(F.cross_entropy(logits, labels), logits, labels)
        predictions.append(logits.argmax(dim=1))
    model.train(was_training)
    return meter.read(), torch.cat(predictions).cpu()
