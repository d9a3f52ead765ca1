#!/bin/bash
# Runs slurm-job-array.sh for real: a Slurm of six nodes on this machine, without root's files.
# Debian and Ubuntu: apt-get install slurmctld slurmd slurm-client munge. In the checkout:
#
#   docs/examples/slurm-on-one-machine.sh FOLDER [PYTEST_OPTIONS]
#
# The nodes share the machine, so their sessions wait for each other. Ends with the exit code of
# `cnnprec fleet FOLDER`, and with every process that it started.
set -euo pipefail

nodes=6
folder=$(realpath -m "${1:?usage: $0 FOLDER [PYTEST_OPTIONS]}")
shift
if [ -e "$folder" ]; then
    echo "$folder is there already: name a new folder" >&2
    exit 4
fi
python=${CNNPREC_PYTHON:-.venv/bin/python}
PATH=$PATH:/usr/sbin:/sbin
place=$(mktemp -d /tmp/slurm.XXXXXX)
chmod 755 "$place" # munge wants it

stop() {
    jobs -p | xargs -r kill
    [ -s "$place/slurmctld.pid" ] && scancel --user="$(id -un)" && sleep 2
    for file in "$place"/node*.pid "$place"/slurmctld.pid "$place"/munged.pid; do
        [ -s "$file" ] && kill "$(cat "$file")" 2>/dev/null || true
    done
    sleep 2
    rm -rf "$place"
}
trap stop EXIT
trap 'exit 130' INT TERM HUP

export SLURM_CONF=$place/slurm.conf
cat > "$SLURM_CONF" <<END
ClusterName=one
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=16817
AuthType=auth/munge
AuthInfo=socket=$place/munge.socket
CredType=cred/munge
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool-%n
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/%n.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
NodeName=node[1-$nodes] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[17001-$((17000 + nodes))] CPUs=1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
echo "CgroupPlugin=autodetect" > "$place/cgroup.conf"

mkdir "$place/state"
dd if=/dev/urandom bs=1 count=1024 of="$place/munge.key" status=none
chmod 400 "$place/munge.key"
munged --socket="$place/munge.socket" --key-file="$place/munge.key" --pid-file="$place/munged.pid" \
    --log-file="$place/munged.log" --seed-file="$place/munged.seed"
slurmctld
for number in $(seq $nodes); do
    slurmd -N "node$number"
done
for _ in $(seq 60); do
    [ "$(sinfo --noheader --states=idle --format=%D)" = $nodes ] && break
    sleep 1
done
sinfo

export CNNPREC_PYTHON="flock $place/turn $python"
sbatch --wait --array=0-$((nodes - 1)) --output="$place/task-%a.log" \
    "$(dirname "$0")/slurm-job-array.sh" "$folder" "$@" &
wait $! || echo "a task failed" # unlike a command, a wait ends at once at Ctrl-C
tail -n 1 "$place"/task-*.log
$python -m cnnprec.cli.main fleet "$folder"
