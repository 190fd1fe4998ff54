#!/bin/bash
# run press-failures-0f3a9c11d2 on this machine
umask 077
set -e
trap 'echo "forgia: line $LINENO of the batch script failed: $BASH_COMMAND" >&2' ERR

export FORGIA_ATTEMPT=1
export FORGIA_LAST_ATTEMPT=44
export FORGIA_SIGNAL_LEAD=90
export SUBMITIT_EXECUTOR=local
export SUBMITIT_LOCAL_COMMAND='/opt/forgia/bin/python -u -m forgia.schedulers.node submission'
export SUBMITIT_LOCAL_JOB_NUM_NODES=1
export SUBMITIT_LOCAL_NODEID=0
export SUBMITIT_LOCAL_NTASKS=2
export SUBMITIT_LOCAL_SIGNAL_DELAY_S=90
export SUBMITIT_LOCAL_TIMEOUT_S=5400
export SUBMITIT_LOCAL_WITH_SHELL=''
export SUBMITIT_STDERR_TO_STDOUT=''
export CUDA_VISIBLE_DEVICES=''
exec /opt/forgia/bin/python -m forgia.schedulers.controller /home/anna/.forgia/runs/press-failures-0f3a9c11d2/submission/job-1.sh
