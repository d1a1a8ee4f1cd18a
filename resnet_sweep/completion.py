"""Completion of ``resnet-sweep``: what bash, zsh and fish run, and the answers to what they ask.

Hydra finds the candidates. Its scripts are not used: that of bash has every candidate evaluated
by the shell, a value that a file of somebody else has given as well, and all of them complete
``python`` where the program was started as ``python -m resnet_sweep``.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress

from hydra._internal.core_plugins.zsh_completion import ZshCompletion
from hydra._internal.utils import get_args

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.models.allow import take_allow
from resnet_sweep.refusals import REFUSED

_OPTIONS = ("-sc", "--shell-completion")
# Whatever is no candidate is completed as a path. bash replaces only what is behind the last
# of its word breaks, = and : among them, so the rest is cut off; it is an old bash on macOS.
_BASH = """\
_resnet_sweep() {
    local line=${COMP_LINE:0:COMP_POINT} found
    local word=${line##*[[:space:]]}
    local kept=${word%"${word##*["$COMP_WORDBREAKS"]}"}
    COMPREPLY=()
    while IFS= read -r found; do
        COMPREPLY+=("${found#"$kept"}")
    done < <(COMP_LINE=$line "$1" -sc query=bash 2>/dev/null)
}
complete -o nospace -o default -F _resnet_sweep resnet-sweep
"""
_ZSH = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_resnet_sweep() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    local -a found
    found=(${(f)"$(COMP_LINE=$line ${(Q)words[1]} -sc query=zsh 2>/dev/null)"})
    if (( $#found )); then
        compadd -S '' -- $found
    else
        compset -P '*='
        _files
    fi
}
compdef _resnet_sweep resnet-sweep
"""
_FISH = """\
function __resnet_sweep
    set -lx COMP_LINE (commandline -cp)
    set -l program (commandline -cpo)[1]
    set -l found ($program -sc query=fish 2>/dev/null)
    if set -q found[1]
        printf '%s\\n' $found
    else
        set -l key (string match -r '^[^=]*=' -- (commandline -ct))
        for path in (__fish_complete_path (string replace -- "$key" '' (commandline -ct)))
            echo "$key$path"
        end
    end
end
complete -c resnet-sweep -f -a '(__resnet_sweep)'
"""
SCRIPTS = {
    "install": {"bash": _BASH, "zsh": _ZSH, "fish": _FISH},
    "uninstall": {
        "bash": "complete -r resnet-sweep\nunset -f _resnet_sweep\n",
        "zsh": "compdef -d resnet-sweep\nunfunction _resnet_sweep\n",
        "fish": "complete -e -c resnet-sweep\nfunctions -e __resnet_sweep\n",
    },
}
# A list of values without quotes and brackets: its name, those that are done, the one begun.
_LIST = re.compile(r"""([^=]+=)((?:[^,()\[\]{}'"]+,)+)([^,()\[\]{}'"]*)""")
# A shell would do something with anything else when the line is run.
_PLAIN = re.compile(r"[\w@%+=:,./~-]+", re.ASCII)
# The shell itself completes these, with what its user is used to.
_PATH = re.compile(r"[^=]+=[./~]")


def is_asked(arguments: Sequence[str]) -> bool:
    """Whether a command is about completion.

    Args:
        arguments: Without the program's name.
    """
    return any(one in _OPTIONS for one in arguments)


def correct_help() -> None:
    """Lets ``--hydra-help`` name the script of zsh, where Hydra has zsh run that of bash."""
    ZshCompletion.help = staticmethod(  # type: ignore[method-assign]
        lambda command: f'eval "$({{}} -sc {command}=zsh)"'
    )


def answer(arguments: Sequence[str], run_hydra: Callable[[], None]) -> None:
    """Prints a shell's script, or the candidates for the line that it has in COMP_LINE.

    Args:
        arguments: Of the command; ``is_asked`` says that it is about completion.
        run_hydra: Runs Hydra with ``sys.argv``.

    Raises:
        ConfigError: It is none of what a shell or a person asks.
    """
    at = next(i for i, one in enumerate(arguments) if one in _OPTIONS)
    action, _, shell = " ".join(arguments[at + 1 :]).partition("=")
    scripts = SCRIPTS.get("install" if action == "query" else action, {})
    if shell not in scripts:
        choices = tuple(f"{one}={other}" for one in SCRIPTS for other in SCRIPTS[one])
        key = f"{arguments[at]} {action}".strip()
        raise ConfigError([Fault(key, shell, "is not known", choices)])
    if action != "query":
        print(scripts[shell], end="")
        return
    for candidate in _candidates(os.environ.get("COMP_LINE", ""), run_hydra):
        print(candidate)


def _candidates(line: str, run_hydra: Callable[[], None]) -> Iterator[str]:
    """What the last word of a line can become; nothing where the line is faulty.

    It is being typed, so faults are to be expected, and are told when the command is run.
    """
    try:
        words = shlex.split(line)[1:]
        words += [""] if not words or line[-1].isspace() else []
        typed = get_args(take_allow(words))
    except (ConfigError, ValueError, SystemExit):
        return
    if not typed.overrides or typed.overrides[-1] != words[-1]:
        return  # The value of an option.
    if _PATH.match(words[-1]):
        return
    found = _LIST.fullmatch(words[-1])
    name, done, begun = found.groups() if found else ("", "", words[-1])
    # Hydra splits at spaces, whatever quotes are around them.
    known = [word for word in typed.overrides[:-1] if not re.search(r"\s", word)]
    options = [
        f"--{option}={value}"
        for option in ("config-path", "config-name", "config-dir")
        if (value := getattr(typed, option.replace("-", "_"))) is not None
    ]
    os.environ["COMP_LINE"] = " ".join(["resnet-sweep", "--multirun", *known, name + begun])
    sys.argv[1:] = [_OPTIONS[0], "query=fish", *options]
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(*REFUSED):
        run_hydra()
    for candidate in printed.getvalue().splitlines():
        value = candidate.removeprefix(name)
        if _PLAIN.fullmatch(candidate) and value not in done.split(","):
            yield f"{name}{done}{value}"
