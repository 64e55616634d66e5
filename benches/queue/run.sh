#!/bin/sh
# The queue as whole processes beside BullMQ (Rust and Node), apalis, Celery and RQ, on one machine in one run.
# Needs redis-server; node and npm, python3 with venv for their peers. Everything it makes is under target/bench.
# Arguments go to bench.py: `run.sh --only rates --rounds 5`.
set -eu
cd "$(dirname "$0")/../.."
dir=target/bench/peers
mkdir -p "$dir/node"
cargo build --locked --release --bin agent-runner
optional() { "$@" || echo "left out: $*"; }
rust() { cargo build --release --quiet --manifest-path benches/peers/rust/Cargo.toml --target-dir "$dir/rust"; }
node() {
    cp benches/peers/node/package.json benches/peers/node/bullmq.js "$dir/node/"
    [ -d "$dir/node/node_modules" ] || npm install --no-audit --no-fund --silent --prefix "$dir/node"
}
python() {
    [ -d "$dir/venv" ] || python3 -m venv "$dir/venv"
    "$dir/venv/bin/python" -c 'import celery, rq' 2>/dev/null ||
        "$dir/venv/bin/pip" install --quiet -r benches/peers/python/requirements.txt
}
# Its `side` is the slow link and the model server.
rust
optional node
optional python
exec python3 benches/queue/bench.py "$@"
