"""Passwords of storages: they come from the environment, and are written nowhere."""

from __future__ import annotations

import re
from urllib.parse import unquote

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.study.storages.patience import KEY

_SECRETS = "password|passwd|sslpassword"
_USER_PASSWORD = re.compile(r"(://[^:/@?]*):(.*)@")
_QUERY_PASSWORD = re.compile(rf"([?&](?:{_SECRETS})=)([^&]*)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{\s*oc\.env\s*:\s*['\"]?([^,}'\"\s]+)[^}]*\}")


def masked(url: str) -> str:
    """The URL with stars in the place of passwords."""
    url = _USER_PASSWORD.sub(r"\1:***@", url)
    return _QUERY_PASSWORD.sub(r"\1***", url)


def passwords(url: str) -> list[str]:
    """The passwords in a URL, as they are written there and as they are meant."""
    found = [match[2] for match in _USER_PASSWORD.finditer(url)]
    found += [match[2] for match in _QUERY_PASSWORD.finditer(url)]
    return [form for one in found if one for form in {one, unquote(one)}]


def without_passwords(text: str, url: str) -> str:
    """A message about a storage, with stars in the place of the URL's passwords."""
    for password in sorted(passwords(url), key=len, reverse=True):
        text = text.replace(password, "***")
    return text


def kept_url(written: str | None, meant: str | None) -> str | None:
    """What stands for a storage in files, in workers and in messages.

    Args:
        written: As the configuration has it, ``${...}`` unresolved.
        meant: The same resolved.

    Returns:
        ``meant``; where it has a password that comes from the environment, ``written``.
    """
    if written is None or meant is None or not passwords(meant):
        return meant
    literal = _VARIABLE.sub("", written)
    is_elsewhere = "${" in literal or any(one in literal for one in passwords(meant))
    return meant if is_elsewhere else written


def resolved_url(url: str) -> str:
    """The URL with what its ``${oc.env:...}`` stand for here.

    Raises:
        ConfigError: A variable is not set, or there is more in it than one.
    """
    if "${" not in url:
        return url
    if _VARIABLE.fullmatch(url) is None:
        # Who wrote the rest of it, a stranger perhaps, would be sent what the variable holds.
        rule = "must be one variable as a whole, or none"
        fix = "put the whole URL into a variable: '${oc.env:STUDY_URL}'"
        raise ConfigError([Fault(KEY, masked(url), rule, fix=fix)])
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    names = _VARIABLE.findall(url)
    try:
        return str(OmegaConf.create({"url": url}).url)
    except OmegaConfBaseException as error:
        raise ConfigError([_not_resolved(url, names, error)]) from None


def password_faults(url: str) -> list[Fault]:
    """The fault of a URL that has its password written in it."""
    if not passwords(_VARIABLE.sub("", url)):
        return []
    rule = (
        "has a password in it, which would be read in the study's files and in the list of"
        " processes"
    )
    fix = "put the whole URL into a variable and type hydra.sweeper.storage='${oc.env:STUDY_URL}'"
    if url.startswith("postgresql"):
        fix = f"leave it out and set PGPASSWORD or a line in ~/.pgpass; or {fix}"
    return [Fault(KEY, masked(url), rule, fix=fix)]


def _not_resolved(url: str, names: list[str], error: Exception) -> Fault:
    import os

    missing = [name for name in names if name not in os.environ]
    if not missing:
        reason = str(error).splitlines()[0]
        return Fault(KEY, masked(url), f"cannot be resolved: {reason}")
    named = " and ".join(missing)
    plural = "s" if len(missing) > 1 else ""
    rule = f"needs the environment variable{plural} {named}, not set in this process"
    return Fault(KEY, masked(url), rule, fix=f"set {named} for all that open the study")
