"""Which images belong to which split: balanced, the same on every machine and in every layout."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from resnet_sweep.data.config import DataConfig
from resnet_sweep.data.sources._base import Sample
from resnet_sweep.data.sources._trees import shown
from resnet_sweep.faults import DataError, Fault

# The share of each class that validates where nothing is said: one in five.
_VAL_SHARE = 5
# Of many classes a message names so many.
_NUM_NAMED = 12


@dataclass(frozen=True)
class Selection:
    """Positions in the source's list of samples, in the order in which they are stored."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """All of them: train, then val, then test."""
        return self.train + self.val + self.test


def select(
    samples: Sequence[Sample],
    classes: Sequence[str],
    config: DataConfig,
    broken: Collection[int] = (),
) -> Selection:
    """Draws the splits.

    Within a class the samples are ordered by a hash of split seed and name. Test takes the first,
    val the next, train the rest, so that raising ``num_train`` leaves val as it is. A broken
    sample is passed over, as though it were not there.

    Args:
        samples: Everything that the source has.
        classes: Names of the classes.
        config: Counts and seed.
        broken: Positions in ``samples`` that cannot be used.

    Returns:
        The splits.

    Raises:
        DataError: Fewer than two classes, or too few images.
    """
    _check_classes(samples, classes, str(getattr(config, "root", config.name)))
    keys = {i: _key(config.split_seed, sample.name) for i, sample in enumerate(samples)}
    pools = _Pools.of(samples, classes, keys, broken)
    faults: list[Fault] = []
    test = pools.take("num_test", config.num_test, faults)
    val = _take_val(samples, classes, config, pools, faults)
    train = pools.take("num_train", config.num_train, faults)
    if faults:
        raise DataError(faults)
    # Sorting by the same hash across the classes mixes them.
    return Selection(*(tuple(sorted(part, key=keys.__getitem__)) for part in (train, val, test)))


def balanced(num: int, num_classes: int) -> list[int]:
    """Shares of ``num`` over the classes; the first ones get one more where it leaves a rest."""
    share, rest = divmod(num, num_classes)
    return [share + (label < rest) for label in range(num_classes)]


def _key(seed: int, name: str) -> tuple[bytes, str]:
    text = f"{seed}:{name}".encode(errors="surrogateescape")
    return hashlib.sha256(text).digest(), name


@dataclass
class _Pools:
    """What is left of every class, in hash order."""

    classes: Sequence[str]
    train: list[list[int]]
    val: list[list[int]]
    num_broken: int
    taken: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        classes: Sequence[str],
        keys: dict[int, tuple[bytes, str]],
        broken: Collection[int],
    ) -> _Pools:
        pools = cls(classes, [[] for _ in classes], [[] for _ in classes], len(broken))
        for index in sorted(keys, key=keys.__getitem__):
            if index not in broken:
                sample = samples[index]
                (pools.val if sample.split == "val" else pools.train)[sample.label].append(index)
        return pools

    def take(
        self,
        key: str,
        num: int | None,
        faults: list[Fault],
        *,
        shares: list[int] | None = None,
        own_val: bool = False,
    ) -> list[int]:
        """Takes ``num``, balanced, or ``shares`` a class, or without either all that is left."""
        pool = self.val if own_val else self.train
        left = [len(indices) for indices in pool]
        if shares is None:
            shares = left if num is None else balanced(num, len(left))
        if any(share > have for share, have in zip(shares, left, strict=True)):
            faults.append(self._too_few(f"data.{key}", num, shares, left, own_val))
        elif key == "num_train" and not all(shares):
            faults.append(self._none_for_a_class(num, shares))
        chosen = [i for part, share in zip(pool, shares, strict=True) for i in part[:share]]
        for part, share in zip(pool, shares, strict=True):
            del part[:share]
        if not own_val:
            self.taken += [f"{len(chosen)} for data.{key}"] if chosen else []
        return chosen

    def _too_few(
        self, key: str, num: int | None, shares: list[int], left: list[int], own_val: bool
    ) -> Fault:
        where = "the data's own validation split has" if own_val else "there are"
        after = f" after {' and '.join(self.taken)}" if self.taken and not own_val else ""
        broken = f" and without {self.num_broken} broken" if self.num_broken else ""
        most = _largest_balanced(left)
        return Fault(
            key,
            num,
            f"needs {self._counts(shares)}, but {where} {self._counts(left)}{after}{broken}",
            fix=f"type {key}={most} or less" if most else "add images or lower the other counts",
        )

    def _none_for_a_class(self, num: int | None, shares: list[int]) -> Fault:
        after = f" after {' and '.join(self.taken)}" if self.taken else ""
        return Fault(
            "data.num_train",
            num,
            f"must give every class an image, but gives {self._counts(shares)}{after}",
            fix="lower data.num_val or data.num_test, or add images"
            if num is None
            else f"type data.num_train={len(shares)} or more",
        )

    def _counts(self, counts: Sequence[int]) -> str:
        return describe_counts(self.classes, counts)


def describe_counts(classes: Sequence[str], counts: Sequence[int]) -> str:
    """Counts a class as text, cut where there are many classes: "cat 20, dog 18"."""
    pairs = list(zip(classes, counts, strict=True))[:_NUM_NAMED]
    hidden = len(classes) - len(pairs)
    return ", ".join(f"{shown(name)} {num}" for name, num in pairs) + (
        f" and {hidden} more classes" if hidden else ""
    )


def _take_val(
    samples: Sequence[Sample],
    classes: Sequence[str],
    config: DataConfig,
    pools: _Pools,
    faults: list[Fault],
) -> list[int]:
    own_val = any(sample.split == "val" for sample in samples)
    if own_val or config.num_val is not None:
        val = pools.take("num_val", config.num_val, faults, own_val=own_val)
        if not val and not faults:
            faults.append(Fault("data.num_val", config.num_val, "leaves no validation image"))
        return val
    # A fifth of what is listed, not of what decodes: broken images must not move the split.
    counts = [0] * len(classes)
    for sample in samples:
        counts[sample.label] += 1
    shares = [max(1, count // _VAL_SHARE) for count in counts]
    return pools.take("num_val", None, faults, shares=shares)


def _check_classes(samples: Sequence[Sample], classes: Sequence[str], root: str) -> None:
    counts = [0] * len(classes)
    for sample in samples:
        counts[sample.label] += 1
    if sum(count > 0 for count in counts) < 2:
        found = describe_counts(classes, counts) if classes else "none"
        raise DataError(
            [
                Fault(
                    "data.root",
                    root,
                    f"must hold images of at least two classes, but the classes found are: {found}",
                    fix="give each class a folder of its own that holds images",
                )
            ]
        )
    empty = [shown(name) for name, count in zip(classes, counts, strict=True) if not count]
    if empty:
        more = f" and {len(empty) - _NUM_NAMED} more" if len(empty) > _NUM_NAMED else ""
        rule = f"has classes without an image: {', '.join(empty[:_NUM_NAMED])}{more}"
        fix = "put images into their folders, or remove these"
        raise DataError([Fault("data.root", root, rule, fix=fix)])


def _largest_balanced(left: Sequence[int]) -> int:
    """The largest count whose balanced shares fit into what is left."""
    smallest = min(left)
    # The first classes may have one more, up to the first that has none to spare.
    extra = next((label for label, have in enumerate(left) if have == smallest), 0)
    return smallest * len(left) + extra
