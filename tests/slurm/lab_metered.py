"""A lab that bills as Leonardo's Booster does, with nodes of its size; its records can be put back in time."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import lab_config as config
from lab import SlurmLab

CORES, MEMORY_MB = 32, 494_000
WEIGHTS = "CPU=1.0,Mem=0.06634G,GRES/gpu=8.0"
"""With MAX_TRES: the largest of cores, 8 a GPU, and 32 for all the memory of a node, as the site's documents say."""
TIMES = {
    "lab_job_table": ("time_submit", "time_eligible", "time_start", "time_end"),
    "lab_suspend_table": ("time_start", "time_end"),
    # Since when the cluster is known: before that there is nothing to report on.
    "lab_event_table": ("time_start", "time_end"),
}


class MeteredLab(SlurmLab):
    """The lab of the tests with other nodes and prices."""

    def _write_files(self) -> None:
        super()._write_files()
        path = self.root / "etc/slurm.conf"
        text = path.read_text()
        for old, new in (
            (f"CPUs={config.CPUS_PER_NODE} ", f"CPUs={CORES} "),
            (f"CoresPerSocket={config.CPUS_PER_NODE} ", f"CoresPerSocket={CORES} "),
            (f"RealMemory={config.MEMORY_MB_PER_NODE}", f"RealMemory={MEMORY_MB}"),
            ("CPU=1.0,GRES/gpu=8.0", WEIGHTS),
        ):
            assert old in text
            text = text.replace(old, new)
        path.write_text(text + "PriorityFlags=MAX_TRES\n")

    def sql(self, statement: str) -> str:
        """Ask slurmdbd's database."""
        place = ["--no-defaults", f"--socket={self.root}/run/mysql.sock", "-u", self.layout.user]
        return self.run(self._program("mariadb"), *place, "-N", "-e", statement, "slurm_acct_db")

    def put_back(self, hours: int) -> None:
        """Move every record some hours into the past and roll it up: sreport tells of whole past hours only."""
        for table, columns in TIMES.items():
            back = (hours + (table == "lab_event_table")) * 3600
            moves = ", ".join(f"{name} = if({name} > 0, {name} - {back}, {name})" for name in columns)
            self.sql(f"update {table} set {moves}")
        self.run("sacctmgr", "--immediate", "roll", f"now-{hours + 2}hours", "now", timeout_s=60)
