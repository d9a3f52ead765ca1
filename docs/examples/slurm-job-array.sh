#!/bin/bash
# A session of the benchmarks on each node, for `cnnprec fleet`. In the checkout, for ten idle nodes:
#
#   sbatch --array=0-9 docs/examples/slurm-job-array.sh /shared/fleet --dataset fashion-mnist --level 2
#
# The first word is a folder that all nodes see. What follows goes to pytest; on nodes with GPUs this
# is also --device all, and --gpus-per-node or --gres for sbatch. A task takes a node for itself.
#
#SBATCH --job-name=cnnprec
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --time=01:00:00
#SBATCH --output=cnnprec-%A_%a.log
set -euo pipefail

if [ $# -lt 1 ]; then
    echo "usage: sbatch --array=0-LAST $0 FOLDER [PYTEST_OPTIONS]" >&2
    exit 4
fi
folder=$1
shift

# Several node names may stand for one machine, so Slurm's name counts, not the host's own. Only one
# task can make the folder: where a node was busy, another may get two tasks.
mkdir -p "$folder"
if ! mkdir "$folder/$SLURMD_NODENAME"; then
    echo "$SLURMD_NODENAME was measured already: give another folder, or only idle nodes" >&2
    exit 4
fi

# A word of it may come before the interpreter, such as numactl.
exec ${CNNPREC_PYTHON:-.venv/bin/python} -m pytest benchmarks/ \
    --benchmark-json="$folder/$SLURMD_NODENAME/session.json" "$@"
