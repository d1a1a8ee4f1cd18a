"""A PostgreSQL server of one's own on loopback, from the system's packages, while it is needed."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy

MISSING = "PostgreSQL's server is not installed: apt-get install postgresql"
# The server refuses to run as root.
_USERS = ("postgres", "nobody")
_TIMEOUT_S = 60


def server_binaries() -> Path | None:
    """The folder with initdb and postgres; Debian keeps them off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    folders += [Path(found).parent] if found else []
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@contextmanager
def running_server(*settings: str) -> Iterator[str]:
    """A server with its data in a temporary folder; the URL of its first database.

    Args:
        *settings: Of postgresql.conf, as ``fsync=off``.

    Raises:
        RuntimeError: It does not start.
    """
    binaries = server_binaries()
    if binaries is None:
        raise RuntimeError(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    options: dict[str, Any] = {"cwd": folder, **as_user(folder)}
    try:
        subprocess.run(
            [binaries / "initdb", "-D", folder / "data", "-U", "tester", "-A", "trust", "-N"],
            check=True,
            capture_output=True,
            **options,
        )
        port = free_port()
        command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        for setting in ("listen_addresses=127.0.0.1", "unix_socket_directories=", *settings):
            command += ["-c", setting]
        log = folder / "server.log"
        url = f"postgresql+psycopg://tester:secret@127.0.0.1:{port}/postgres"
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=output, **options)
        try:
            _wait_for(server, url, log)
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # ends it without waiting for clients
            server.wait(timeout=_TIMEOUT_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(server_url: str) -> str:
    """Makes an empty database; its URL."""
    name = f"sweep_{secrets.token_hex(4)}"
    _execute(server_url, f"CREATE DATABASE {name}")
    return f"{server_url.rpartition('/')[0]}/{name}"


def as_user(folder: Path) -> dict[str, Any]:
    """Arguments of Popen by which root becomes somebody else, who gets the folder."""
    if os.getuid() != 0:
        return {}
    known = {user.pw_name: user for user in pwd.getpwall()}
    user = next(known[name] for name in _USERS if name in known)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _execute(url: str, statement: str) -> None:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)


def _wait_for(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end_s = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            _execute(url, "SELECT 1")
        except sqlalchemy.exc.OperationalError:
            if server.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError(f"PostgreSQL does not start: {log.read_text()}") from None
            time.sleep(0.05)
        else:
            return
