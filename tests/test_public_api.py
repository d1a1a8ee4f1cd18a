"""What others build on says what it takes, gives and raises."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

import resnet_sweep
from resnet_sweep import models, sweep
from resnet_sweep.sweep.launcher import LocalLauncher
from resnet_sweep.sweep.slurm.launcher import SlurmLauncher
from resnet_sweep.sweep.sweeper import StudySweeper
from resnet_sweep.sweep.task import Task

# Named in configurations, or written by who has an application of his own.
NAMED = (StudySweeper, LocalLauncher, SlurmLauncher, Task)
Function = Callable[..., Any]


def public() -> Iterator[tuple[str, Function]]:
    """Every function and method of ours, by its name."""
    exported = [
        getattr(home, name) for home in (resnet_sweep, models, sweep) for name in home.__all__
    ]
    for one in {id(one): one for one in (*exported, *NAMED)}.values():
        if inspect.isclass(one):
            for name, member in vars(one).items():
                # What a class takes stands with the class or with its __init__.
                if inspect.isfunction(member) and (name == "__call__" or name[0] != "_"):
                    yield f"{one.__name__}.{name}", member
            if one is not Task:
                yield one.__name__, one
        elif callable(one):
            yield one.__name__, one


PUBLIC = dict(public())


def section(function: Function, name: str) -> str:
    """A section of a docstring in Google's style, empty where there is none."""
    text = inspect.getdoc(function) or ""
    found = re.search(rf"^{name}:\n((?:(?: .*)?\n?)*)", text, flags=re.MULTILINE)
    return textwrap.dedent(found[1]) if found else ""


def raised_in(function: Function) -> set[str]:
    """Exceptions that a function raises by name; those of what it calls are not looked for."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    named = [one.func if isinstance(one, ast.Call) else one for one in raised]
    return {one.id for one in named if isinstance(one, ast.Name)}


def test_the_walk_finds_what_the_pages_name():
    assert {"build_resnet", "load_results", "load_history", "current_trial"} <= PUBLIC.keys()
    assert {"Task.check", "Task.__call__", "StudySweeper.sweep", "ResNet"} <= PUBLIC.keys()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_return_and_exception_is_told(name: str):
    function = PUBLIC[name]
    takes = cast(Function, function.__init__) if inspect.isclass(function) else function
    told = section(function, "Args") or section(takes, "Args")
    for parameter in inspect.signature(takes).parameters.values():
        if parameter.name != "self" and takes is not object.__init__:
            stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
            shown = stars.get(parameter.kind, "") + parameter.name
            assert re.search(rf"^{re.escape(shown)}: \S", told, flags=re.MULTILINE), shown
    if inspect.isclass(function):
        return
    returns = inspect.signature(function).return_annotation
    assert (returns in ("None", None)) != bool(section(function, "Returns")), returns
    raises = section(function, "Raises")
    for error in raised_in(function):
        assert re.search(rf"^(\w+\.)?{error}: \S", raises, flags=re.MULTILINE), error
