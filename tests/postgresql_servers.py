"""PostgreSQL servers for tests: real ones on loopback, to be killed and started again."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy
from needs import skip_or_fail

from benchmarks.postgresql import MISSING, as_user, free_port, server_binaries

# What a server says as long as one that was killed before it has a process left.
_STILL_DYING = "is still in use"


class Server:
    """A server with a folder and a port of its own.

    Args:
        folder: Its own, which the user that it runs as can write.
        password: It demands this one; None trusts anybody.
    """

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self._folder, self._password, self._port = folder, password, free_port()
        self._answers = folder / "answers"
        self._binaries = _binaries()
        self._options: dict[str, Any] = {"cwd": folder, **as_user(folder)}
        secret = folder / "password"
        secret.write_text(password or "")
        words = ["-D", folder / "data", "-U", "tester", "-N"]
        words += ["-A", "scram-sha-256", "--pwfile", secret] if password else ["-A", "trust"]
        secret.chmod(0o644)
        command = [str(word) for word in (self._binaries / "initdb", *words)]
        subprocess.run(command, check=True, capture_output=True, **self._options)

    def url(self, database: str, password: str = "") -> str:
        """URL of a database, with the password in it if one is given."""
        word = f":{password}" if password else ""
        return f"postgresql+psycopg://tester{word}@127.0.0.1:{self._port}/{database}"

    @property
    def kill_command(self) -> str:
        """What kills it in a shell, once a life: who comes while it is dead waits for the next."""
        file = self._folder / "data" / "postmaster.pid"
        claim = f"until mv {self._answers} {self._folder}/killed 2>/dev/null; do sleep 0.02; done"
        return f"{claim}; pid=$(head -1 {file}); kill -9 $pid $(pgrep -P $pid)"

    @property
    def is_dead(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        data = str(self._folder / "data")
        command = [str(self._binaries / "postgres"), "-D", data, "-p", str(self._port)]
        for setting in ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"):
            command += ["-c", setting]
        log = self._folder / "server.log"
        self._launch(command, log)
        end = time.monotonic() + 60
        while True:
            try:
                self.execute("SELECT 1")
            except sqlalchemy.exc.OperationalError:
                said, has_ended = log.read_text(), self._process.poll() is not None
                is_hopeless = has_ended and _STILL_DYING not in said
                if is_hopeless or time.monotonic() > end:
                    raise RuntimeError(f"PostgreSQL does not start: {said}") from None
                if has_ended:
                    self._launch(command, log)
                time.sleep(0.05)
            else:
                self._answers.touch()
                return

    def _launch(self, command: list[str], log: Path) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, **self._options)

    def kill(self) -> None:
        """SIGKILL to all of its processes at once."""
        self._answers.unlink(missing_ok=True)
        everybody = [psutil.Process(self._process.pid)]
        everybody += everybody[0].children(recursive=True)
        for one in everybody:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait(timeout=30)
        psutil.wait_procs(everybody, timeout=30)

    def stop(self) -> None:
        """Ends it without waiting for clients; nothing when it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=30)

    def new_database(self) -> str:
        """Name of an empty database."""
        name = f"sweep_{secrets.token_hex(4)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Rows of a statement, which is committed by itself."""
        url = self.url(database, self._password or "")
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []


@contextmanager
def running_server(password: str | None = None) -> Iterator[Server]:
    """A server that ends with the block; without PostgreSQL the test is skipped."""
    # Not below pytest's folders, which only root can enter.
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    try:
        server = Server(folder, password)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path:
    found = server_binaries()
    if found is None:
        skip_or_fail("postgres", MISSING)
    return found
