"""``python -m resnet_sweep.summary``: the layer table of any network that can be configured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_sweep.faults import ConfigError, Fault, UserError
from resnet_sweep.models.allow import take_allow
from resnet_sweep.outcome import ExitCode, leave_quietly

if TYPE_CHECKING:
    from resnet_sweep.config import Config

# Neither Hydra nor torch up here: help and mistyped options answer at once.

USAGE = """\
usage: python -m resnet_sweep.summary [OVERRIDE ...] [--config-dir DIR] [--allow MODULE]

Prints the layers of a network with output shapes, parameters and multiply-adds.
Nothing is trained, and no images are needed.

  OVERRIDE          as for training: model=plain50 model.num_classes=10 data.image_size=64
  --config-dir DIR  folder with more choices, such as DIR/model/mine.yaml
  --allow MODULE    model._target_ may name networks in MODULE; may be repeated
  -h, --help        this text
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        Exit code: 0, or 2 when the arguments or the configuration are refused.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if "-h" in arguments or "--help" in arguments:
        print(USAGE, end="")
        return 0
    try:
        folder, overrides = _take_config_dir(take_allow(arguments))
        print(table_of(overrides, folder))
    except BrokenPipeError:
        pass  # See leave_quietly.
    except UserError as error:
        print(error, file=sys.stderr)
        return ExitCode.BAD_CONFIG
    finally:
        leave_quietly()
    return ExitCode.ALL_ENDED


def table_of(overrides: list[str], folder: str | None = None) -> str:
    """Composes a configuration and describes its network.

    Args:
        overrides: Hydra's overrides, as they are typed on the command line.
        folder: One more folder of config groups, or None.

    Returns:
        One line that names the network, and its layer table.

    Raises:
        ConfigError: The overrides do not compose, the configuration breaks a rule, or its
            network cannot be built or does not fit its data.
    """
    config = _compose(overrides, folder)
    from resnet_sweep.config import check_config
    from resnet_sweep.data import num_classes_of

    data = config.data
    # No image is read here, so it does not matter where they are.
    faults = [fault for fault in check_config(config) if not fault.key.startswith("data.root")]
    num_classes = config.model.num_classes or num_classes_of(data)
    if num_classes is None:
        fix = "type model.num_classes=N"
        faults.append(Fault("model.num_classes", None, "cannot be taken from the data", fix=fix))
    if faults:
        raise ConfigError(faults)
    assert num_classes is not None
    # Late, so that refusals above do not wait for torch.
    from resnet_sweep.models.build import build_model
    from resnet_sweep.models.resnet import describe
    from resnet_sweep.models.summary import layer_table

    model = build_model(config.model, num_classes, data.channels, data.image_size)
    shape = (data.channels, data.image_size, data.image_size)
    size = "x".join(map(str, shape))
    line = f"{describe(model)}, input {size}, {num_classes} classes"
    return f"{line}\n{layer_table(model, shape)}"


def _compose(overrides: list[str], folder: str | None) -> Config:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from resnet_sweep.config import register_schema, to_config
    from resnet_sweep.paths import config_dir

    register_schema()
    if folder is not None:
        # Quoted, because paths may hold what Hydra's grammar gives a meaning to.
        path = str(Path(folder).expanduser().resolve()).replace("'", "\\'")
        overrides = [*overrides, f"hydra.searchpath=['file://{path}']"]
    try:
        with initialize_config_dir(config_dir=str(config_dir())):
            return to_config(compose("config", overrides=overrides))
    except (HydraException, OmegaConfBaseException) as error:
        typed = " ".join(overrides) or "none"
        raise ConfigError([Fault("overrides", typed, _reason(error))]) from error


def _reason(error: Exception) -> str:
    # Hydra says which override it was, and its cause what is wrong with it.
    text = f"{error}\n{error.__cause__ or ''}"
    noise = ("reference_type=", "object_type=")
    lines = [line for line in text.splitlines() if not line.strip().startswith(noise)]
    return "\n".join(line for line in lines if line.strip())


def _take_config_dir(argv: list[str]) -> tuple[str | None, list[str]]:
    """Takes ``--config-dir`` out of the arguments; refuses any other option."""
    folder: str | None = None
    rest: list[str] = []
    faults: list[Fault] = []
    arguments = iter(argv)
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option in ("--config-dir", "-cd"):
            folder = value if equals else next(arguments, "")
            if not Path(folder).expanduser().is_dir() or not folder:
                faults.append(Fault("--config-dir", folder, "is not a folder"))
        elif argument.startswith("-"):
            choices = ("--config-dir DIR", "--allow MODULE", "--help")
            faults.append(Fault("option", argument, "is not known", choices))
        else:
            rest.append(argument)
    if faults:
        raise ConfigError(faults)
    return folder, rest


if __name__ == "__main__":
    sys.exit(main())
