#!/usr/bin/env bash
# Tests `sweep submit slurm` on a real SLURM of one node, started for them: see cluster.sh for what it needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
# Built first: a node that waits for a compiler may be taken for dead.
cargo test --release --locked --workspace --test command --no-run
exec tools/slurm/cluster.sh cargo test --release --locked --workspace --test command slurm -- --ignored --test-threads 1 "$@"
