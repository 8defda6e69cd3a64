#!/usr/bin/env bash
# Builds with the toolchain of tools/cuda/toolchain.sh, for Hopper unless CUDA_COMPUTE_CAP says otherwise. Arguments go to cargo.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CUDA_HOME=$PWD/target/cuda/13.0
[ -x "$CUDA_HOME/bin/nvcc" ] || { echo "no CUDA compiler in $CUDA_HOME; hint: run tools/cuda/toolchain.sh first" >&2; exit 2; }
export PATH=$CUDA_HOME/bin:$PATH NVCC=$PWD/tools/cuda/nvcc CUDARC_CUDA_VERSION=13000 CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-2}
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
export LIBRARY_PATH=$CUDA_HOME/stubs${LIBRARY_PATH:+:$LIBRARY_PATH}
# What is built also starts here, on the CPU; real libraries go first.
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$CUDA_HOME/stubs
exec cargo "$@"
