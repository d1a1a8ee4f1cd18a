"""What Hydra and OmegaConf refuse, as faults: which override, what must hold, what there is."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import BooleanNode, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_sweep.faults import Fault, UserError
from resnet_sweep.outcome import Typed

Compose = Callable[[list[str]], DictConfig]

# What Hydra and OmegaConf raise for what somebody has typed; a group that is set to a number is
# a ValueError, brackets within thousands of brackets are too deep for the grammar, and a package
# without a group, +@a=b, meets an assertion.
REFUSED = (
    *(UserError, HydraException, OmegaConfBaseException),
    *(ValueError, RecursionError, AssertionError),
)

_QUOTES = (
    "values with spaces, commas, brackets, quotes, = or ~ need quotes of their own: "
    "\"data.root='my cats (1)'\""
)
_NO_SETTING = "is no setting"
_DID_YOU_MEAN = "did you mean"
# Of no group.
_NO_CHOICE = "no_such_choice"
_MAX_FAULTS = 20
_MAX_CHOICES = 12

# Words of OmegaConf, and what they mean to somebody who types a value.
_RULES = (
    (r"is not a valid bool", "must be true or false"),
    (r"could not be converted to Integer", "must be a whole number"),
    (r"could not be converted to Float", "must be a number"),
    (r"could not be converted to String|Cannot convert '\w+' to string", "must be a text"),
    (r"type hint 'Optional\[Union\[int, str\]\]'", "must be a whole number, a text or null"),
    (r"type hint 'Union\[int, str\]'", "must be a whole number or a text"),
    (r"is not Optional", "must not be null"),
    (r"Cannot assign \w+ to Dict", "must be a mapping: {key: value}"),
    (r"Cannot assign \w+ to List", "must be a list: [value, value]"),
    (r"Cannot merge incompatible container types", "must be a mapping: {key: value}"),
    (r"does not support deletion", "cannot be left out; type another value"),
    (r"Recursive interpolation", "refers to itself"),
    (r"Exceeds the limit \(\d+ digits\)", "has too many digits"),
    (r"Config group override must be", "must be the name of a choice, or a list of names"),
)
# Launchers that our pages name, and what has them.
_LAUNCHERS = {
    **dict.fromkeys(("ray", "ray_aws"), "'resnet-sweep[ray]'"),
    **dict.fromkeys(("submitit_local", "submitit_slurm"), "'resnet-sweep[submitit]'"),
    "joblib": "hydra-joblib-launcher",
}

_SWEPT = re.compile(
    r"Ambiguous value for argument '(.*)'\n1\. |Sweep parameters '(.*)' requires --multirun",
    re.DOTALL,
)
_NOT_FOUND = re.compile(r"Interpolation key '(.*)' not found")
_ENVIRONMENT = re.compile(r"Environment variable '(.*)' not found")


def faults_of(error: BaseException, override: str = "") -> list[Fault]:
    """What is wrong, of an error that somebody's command or configuration has caused.

    Args:
        error: What was raised, one of ``REFUSED``.
        override: The one that it was raised for; empty if that is not known.
    """
    if isinstance(error, UserError):
        return list(error.faults)
    override = override or _override_in(error)
    key, equals, value = override.partition("=")
    key = key.lstrip("+")
    if (override and not (key and equals)) or key.startswith("~"):
        key, value = "override", override
    if isinstance(error, OverrideParseException):
        reason = _grammar(error)
        fix = "" if reason == "has too many digits" else _QUOTES
        return [Fault(key or "override", value or "''", reason, fix=fix)]
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return [_missing_choice(error)]
    if isinstance(error, RecursionError):
        return [Fault(key or "override", value, "is nested too deeply")]
    if isinstance(error, AssertionError):
        return [Fault(key or "override", value, "is no override that Hydra knows")]
    if _SWEPT.match(str(error)):
        return [_swept(key, value)]
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, OmegaConfBaseException):
        return [_typed_wrongly(cause, error, key, value)]
    if not key:
        return [Fault("overrides", "all of them", one_line(error))]
    return [Fault(key, value, _in_words(one_line(error)))]


def all_faults(error: Exception, overrides: Sequence[str], compose: Compose) -> list[Fault]:
    """Everything that is wrong with a command, of which Hydra tells the first thing only.

    What is refused is left out, and the rest is composed again, until nothing is refused.

    Args:
        error: What was raised for all overrides together.
        overrides: As typed.
        compose: Composes overrides, and raises what is wrong with them.
    """
    faults, left = _not_readable(overrides)
    found: Exception | None = _refusal(compose, left) if faults else error
    groups: list[str] = []
    while found is not None and len(faults) < _MAX_FAULTS:
        culprit, found = _culprit(found, left, compose)
        new = faults_of(found, culprit or "")
        # A setting of a group whose choice was refused belongs to a choice that nobody knows.
        faults += [one for one in new if not any(one.key.startswith(f"{g}.") for g in groups)]
        if culprit is None:
            break
        left.remove(culprit)
        groups.append(culprit.partition("=")[0].lstrip("+~").replace("/", "."))
        found = _refusal(compose, left)
    return [with_owners(one, compose) for one in {str(one): one for one in faults}.values()]


def with_owners(fault: Fault, compose: Compose) -> Fault:
    """The fault of a setting that is not there, with the other choices of its group that have it.

    Args:
        fault: Of whatever rule; only one of a setting is changed.
        compose: Composes overrides, and raises what is wrong with them.
    """
    is_known = fault.rule != _NO_SETTING or fault.fix.startswith(_DID_YOU_MEAN)
    groups = [] if is_known else fault.key.split(".")[:-1]
    for depth in range(len(groups), 0, -1):
        owners = _owners("/".join(groups[:depth]), fault.key, compose)
        if owners:
            fix = f"{', '.join(owners)} {'has' if len(owners) == 1 else 'have'} it"
            return replace(fault, choices=(), fix=fix)
    return fault


def loose_booleans(cfg: DictConfig) -> list[Fault]:
    """Faults of switches that are set to a number: OmegaConf takes 3 for true.

    Args:
        cfg: Composed, with Hydra's part, which has the overrides.
    """
    # As typed: what ${...} stands for may not be there.
    typed = OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
    assert isinstance(typed, list)
    faults = []
    for override in OverridesParser.create().parse_overrides(list(map(str, typed))):
        if override.is_delete() or override.is_sweep_override():
            continue
        key, value = override.key_or_group, override.value()
        if isinstance(value, bool) or not isinstance(value, int) or value in (0, 1):
            continue
        parent = OmegaConf.select(cfg, key.rpartition(".")[0]) if "." in key else cfg
        if isinstance(parent, DictConfig) and isinstance(
            parent._get_node(key.rpartition(".")[2]), BooleanNode
        ):
            faults.append(Fault(key, value, "must be true or false"))
    return faults


def one_line(error: BaseException) -> str:
    """Hydra's message in one line, without the search path, and OmegaConf's reason with it."""
    texts = [str(error).partition("\nConfig search path")[0]]
    if error.__cause__ is not None and str(error.__cause__) not in texts[0]:
        texts.append(str(error.__cause__))
    noise = ("reference_type=", "object_type=", "full_key:")
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(noise))


def rule_of(error: OmegaConfBaseException) -> str:
    """What must hold, of an error of OmegaConf about a value."""
    text = str(error.msg or error).partition("\n    full_key:")[0].strip()
    for found, words in ((_ENVIRONMENT, "the environment variable {}"), (_NOT_FOUND, "{}")):
        match = found.search(text)
        if match is not None:
            return f"refers to {words.format(match[1])}, which is not there"
    return _in_words(text)


def _in_words(text: str) -> str:
    """What a message means; as it is, if that is not known."""
    for pattern, rule in _RULES:
        if re.search(pattern, text):
            return rule
    return " ".join(text.split())


def _typed_wrongly(
    cause: OmegaConfBaseException, error: BaseException, key: str, value: object
) -> Fault:
    if str(error).startswith("Could not override"):
        return _unknown_key(cause, key, value)
    name = cause.full_key or (None if cause.key is None else str(cause.key))
    return Fault(key or name or "overrides", value if key else cause.value, rule_of(cause))


def _unknown_key(cause: OmegaConfBaseException, key: str, value: object) -> Fault:
    """A key that is nowhere, with those that stand where it was looked for."""
    parent = cause.parent_node
    full = str(cause.full_key or key)
    above = full.rpartition(".")[0]
    names = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
    names = [name for name in names if above or name != "hydra"]
    near = difflib.get_close_matches(full.rpartition(".")[2], names, n=1)
    dotted = [f"{above}.{name}" if above else name for name in names]
    choices = () if near or len(names) > _MAX_CHOICES else tuple(dotted)
    fix = f"{_DID_YOU_MEAN} {dotted[names.index(near[0])]}?" if near else ""
    if not fix and cause.object_type is dict:
        fix = f"type +{key}=... to add it"
    return Fault(key, value, _NO_SETTING, choices, fix)


def _owners(group: str, key: str, compose: Compose) -> list[str]:
    """Choices of a group that have a key, as they are typed."""
    # Hydra names the choices to whom it refuses one.
    refused = _refusal(compose, [f"{group}={_NO_CHOICE}"])
    options = refused.options if isinstance(refused, MissingConfigException) else None
    owners = []
    for option in options or ():
        above, _, name = key.rpartition(".")
        try:
            parent = OmegaConf.select(compose([f"{group}={option}"]), above)
        except REFUSED:
            continue
        if isinstance(parent, DictConfig) and name in list(parent):
            owners.append(f"{group}={option}")
    return owners


def _swept(key: str, value: str) -> Fault:
    """Several values for one run."""
    fix = f"type -m for one: {shlex.join([*Typed.program, '-m'])} ..."
    if "." in key and "(" not in value:
        fix += f", or [{value}] where a list is meant"
    return Fault(key, value, "several values make a sweep", fix=fix)


def _missing_choice(error: MissingConfigException) -> Fault:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if not group:
        return Fault("--config-name", name, one_line(error))
    if group == "hydra/launcher" and name in _LAUNCHERS:
        return Fault(group, name, "is not installed", fix=f"pip install {_LAUNCHERS[name]}")
    return Fault(group, name, "is not known", tuple(error.options or ()))


def _grammar(error: OverrideParseException) -> str:
    """Why an override cannot be read, in one line."""
    noise = ("Error when parsing index", "Error parsing override", "See https://")
    lines = [line for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(noise)]
    if len(kept) == 2 and kept[1].strip() == "^":
        before = len("LexerNoViableAltException: ")
        return f"cannot be read from {error.override[kept[1].index('^') - before :]!r} on"
    reason = " ".join(line.strip() for line in kept).partition(" expecting ")[0]
    if _in_words(reason) != reason:
        return _in_words(reason)
    return f"cannot be read: {reason}" if reason else "cannot be read"


def _override_in(error: BaseException) -> str:
    """The override that a message of Hydra names."""
    if isinstance(error, OverrideParseException):
        return error.override
    text = str(error)
    swept = _SWEPT.match(text)
    if swept is not None:
        return swept[1] or swept[2]
    match = re.match(r"Error merging override (.*)", text, re.DOTALL)
    if match is None:
        match = re.search(r"To append to your config use \+(.*)", text, re.DOTALL)
    return "" if match is None else match[1]


def _not_readable(overrides: Iterable[str]) -> tuple[list[Fault], list[str]]:
    """Faults of overrides that do not follow the grammar, and the others."""
    parser = OverridesParser.create()
    faults: list[Fault] = []
    left = []
    for text in overrides:
        try:
            parser.parse_overrides([text])
        except REFUSED as error:
            faults += faults_of(error, text)
        else:
            left.append(text)
    return faults, left


def _refusal(compose: Compose, overrides: list[str]) -> Exception | None:
    try:
        compose(overrides)
    except REFUSED as error:
        return error
    return None


def _culprit(
    error: Exception, overrides: Sequence[str], compose: Compose
) -> tuple[str | None, Exception]:
    """An override that is refused, and with which error; None if it is none of them."""
    named = _override_in(error)
    if named in overrides:
        return named, error
    # The first with which it cannot be composed.
    low, high = 0, len(overrides)
    refusal = _refusal(compose, [])
    if refusal is not None or not overrides:
        return None, refusal or error
    while high - low > 1:
        middle = (low + high) // 2
        refusal = _refusal(compose, list(overrides[:middle]))
        if refusal is None:
            low = middle
        else:
            high, error = middle, refusal
    return overrides[high - 1], error
