#!/usr/bin/env bash
# Builds the wheel, installs it in target/venv, and checks types and tests of the Python package, notebooks included. Compiles nothing twice: profile
# and features are those of `cargo build --release`.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=target/venv
test -d "$venv" || python3 -m venv "$venv"
# By the interpreter: the script `pip` has the path of the checkout that it was made in.
pip() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
pip "maturin>=1.8,<2"
rm -rf target/wheels
time "$venv/bin/python" -m maturin build --release --locked --manifest-path crates/python/Cargo.toml --out target/wheels
ls -l target/wheels
pip --force-reinstall --no-deps target/wheels/*.whl
pip "$(echo target/wheels/*.whl)[test]"
cd crates/python
"../../$venv/bin/mypy" python tests ../../examples/frames.py
time "../../$venv/bin/python" -m pytest -q "$@"
