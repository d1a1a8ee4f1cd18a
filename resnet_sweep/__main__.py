"""Entrypoint: ``python -m resnet_sweep`` or ``resnet-sweep``, with ``-m`` for a sweep."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from resnet_sweep.app import run_trial
from resnet_sweep.command import Command, check_shown, take_trusted
from resnet_sweep.completion import answer, correct_help, is_asked
from resnet_sweep.config import register_schema
from resnet_sweep.faults import ConfigError, UserError
from resnet_sweep.outcome import ExitCode, Typed, Verdict, leave_quietly
from resnet_sweep.paths import config_dir
from resnet_sweep.refusals import REFUSED, faults_of
from resnet_sweep.started import started_as
from resnet_sweep.training.environment import versions
from resnet_sweep.training.failures import Stopped
from resnet_sweep.trusted import execution_whitelist, guard_plugins

# With it Hydra raises what it would otherwise print with a traceback and exit code 1.
_RAISE_VARIABLE = "HYDRA_FULL_ERROR"


def main() -> NoReturn:
    """Runs one training or one sweep and exits with the codes of ExitCode.

    128 plus the signal's number when a signal stopped it: 130 for Ctrl-C, 143 for SIGTERM.
    """
    wants_tracebacks = os.environ.get(_RAISE_VARIABLE) == "1"
    os.environ[_RAISE_VARIABLE] = "1"
    Typed.program, Typed.arguments = tuple(started_as()), tuple(sys.argv[1:])
    sys.argv[0] = sys.argv[0].replace(__file__, "python -m resnet_sweep")  # Hydra shows it.
    # A closed pipe (`| head`) must not fill the terminal with what could not be written.
    logging.raiseExceptions = False
    try:
        if is_asked(sys.argv[1:]):
            answer(sys.argv[1:], _run_hydra)
        elif "--version" in sys.argv[1:]:
            print(", ".join(" ".join(pair) for pair in versions().items()))
        else:
            sys.argv[1:] = take_trusted(sys.argv[1:])
            _run_hydra()
            check_shown(sys.argv[1:])
    except Stopped as stop:
        sys.exit(128 + stop.signum)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        pass  # See leave_quietly.
    except Exception as error:
        sys.exit(_exit_code(error, wants_tracebacks))
    finally:
        leave_quietly()
    sys.exit(Verdict.exit_code or ExitCode.ALL_ENDED)


def _run_hydra() -> None:
    guard_plugins()
    correct_help()
    register_schema()
    hydra.main(
        config_path=str(config_dir()),
        config_name="config",
        execution_whitelist=execution_whitelist(),
    )(run_trial)()


def _exit_code(error: Exception, wants_tracebacks: bool) -> int:
    """The exit code for an error that passed through Hydra; tells it if nobody has yet."""
    if wants_tracebacks:
        raise error
    if isinstance(error, REFUSED) and Verdict.exit_code is None:
        faults = [] if isinstance(error, UserError) else Command.typed(sys.argv[1:]).faults(error)
        if faults:
            error = ConfigError(faults)
    if isinstance(error, UserError):
        print(error, file=sys.stderr)
        return ExitCode.BAD_CONFIG
    if isinstance(error, HydraException | OmegaConfBaseException):
        print(ConfigError(faults_of(error)), file=sys.stderr)
        return ExitCode.BAD_CONFIG
    # Of a run it is in the log, traceback and all; of a launcher this is all there is.
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    if Verdict.exit_code is not None:
        return Verdict.exit_code
    # Nothing has begun: sweepers and launchers refuse what they were told in words of their own.
    print(f"{_RAISE_VARIABLE}=1 shows where this comes from", file=sys.stderr)
    return ExitCode.BAD_CONFIG


if __name__ == "__main__":
    main()
