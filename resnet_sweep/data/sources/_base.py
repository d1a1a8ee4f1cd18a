"""What a source of images is."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Sample:
    """One image that has not been decoded.

    Attributes:
        label: Position of its class in ``Source.classes``.
        name: Canonical name, unique in the source and the same in every layout of the data;
            the split is drawn from it.
        identity: Changes when the image does: size and time of a file, checksum of a zip member.
        location: Where a user finds it.
        split: The split that the data's own division puts it in, where there is one.
        num_bytes: Size of its file, also inside a zip; 0 where it has none of its own.
    """

    label: int
    name: str
    identity: str
    location: str
    split: Literal["train", "val"] | None = None
    num_bytes: int = 0


class Source(ABC):
    """Lists images without decoding them and opens them one by one.

    What the user can mend (missing folder, no recognised layout) is a ``DataError``, raised by
    whichever method finds it first.
    """

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""

    @abstractmethod
    def samples(self) -> Sequence[Sample]:
        """Every image, in an order that depends on their names alone; the same at every call."""

    @abstractmethod
    def open(self, index: int) -> Image.Image:
        """Opens ``samples()[index]``; called by many threads at once.

        The caller closes it. A broken image raises whatever its reader raises.
        """

    def fingerprint(self) -> str:
        """Changes when any image, name or class does; computed at every start, so it is fast."""
        digest = hashlib.sha256("\0".join(self.classes).encode(errors="surrogateescape"))
        for sample in self.samples():
            line = f"\n{sample.label}\0{sample.split}\0{sample.name}\0{sample.identity}"
            digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()

    def listing(self) -> str:
        """Hash of all names, labels and sizes: the same for a copy of the data elsewhere."""
        digest = hashlib.sha256()
        for sample in self.samples():
            line = f"{sample.label}\0{sample.split}\0{sample.name}\0{sample.num_bytes}\n"
            digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()[:32]
