"""What a configuration on disk may not find out: the environment of who reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import OmegaConf
from omegaconf.resolvers import oc

_NAME = "oc.env"


@contextmanager
def environment_withheld() -> Iterator[None]:
    """While entered, ${oc.env:NAME} stays as it is written.

    A stranger's study could name a variable that holds a secret, and its report, with the
    secret in it, may be sent back. The value would not be that of the run's own process either.
    """
    OmegaConf.register_resolver(_NAME, _as_written, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_resolver(_NAME, oc.env, annotation_validation="off", replace=True)


def _as_written(*arguments: object) -> str:
    texts = ("null" if one is None else str(one) for one in arguments)
    return f"${{{_NAME}:{','.join(texts)}}}"
