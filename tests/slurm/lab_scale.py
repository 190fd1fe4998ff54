"""A SLURM of thousands of nodes on one machine: a real slurmd for each, which knows of no other node.

A slurmd that reads the whole list of nodes costs some 10 MB and 0.2 s at 3,456 nodes, one with a file of its own 1.7 MB
and 25 ms. The price: srun inside a job of several nodes does not find the others, so jobs here are queued and started,
not run. Without accounting.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import lab_config as config
from lab import SlurmLab, wait_for

STARTED_AT_ONCE = 3
LARGE = (
    "SlurmdTimeout=0",
    "MessageTimeout=60",
    "SlurmctldTimeout=60",
    "DebugFlags=NO_CONF_HASH",
    "MaxJobCount=60000",
    "MaxArraySize=20001",
    "SchedulerParameters=bf_interval=5,bf_resolution=60,bf_window=2880,bf_max_job_test=5000,default_queue_depth=1000,bf_continue",
)
"""In place of the small lab's values."""


class ScaledLab(SlurmLab):
    """The lab of the tests with many more nodes."""

    def _write_files(self) -> None:
        super()._write_files()
        etc, layout = self.root / "etc", self.layout
        names = {line.partition("=")[0] for line in LARGE}
        text = config.slurm_conf(layout)
        lines = [
            line for line in text.splitlines() if line.partition("=")[0] not in {*names, "NodeName", "PartitionName"}
        ]
        common = "\n".join([*lines, *LARGE])
        port = layout.port + config.PORTS_BEFORE_NODES
        all_nodes = self._node(f"n[1-{layout.nodes}]", f"[{port + 1}-{port + layout.nodes}]")
        (etc / "slurm.conf").write_text(
            f"{common}\n{all_nodes}\nPartitionName=main Nodes=ALL Default=YES MaxTime=1-0\n"
        )
        alone = self.root / "nodes"
        alone.mkdir()
        (alone / "cgroup.conf").write_text(config.CGROUP_CONF)
        gpus = f"{self.root}/dev/gpu[0-{layout.gpus - 1}]"
        gres = f"AutoDetect=off\nName=gpu Type=fake Flags=nvidia_gpu_env File={gpus}\n"
        (alone / "gres.conf").write_text(gres)
        (etc / "gres.conf").write_text(gres)
        for index, name in enumerate(layout.node_names, start=1):
            (self.root / "spool" / name).mkdir()
            own = f"{common}\n{self._node(name, str(port + index))}\nPartitionName=main Nodes={name}\n"
            (alone / f"{name}.conf").write_text(own)

    def _node(self, name: str, port: str) -> str:
        return (
            f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs=32 Boards=1 SocketsPerBoard=1 "
            f"CoresPerSocket=32 ThreadsPerCore=1 RealMemory=494000 Gres=gpu:fake:{self.layout.gpus} State=UNKNOWN"
        )

    def _start_cluster(self) -> None:
        self._start_controller()
        names = list(self.layout.node_names)
        running: list[subprocess.Popen[bytes]] = []
        for name in names:
            argv = [str(self.root / "sbin/slurmd"), "-N", name, "-f", str(self.root / "nodes" / f"{name}.conf")]
            argv += ["-d", str(self.root / "sbin/slurmstepd")]
            running.append(subprocess.Popen(argv, env=self.environment(), cwd=self.root, stderr=subprocess.DEVNULL))
            if len(running) == STARTED_AT_ONCE:
                running.pop(0).wait()  # it goes to the background once it listens
        for process in running:
            process.wait()
        wait_for(self._all_registered, 300, "every node to register")

    def _all_registered(self) -> bool:
        time.sleep(1)  # a look at so many nodes takes the controller a tenth of a second
        return self._all_nodes_ready()

    def _started(self) -> list[tuple[str, int, str | None]]:
        """The daemons that went to the background are known by their process id files."""
        from lab import start_mark

        files = (self.root / "run").glob("slurmd-*.pid")
        found = [(file.stem, int(text)) for file in files if (text := file.read_text().strip()).isdecimal()]
        return [*super()._started(), *((name, pid, start_mark(pid)) for name, pid in found)]
