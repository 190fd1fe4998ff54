"""A real SLURM in one folder: munge, MariaDB, slurmdbd, slurmctld and several slurmd with fake GPUs.

For tests (see conftest.py) and by hand:

    eval "$(python tests/slurm/lab.py up /tmp/lab)"      # then: forgia run --profile slurm-local
    python tests/slurm/lab.py down /tmp/lab

Runs as root or as a plain user, without systemd, beside other labs. Stops only what it started, by process id and
start time, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import lab_config as config
import lab_packages as packages

LONGEST_ROOT = 60
"""Unix socket paths end at 108 characters."""
LEAKING = ("SLURM_", "SBATCH_", "SRUN_", "SACCT_", "SQUEUE_", "SALLOC_", "SINFO_")
OWN_NAMESPACE = ("unshare", "--uts", "--mount")
AS_USER = ("--user", "--map-current-user", "--keep-caps")


class SlurmLab:
    """One cluster in one folder."""

    def __init__(
        self,
        root: Path,
        *,
        port: int,
        nodes: int = 4,
        gpus: int = 4,
        accounting: bool = True,
        prefix: Path | None = None,
    ) -> None:
        self.root = Path(root).absolute()
        if len(str(self.root)) > LONGEST_ROOT:
            raise ValueError(f"{self.root} is longer than {LONGEST_ROOT} characters: its sockets would not open")
        self.prefix = prefix or Path("/")
        self.layout = config.Layout(
            root=self.root,
            plugins=self._library_folder() / "slurm-wlm",
            user=pwd.getpwuid(os.getuid()).pw_name,
            host=platform.node().partition(".")[0],
            port=port,
            nodes=nodes,
            gpus=gpus,
            accounting=accounting,
        )
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Bring the cluster up; returns when every node takes jobs. Raises: RuntimeError — with the daemons' words."""
        mask = os.umask(0o022)  # munge wants its socket within reach
        try:
            self._write_files()
            self._start_munge()
            if self.layout.accounting:
                self._start_accounting()
            self._start_cluster()
        except BaseException:
            words = self.complaints()
            self.stop()
            if words:
                print(words, file=sys.stderr)
            raise
        finally:
            os.umask(mask)

    def stop(self) -> None:
        """Cancel every job, end every process this lab started, remove the folder. Safe to repeat."""
        if not self.root.is_dir():
            return
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            self.cancel_all()
        started = self._started()
        for wave in (("slurmd-", "slurmctld"), ("slurmdbd",), ("mariadbd",), ("munged",)):
            group = [(pid, mark) for name, pid, mark in started if name.startswith(wave)]
            # The database goes with its folder: no reason to let it tidy up.
            end(group, first=signal.SIGKILL if "mariadbd" in wave else signal.SIGTERM)
        end(list(self._step_daemons()), first=signal.SIGKILL)
        for child in self._children.values():
            child.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """What a client needs to reach this cluster and no other."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(LEAKING)}
        return {**kept, **self.exports()}

    def exports(self) -> dict[str, str]:
        """The variables that differ from the caller's environment."""
        found = {"SLURM_CONF": str(self.root / "etc/slurm.conf")}
        if self.prefix != Path("/"):
            folders = [str(self.prefix / folder) for folder in packages.SYSTEM_FOLDERS]
            found["PATH"] = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])
            found["LD_LIBRARY_PATH"] = f"{self._library_folder()}:{self.layout.plugins}"
        return found

    def cancel_all(self) -> None:
        """End every job and wait until none is left, not even a completing one."""
        self.run("scancel", "--quiet", "--full", "--user", self.layout.user)
        wait_for(lambda: not self.run("squeue", "--noheader"), 20, "the queue to be empty")

    def resume_drained(self) -> None:
        """Take back the nodes that SLURM drained by itself, as after a requeued job met its own old step."""
        for node in set(self.run("sinfo", "--noheader", "--Node", "--states=drain", "--format=%N").split()):
            self.run("scontrol", "update", f"nodename={node}", "state=resume")

    def run(self, *argv: str, stdin: str = "", timeout_s: float = 30) -> str:
        """A client command's output. Raises: RuntimeError — it failed."""
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, env=self.environment(), check=False
        )
        if done.returncode:
            raise RuntimeError(f"{shlex.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def cut_power(self, node: str) -> None:
        """Kill a node's daemon and all its jobs at once, as a power cut would; SLURM is told the node is down."""
        started = [(pid, mark) for name, pid, mark in self._started() if name == f"slurmd-{node}"]
        end([*started, *self._step_daemons(node)], first=signal.SIGKILL)
        for left in (self.root / "spool" / node).glob("job*"):
            shutil.rmtree(left, ignore_errors=True)
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=power")

    def restore_power(self, node: str) -> None:
        """Start the daemon of a node again and wait until it takes jobs."""
        self._start_node(node)
        wait_for(self._all_nodes_ready, 30, f"node {node}")

    def complaints(self) -> str:
        """The last errors in the daemons' logs."""
        lines = [
            f"{path.name}: {line}"
            for path in sorted((self.root / "log").glob("*"))
            for line in path.read_text(errors="replace").splitlines()
            if "fatal" in line or "error" in line
        ]
        return "\n".join(lines[-12:])

    # Starting

    def _write_files(self) -> None:
        for folder in ("etc", "run", "log", "spool/ctld", "dev", "sbin"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o755)  # munge wants every folder above its socket passable
        etc, layout = self.root / "etc", self.layout
        for index in range(layout.gpus):
            link(self.root / f"dev/gpu{index}", Path("/dev/null"))
        for program in ("slurmctld", "slurmd", "slurmstepd"):
            # Plug-ins ask for the program's own name: under Debian's name slurmd-wlm they find no GPUs.
            renamed = self.prefix / f"usr/sbin/{program}-wlm"
            link(self.root / "sbin" / program, renamed if renamed.exists() else self.prefix / f"usr/sbin/{program}")
        (etc / "slurm.conf").write_text(config.slurm_conf(layout))
        (etc / "gres.conf").write_text(config.gres_conf(layout))
        (etc / "cgroup.conf").write_text(config.CGROUP_CONF)
        (etc / "hosts").write_text(config.hosts(layout, Path("/etc/hosts").read_text()))
        write_private(etc / "slurmdbd.conf", config.slurmdbd_conf(layout).encode())
        write_private(etc / "munge.key", secrets.token_bytes(128))

    def _start_munge(self) -> None:
        run = self.root / "run"
        places = [f"--socket={run}/munge.socket", f"--pid-file={run}/munged.pid", f"--seed-file={run}/munged.seed"]
        places += [f"--key-file={self.root}/etc/munge.key", f"--log-file={self.root}/log/munged.log"]
        # --force: a folder above the lab may be closed to others, which munge only warns of then.
        self._spawn("munged", [self._program("munged"), "--foreground", "--force", "--num-threads=4", *places])
        wait_for((run / "munge.socket").exists, 10, "munged")

    def _start_accounting(self) -> None:
        data, sock, user = self.root / "spool/mysql", self.root / "run/mysql.sock", self.layout.user
        common = ["--no-defaults", f"--basedir={self.prefix / 'usr'}", f"--datadir={data}", f"--user={user}"]
        install = [self._program("mariadb-install-db"), *common, "--auth-root-authentication-method=socket"]
        data.mkdir()
        self.run(*install, f"--auth-root-socket-user={user}", "--skip-test-db", timeout_s=120)
        tuning = [
            "--skip-networking",
            "--skip-log-bin",
            "--performance-schema=OFF",
            "--innodb-flush-log-at-trx-commit=0",
        ]
        tuning += ["--innodb-buffer-pool-size=128M", "--innodb-log-file-size=64M", "--innodb-lock-wait-timeout=900"]
        self._spawn("mariadbd", [self._program("mariadbd"), *common, f"--socket={sock}", *tuning])
        ping = [self._program("mariadb"), "--no-defaults", f"--socket={sock}", "-u", user, "-e", "select 1"]
        wait_for(lambda: self._answers(*ping), 60, "mariadbd")
        self._start_account_keeper()
        self.run("sacctmgr", "-iQ", stdin=config.accounts(self.layout), timeout_s=60)

    def _start_account_keeper(self) -> None:
        sock = str(self.root / "run/mysql.sock")
        self._spawn("slurmdbd", [self._program("slurmdbd"), "-D"], MYSQL_UNIX_PORT=sock)
        wait_for(lambda: port_is_open(self.layout.port + 1), 60, "slurmdbd")

    def _start_controller(self) -> None:
        conf = str(self.root / "etc/slurm.conf")
        self._spawn("slurmctld", [str(self.root / "sbin/slurmctld"), "-D", "-f", conf])
        wait_for(lambda: self._answers("scontrol", "ping"), 30, "slurmctld")

    def _start_cluster(self) -> None:
        self._start_controller()
        for node in self.layout.node_names:
            self._start_node(node)
        wait_for(self._all_nodes_ready, 60, "every node to register")

    def _start_node(self, node: str) -> None:
        (self.root / "spool" / node).mkdir(exist_ok=True)
        conf, step = str(self.root / "etc/slurm.conf"), str(self.root / "sbin/slurmstepd")
        argv = [str(self.root / "sbin/slurmd"), "-D", "-N", node, "-f", conf, "-d", step]
        if namespaces_allowed():
            # In a namespace of its own the node has its own name, and n1, n2, … resolve inside jobs.
            script = 'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'
            argv = [*namespace(), "sh", "-c", script, "sh", node, str(self.root / "etc/hosts"), *argv]
        self._spawn(f"slurmd-{node}", argv)

    def _all_nodes_ready(self) -> bool:
        states = self.run("sinfo", "--noheader", "--Node", "--format=%N %t").split("\n")
        ready = {line.split()[0] for line in states if line and line.split()[1] in ("idle", "mix", "alloc", "comp")}
        return ready >= set(self.layout.node_names)

    # Processes

    def _spawn(self, name: str, argv: Sequence[str], **variables: str) -> None:
        with (self.root / "log" / f"{name}.out").open("ab") as log:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environment(), **variables},
                cwd=self.root,
                start_new_session=True,
            )
        self._children[child.pid] = child
        with (self.root / "run/started.jsonl").open("a") as file:
            file.write(json.dumps([name, child.pid, start_mark(child.pid)]) + "\n")

    def _started(self) -> list[tuple[str, int, str | None]]:
        try:
            lines = (self.root / "run/started.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [tuple(json.loads(line)) for line in lines]

    def _step_daemons(self, node: str = "") -> Iterator[tuple[int, str | None]]:
        """slurmstepd and everything below it; a step daemon is known by its node's log, which it keeps open."""
        logs = str(self.root / "log" / f"slurmd-{node}")
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (place / "comm").read_text().strip() == "slurmstepd" and any(
                    str(file.readlink()).startswith(logs) for file in (place / "fd").iterdir()
                ):
                    yield from ((pid, start_mark(pid)) for pid in descendants(int(place.name)))

    def _program(self, name: str) -> str:
        places = (self.prefix / folder / name for folder in packages.SYSTEM_FOLDERS)
        return str(next(place for place in places if place.exists()))

    def _library_folder(self) -> Path:
        return self.prefix / f"usr/lib/{platform.machine()}-linux-gnu"

    def _answers(self, *argv: str) -> bool:
        try:
            self.run(*argv, timeout_s=10)
        except (RuntimeError, subprocess.TimeoutExpired):
            return False
        return True


def start_mark(pid: int) -> str | None:
    """The start time of a living process; None when it is gone or only a zombie is left of it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def descendants(pid: int) -> list[int]:
    """A process and all below it, as they stand at this moment."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += descendants(int(child))
    return found


def end(processes: Sequence[tuple[int, str | None]], *, first: signal.Signals) -> None:
    """Signal these processes, wait, and kill those that stay; a reused id is left alone."""
    living = [(pid, mark) for pid, mark in processes if mark is not None and start_mark(pid) == mark]
    for pid, _ in living:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, first)
    try:
        wait_for(lambda: not any(start_mark(pid) == mark for pid, mark in living), 10, "processes to end")
    except RuntimeError:
        for pid, mark in living:
            if start_mark(pid) == mark:
                os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Raises: RuntimeError — the condition did not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.05)


