#!/bin/bash
# An experiment as a HyperQueue array, and a report behind it. Copy and edit.
#
#   hyperqueue.sh EXPERIMENT.yaml RESULTS_FOLDER SHARDS
#
# Tasks count from 0, which is what `sweep run` expects of HQ_TASK_ID; HyperQueue does not tell a task how many there are, so
# SWEEP_SHARDS does. A task whose worker is lost starts again by itself, at most --crash-limit times; tasks that failed are
# submitted again with --array "$(hq job task-ids last --filter=failed)" and the same SWEEP_SHARDS.
set -euo pipefail
file=$1 folder=$2 shards=$3
sweep=${SWEEP:-$(command -v sweep)}

# For a GPU per task add --resource gpus/nvidia=1.
hq submit --wait --name "$(basename "$folder")" --array "0-$((shards - 1))" --env "SWEEP_SHARDS=$shards" \
    --cpus 4 --env RAYON_NUM_THREADS=4 --crash-limit 5 \
    -- "$sweep" run "$file" --out "$folder" || echo "some tasks did not finish; see hq job list --all" >&2
"$sweep" report "$folder" --complete
