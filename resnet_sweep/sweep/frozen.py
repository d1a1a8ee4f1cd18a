"""The config sources of a study, copied at its first start: later edits do not reach it."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

from hydra.core.config_loader import ConfigLoader

from resnet_sweep.study.folder import StudyFolder

_FILE, _PACKAGE = "file://", "pkg://"
# What Hydra and its plugins bring along belongs to their versions, not to the study.
_PROVIDERS = ("main", "command-line")
_SUFFIXES = (".yaml", ".yml")


def freeze(loader: ConfigLoader, folder: StudyFolder, *, is_new: bool) -> None:
    """Copies all config files of the application into the study; whole or not at all.

    Args:
        loader: Of the application.
        folder: The study's.
        is_new: The study begins now; copies of a start that came to nothing are not its own.
    """
    if is_new:
        thaw(folder)
    if folder.conf.exists():
        return
    temporary = folder.path / ".conf.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for index, source in _sources(loader):
        for path in _config_files(source):
            target = temporary / str(index) / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    temporary.rename(folder.conf)


def thaw(folder: StudyFolder) -> None:
    """Removes the copies."""
    if not holds_other_conf(folder):
        shutil.rmtree(folder.conf, ignore_errors=True)


def holds_other_conf(folder: StudyFolder) -> bool:
    """Whether what has the name of the copies is something else, an application's own config."""
    if not folder.conf.is_dir():
        return folder.conf.exists()
    return not all(path.name.isdigit() and path.is_dir() for path in folder.conf.iterdir())


def frozen_loader(loader: ConfigLoader, folder: StudyFolder) -> ConfigLoader:
    """A loader that composes from the study's copies.

    Config sources that ``hydra.searchpath`` adds are not copied, and read where they are.
    """
    from copy import deepcopy

    search_path = deepcopy(loader.get_search_path())
    for index, _ in _sources(loader):
        search_path.get_path()[index].path = f"{_FILE}{folder.conf / str(index)}"
    # The abstract class has no constructor; Hydra's own and those that wrap it take the path.
    return type(loader)(config_search_path=search_path)  # type: ignore[call-arg]


def changed_sources(loader: ConfigLoader, folder: StudyFolder) -> list[str]:
    """Config files that differ from the study's copies, as paths below their source."""
    changed = []
    for index, source in _sources(loader):
        copies = folder.conf / str(index)
        names = {
            path.relative_to(root) for root in (source, copies) for path in _config_files(root)
        }
        for name in sorted(names):
            now, then = source / name, copies / name
            if not (now.exists() and then.exists() and filecmp.cmp(now, then, shallow=False)):
                changed.append(str(name))
    return changed


def _sources(loader: ConfigLoader) -> Iterator[tuple[int, Path]]:
    """The application's own entries of the search path, with their position in it."""
    for index, element in enumerate(loader.get_search_path().get_path()):
        if element.provider not in _PROVIDERS or element.path is None:
            continue
        path = _folder_of(element.path)
        if path is not None and path.is_dir():
            yield index, path


def _folder_of(source: str) -> Path | None:
    if source.startswith(_PACKAGE):
        try:
            with as_file(files(source.removeprefix(_PACKAGE).replace("/", "."))) as path:
                return path
        except (ModuleNotFoundError, TypeError):
            return None
    return None if "://" in source.removeprefix(_FILE) else Path(source.removeprefix(_FILE))


def _config_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES)