def namespace() -> list[str]:
    """The command that gives a process its own host name and mounts."""
    return [OWN_NAMESPACE[0], *(() if os.getuid() == 0 else AS_USER), *OWN_NAMESPACE[1:]]


def namespaces_allowed() -> bool:
    """Whether this machine lets us do it; default containers do not, and then every node has the machine's name."""
    script = "hostname n1 && mount --bind /etc/hosts /etc/hosts"
    try:
        return subprocess.run([*namespace(), "sh", "-c", script], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def free_port(nodes: int) -> int:
    """The first of a block of ports nobody listens on, below those the system gives to outgoing connections."""
    span = config.PORTS_BEFORE_NODES + nodes + 1
    for _ in range(200):
        port = 20_000 + secrets.randbelow(12_000 - span)
        if all(port_is_free(port + offset) for offset in range(span)):
            return port
    raise RuntimeError("no free block of ports between 20000 and 32000")


def port_is_free(port: int) -> bool:
    """Nobody has bound it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def port_is_open(port: int) -> bool:
    """Somebody listens."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def link(place: Path, target: Path) -> None:
    """Make or replace a symbolic link."""
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def write_private(path: Path, data: bytes) -> None:
    """Only the owner may read it, from the first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


def main(arguments: Sequence[str]) -> int:
    """``up DIR`` prints the line that points a shell to the cluster; ``down DIR`` ends it."""
    if len(arguments) != 2 or arguments[0] not in ("up", "down"):
        print("usage: lab.py up|down DIR", file=sys.stderr)
        return 2
    root = Path(arguments[1]).absolute()
    if arguments[0] == "up" and (root / "run/started.jsonl").exists():
        print(f"{root} is up already; lab.py down {root} ends it", file=sys.stderr)
        return 1
    try:
        lab = SlurmLab(root, port=free_port(4), prefix=packages.provide())
        lab.start() if arguments[0] == "up" else lab.stop()
    except (packages.NoSlurmError, RuntimeError, ValueError) as error:
        print(f"lab.py: {error}", file=sys.stderr)
        return 1
    if arguments[0] == "up":
        print("\n".join(f"export {key}={shlex.quote(value)}" for key, value in lab.exports().items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
