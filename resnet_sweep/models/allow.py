"""The option ``--allow MODULE`` of our commands, without torch."""

from __future__ import annotations

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.models.config import allow

_OPTION = "--allow"


def take_allow(argv: list[str]) -> list[str]:
    """Takes ``--allow MODULE`` and ``--allow=MODULE`` out of the arguments, for Hydra.

    The modules are added to the environment variable as well, so that processes started later
    have them.

    Args:
        argv: Arguments of the command line, without the program's name.

    Returns:
        The arguments that are left, in their order.

    Raises:
        ConfigError: An option has no value, or one that is not the dotted name of a module.
    """
    rest: list[str] = []
    modules: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        if argument == _OPTION:
            modules.append(next(arguments, ""))
        elif argument.startswith(f"{_OPTION}="):
            modules.append(argument.removeprefix(f"{_OPTION}="))
        else:
            rest.append(argument)
    faults = [
        Fault(_OPTION, module, "must be the dotted name of a module", fix="type --allow MODULE")
        for module in modules
        if not all(part.isidentifier() for part in module.split("."))
    ]
    if faults:
        raise ConfigError(faults)
    if modules:
        allow(modules)
    return rest
