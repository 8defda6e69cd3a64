#!/usr/bin/env bash
# Tests report.html in headless Chromium: tools/page/test.sh [RESULTS_FOLDER]. Without a folder it runs the smoke sweep. Pictures are in
# target/page/pictures. Needs Node 18 or later with npm, and Chromium; as root of a Debian it installs what is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v "${CHROMIUM:-chromium}" >/dev/null || missing+=(chromium)
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "install ${missing[*]} (CHROMIUM names another Chromium)" >&2
        exit 1
    fi
    apt-get install -y -qq --no-install-recommends "${missing[@]}" || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; }
fi
CHROMIUM=$(command -v "${CHROMIUM:-chromium}")
export CHROMIUM
page=target/page
mkdir -p "$page"
cp tools/page/package.json tools/page/package-lock.json tools/page/test.mjs "$page/"
(cd "$page" && npm ci --silent --no-audit --no-fund)
results=${1:-}
if [ -z "$results" ]; then
    results=$page/smoke
    rm -rf "$results"
    cargo run --release --locked --bin sweep -- run experiments/smoke.yaml --out "$results"
fi
node "$page/test.mjs" "$results/report.html" "$page/pictures"
