"""A PostgreSQL of the tests' own: a new cluster in a short folder, a Unix socket and no port, gone when they end."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

USER = "forgia"


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    socket: Path

    def url(self, schema: str) -> str:
        """A ledger's address in a schema of its own."""
        query = {"host": str(self.socket), "options": f"-csearch_path={schema}"}
        return f"postgresql://{USER}@/postgres?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}"

    def run(self, statement: str) -> None:
        """Run a statement outside any ledger."""
        import psycopg

        with psycopg.connect(host=str(self.socket), user=USER, dbname="postgres", autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]


def programs() -> Path | None:
    """Where ``initdb`` lies, which is seldom on the path; None: PostgreSQL's server is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return places[-1].parent if places else None


@contextlib.contextmanager
def server(*, durable: bool = False) -> Iterator[Postgres]:
    """Start a server and stop it at the end; without ``durable`` it does not wait for the disk."""
    where = programs()
    assert where is not None
    folder = Path(tempfile.mkdtemp(prefix="fpg", dir="/tmp"))
    prefix = _as_ordinary_user(folder)
    data, log = folder / "data", folder / "log"
    try:
        create = [where / "initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        _run([*prefix, *create])
        sync = "" if durable else " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        options = f"-c listen_addresses='' -k {folder} -c max_connections=150{sync}"
        control = [*prefix, where / "pg_ctl", "-D", data, "-w"]
        _run([*control, "-l", log, "-o", options, "start"])
        try:
            yield Postgres(folder)
        finally:
            _run([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_ordinary_user(folder: Path) -> list[str]:
    """What to put before a command, for PostgreSQL refuses to be root."""
    if os.getuid() != 0:
        return []
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(0o755)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _run(command: list[str | Path]) -> None:
    # pg_ctl's server inherits the pipes: a file never makes the caller wait for its end
    with tempfile.TemporaryFile() as said:
        done = subprocess.run([str(part) for part in command], stdout=said, stderr=said, cwd="/", check=False)
        said.seek(0)
        assert done.returncode == 0, said.read().decode(errors="replace")
