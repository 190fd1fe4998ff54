"""The configuration files of a SLURM lab, as text: several slurmd on one machine, with GPUs that are only names.

Source: slurm.conf(5), slurmdbd.conf(5), gres.conf(5) of SLURM 22.05, https://slurm.schedmd.com/archive/slurm-22.05.8/
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

CPUS_PER_NODE = 8
MEMORY_MB_PER_NODE = 32_000
ACCOUNT = "acme"
PORTS_BEFORE_NODES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the files have to agree on."""

    root: Path
    plugins: Path
    user: str
    host: str
    port: int
    """slurmctld's; slurmdbd has the next, the nodes begin ten further on."""
    nodes: int
    gpus: int
    accounting: bool

    @property
    def node_names(self) -> list[str]:
        """n1, n2, …"""
        return [f"n{index}" for index in range(1, self.nodes + 1)]


def slurm_conf(layout: Layout) -> str:
    """The cluster: fast to schedule, quick to kill, limits enforced."""
    root = layout.root
    return "\n".join(
        [
            *("ClusterName=lab", f"PluginDir={layout.plugins}", f"SlurmctldHost={layout.host}(127.0.0.1)"),
            *(f"SlurmctldPort={layout.port}", f"SlurmUser={layout.user}", f"SlurmdUser={layout.user}"),
            *("AuthType=auth/munge", "CredType=cred/munge"),
            # Below ten seconds a requeued job can meet its own old step and drain the node.
            f"AuthInfo=socket={root}/run/munge.socket,cred_expire=10",
            *(f"StateSaveLocation={root}/spool/ctld", f"SlurmdSpoolDir={root}/spool/%n"),
            *(f"SlurmctldPidFile={root}/run/slurmctld.pid", f"SlurmdPidFile={root}/run/slurmd-%n.pid"),
            *(f"SlurmctldLogFile={root}/log/slurmctld.log", f"SlurmdLogFile={root}/log/slurmd-%n.log"),
            *("MpiDefault=none", "SwitchType=switch/none", "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none"),
            *("JobAcctGatherType=jobacct_gather/linux", "JobAcctGatherFrequency=task=1"),
            *(
                "SelectType=select/cons_tres",
                "SelectTypeParameters=CR_Core_Memory",
                "SlurmdParameters=config_overrides",
            ),
            "SchedulerType=sched/backfill",
            "SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0,bf_interval=2,bf_resolution=1",
            *("PriorityType=priority/multifactor", "PriorityWeightPartition=1000"),
            *("PreemptType=preempt/partition_prio", "PreemptMode=REQUEUE", "JobRequeue=1", "ReturnToService=2"),
            "SlurmctldParameters=preempt_send_user_signal",
            # Ids that begin again at 1 would meet old files of the same number.
            f"FirstJobId={int(time.time()) % 50_000_000 + 1000}",
            *("MaxJobCount=20000", "MinJobAge=300", "EnforcePartLimits=ALL", "KillWait=2", "CompleteWait=0"),
            *("SlurmdTimeout=10", "SlurmctldTimeout=10", "MessageTimeout=10", "InactiveLimit=0", "TreeWidth=65533"),
            *("MailProg=/bin/true", "SlurmctldDebug=info", "SlurmdDebug=info", "GresTypes=gpu"),
            *accounting_lines(layout),
            *(node_line(layout, index) for index in range(1, layout.nodes + 1)),
            *partition_lines(layout),
            "",
        ]
    )


def accounting_lines(layout: Layout) -> list[str]:
    """slurmdbd behind the controller, or none."""
    if not layout.accounting:
        return ["AccountingStorageType=accounting_storage/none"]
    return [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageTRES=gres/gpu",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={layout.port + 1}",
        f"AccountingStoragePass={layout.root}/run/munge.socket",
        "AccountingStorageEnforce=associations,limits,qos,safe",
    ]


def node_line(layout: Layout, index: int) -> str:
    """One slurmd with its own port; what it declares need not exist (config_overrides)."""
    gres = f" Gres=gpu:fake:{layout.gpus}" if layout.gpus else ""
    return (
        f"NodeName=n{index} NodeHostname=n{index} NodeAddr=127.0.0.1 Port={layout.port + PORTS_BEFORE_NODES + index} "
        f"CPUs={CPUS_PER_NODE} Boards=1 SocketsPerBoard=1 CoresPerSocket={CPUS_PER_NODE} ThreadsPerCore=1 "
        f"RealMemory={MEMORY_MB_PER_NODE}{gres} State=UNKNOWN"
    )


def partition_lines(layout: Layout) -> list[str]:
    """``main`` for everyone; ``low`` gives way to it and is requeued."""
    weights = ' TRESBillingWeights="CPU=1.0,GRES/gpu=8.0"' if layout.accounting else ""
    common = f"Nodes=ALL MaxTime=1-00:00:00 DefaultTime=10 DefMemPerCPU=100 State=UP{weights}"
    return [
        f"PartitionName=main Default=YES PriorityTier=10 PreemptMode=OFF {common}",
        f"PartitionName=low Default=NO PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 {common}",
    ]


def slurmdbd_conf(layout: Layout) -> str:
    """The accounting daemon; it finds MariaDB by ``MYSQL_UNIX_PORT`` in its environment."""
    root = layout.root
    return "\n".join(
        [
            *("DbdHost=localhost", "DbdAddr=127.0.0.1", f"DbdPort={layout.port + 1}", f"PluginDir={layout.plugins}"),
            *(f"SlurmUser={layout.user}", "AuthType=auth/munge", f"AuthInfo=socket={root}/run/munge.socket"),
            *(f"PidFile={root}/run/slurmdbd.pid", f"LogFile={root}/log/slurmdbd.log", "DebugLevel=info"),
            *("StorageType=accounting_storage/mysql", "StorageHost=localhost", f"StorageUser={layout.user}"),
            *("StorageLoc=slurm_acct_db", "CommitDelay=1", ""),
        ]
    )


def gres_conf(layout: Layout) -> str:
    """GPUs by links to /dev/null: SLURM wants device nodes, else CUDA_VISIBLE_DEVICES stays unset."""
    if not layout.gpus:
        return "AutoDetect=off\n"
    files = f"{layout.root}/dev/gpu[0-{layout.gpus - 1}]"
    return f"AutoDetect=off\nNodeName=n[1-{layout.nodes}] Name=gpu Type=fake Flags=nvidia_gpu_env File={files}\n"


def hosts(layout: Layout, system_hosts: str) -> str:
    """The machine's own hosts file and the nodes' names."""
    return system_hosts.rstrip("\n") + "\n" + "".join(f"127.0.0.1 {name}\n" for name in layout.node_names)


CGROUP_CONF = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n"
"""Touches no cgroup with the plug-ins chosen above, and starts where none is mounted."""


def accounts(layout: Layout) -> str:
    """Commands for sacctmgr: one account, the default of the one user."""
    return (
        "add cluster lab\n"
        f"add account {ACCOUNT} cluster=lab\n"
        f"add user {layout.user} account={ACCOUNT} cluster=lab defaultaccount={ACCOUNT}\n"
    )
