#!/usr/bin/env bash
# Packs sweep, the GPU tests and a start script for a machine that has a GPU but no toolkit: target/cuda/carry.tar.xz.
set -euo pipefail
cd "$(dirname "$0")/../.."
carry=target/cuda/carry
rm -rf "$carry"
mkdir -p "$carry"
# One call, so that programs and tests share what they are built from.
tools/cuda/build.sh build --release --features cuda --workspace --bin sweep --test gpu --message-format json |
    python3 -c 'import json,sys
for line in sys.stdin:
    if line.startswith("{"):
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] in ("gpu", "sweep"):
            crate = message["target"]["src_path"].split("/crates/")[1].split("/")[0]
            name = "sweep" if message["target"]["name"] == "sweep" else "gpu-" + crate
            print(name, message["executable"])' |
    while read -r name executable; do strip -o "$carry/$name" "$executable"; done
cp -r crates/ssm-model/tests/golden "$carry/golden"
cat >"$carry/run.sh" <<'RUN'
#!/usr/bin/env bash
# Finds the CUDA libraries, then starts what is asked for: ./run.sh sweep bench ..., or ./run.sh tests
cd "$(dirname "$0")"
site=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' 2>/dev/null)
for library in libcuda.so.1 libcublas.so.13 libcublasLt.so.13 libcurand.so.10 libnvrtc.so.13; do
    found=$(ls -d /usr/local/cuda/lib64/$library "$site"/nvidia/*/lib/$library /usr/local/nvidia/lib64/$library \
        /usr/lib/x86_64-linux-gnu/$library 2>/dev/null | head -1)
    [ -n "$found" ] || echo "$library was not found" >&2
    LD_LIBRARY_PATH=${found%/*}:${LD_LIBRARY_PATH:-}
done
export LD_LIBRARY_PATH GOLDEN=$PWD/golden SWEEP=$PWD/sweep
[ "$1" = tests ] || exec ./"$@"
status=0
# What the others are made of first.
for crate in ssm-kernels ssm-model reduction-strategies evaluation sweep-runner; do
    ./gpu-$crate --ignored --test-threads 1 || status=1
done
exit $status
RUN
chmod +x "$carry/run.sh"
# The programs share most of their content: a wide window finds it.
tar -C "$carry" -cf - . | xz -T1 --lzma2=preset=6,dict=192MiB >target/cuda/carry.tar.xz
ls -la target/cuda/carry.tar.xz >&2
