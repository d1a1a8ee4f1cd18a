"""Whether a trial has the images that the other trials of its study have; loads no numpy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from resnet_sweep.data.config import SETTINGS, DataConfig
from resnet_sweep.faults import DataError, Fault

if TYPE_CHECKING:
    from resnet_sweep.data.dataset import ImageData

# Given a key and a value it returns the value that a study has kept under the key: the first that
# was given and not None.
Agree = Callable[[str, Any], Any]

_COUNTS = {
    "num_classes": "classes",
    "num_train_images": "training images",
    "num_val_images": "validation images",
    "num_test_images": "test images",
}
_PLACES = ("root", "val_root")
_FIX = (
    "bring the old images back and give the same command again, or start a new study: "
    "hydra.sweeper.resume=never, or another hydra.sweeper.study_name"
)


class ChangedDataError(DataError):
    """The images are not those that the study's other trials had."""

    def __str__(self) -> str:
        return str(self.faults[0])


def check_same(
    config: DataConfig, data: ImageData, agree: Agree, fixed: Collection[str] = ()
) -> None:
    """Refuses images that are not those of the first trial with the same settings of the data.

    Args:
        config: The data group.
        data: What was opened for it.
        agree: Keeps the first trial's facts.
        fixed: Keys that were typed with one value for the whole study. Of ``data.root`` and
            ``data.val_root`` among them it makes no difference where they lead; of others a
            trial may have its own images.

    Raises:
        ChangedDataError: They are others.
    """
    places = {key: getattr(config, key, None) for key in _PLACES if f"data.{key}" not in fixed}
    source = json.dumps([config.name, places], sort_keys=True)
    # First of all files: a study that sweeps the size of the images has none of that size yet.
    is_same = agree(_named("files", source), data.listing) == data.listing
    settings = json.dumps([source, {name: getattr(config, name) for name in SETTINGS}])
    found = _facts_of(data)
    kept = agree(_named("data", settings), found if is_same else None)
    if kept == found:
        return
    if kept is None:
        difference = "files were added, removed, renamed or replaced since"
    else:
        hashes = f"they hash to {found['data_hash']}, the study's to {kept.get('data_hash')}"
        difference = f"{_difference(kept, found)}; {hashes}"
    root = getattr(config, "root", None)
    key, value = ("data", config.name) if root is None else ("data.root", root)
    rule = f"these are not the images of the study's first trial: {difference}"
    raise ChangedDataError([Fault(key, value, rule, fix=_FIX)])


def _named(kind: str, text: str) -> str:
    return f"{kind} {hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _facts_of(data: ImageData) -> dict[str, Any]:
    splits = [split for split in (data.train, data.val, data.test) if split is not None]
    names = json.dumps([split.names for split in splits])
    return {
        "data_hash": data.content,
        "names_hash": hashlib.sha256(names.encode()).hexdigest()[:16],
        "num_classes": len(data.classes),
        "num_train_images": len(data.train),
        "num_val_images": len(data.val),
        "num_test_images": 0 if data.test is None else len(data.test),
    }


def _difference(kept: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """What has changed, as far as that is known."""
    counts = [
        f"{found[name]} {what}, not {kept.get(name)}"
        for name, what in _COUNTS.items()
        if found[name] != kept.get(name)
    ]
    if counts:
        return " and ".join(counts)
    if kept.get("names_hash") != found["names_hash"]:
        return "files were added, removed or renamed"
    # JPEGs leave the last bit of a pixel to whoever decodes them.
    return "files of the same names have other contents, or another Pillow has decoded them"
