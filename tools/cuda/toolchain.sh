#!/usr/bin/env bash
# Puts a CUDA 13.0 compiler and link-time stand-ins of the CUDA libraries under target/cuda, for machines without GPU or
# toolkit. What is built with them runs where a driver for CUDA 13 and the real cuBLAS and cuRAND are installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
home=$PWD/target/cuda/13.0
packages="nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85"

if [ ! -x "$home/bin/nvcc" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # shellcheck disable=SC2086 # one argument per package
    python3 -m pip download --quiet --no-deps --only-binary=:all: -d "$work/wheels" $packages
    for wheel in "$work"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$work/unpacked"; done
    mkdir -p "$(dirname "$home")"
    rm -rf "$home"
    cp -a "$work/unpacked/nvidia/cu13" "$home"
    chmod +x "$home"/bin/* "$home"/nvvm/bin/*
    ln -sfn lib "$home/lib64"
fi

# cudarc links cuda, cublas, cublasLt, curand and nvrtc by name. A stand-in has the SONAME of the real library and one function per name
# that cudarc declares; the loader finds the real ones when the program starts. A program that starts with the stand-ins is told
# that there is no GPU: each function returns 100, CUDA_ERROR_NO_DEVICE.
cargo fetch --quiet --locked
cudarc=$(cargo metadata --format-version 1 --locked --features cuda 2>/dev/null |
    python3 -c 'import json,os,sys; print([os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"]=="cudarc"][0])')
stubs=$home/stubs
mkdir -p "$stubs"
case $(uname -m) in
aarch64) fails='mov w0, 100; ret' ;;
*) fails='movl $100, %eax; ret' ;;
esac
stub() { # library, soname, module of cudarc
    grep -oE '^pub unsafe fn [A-Za-z0-9_]+' "$cudarc/src/$3/sys/mod.rs" | awk '{print $4}' | sort -u |
        sed "s/.*/.globl &\n.type &,@function\n&: $fails/" >"$stubs/$1.s"
    cc -shared -nostdlib -Wl,-soname,"$2" -o "$stubs/lib$1.so" -x assembler "$stubs/$1.s"
    ln -sfn "lib$1.so" "$stubs/$2"
}
stub cuda libcuda.so.1 driver
stub cublas libcublas.so.13 cublas
stub cublasLt libcublasLt.so.13 cublaslt
stub curand libcurand.so.10 curand
stub nvrtc libnvrtc.so.13 nvrtc
# The candle kernels ask for the runtime library; the static one opens the driver by itself.
cp -f "$home/lib/libcudart_static.a" "$stubs/libcudart.a"
echo "CUDA compiler and stand-ins are in $home" >&2
