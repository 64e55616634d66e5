#!/bin/sh
# Benchmarks of the table engine against DuckDB, Polars, Python's json and jq, as whole processes over one file.
# Everything it makes is under target/bench.
set -eu
cd "$(dirname "$0")/../.."
rows="${ROWS:-1000000}"
dir=target/bench
mkdir -p "$dir"
cargo build --locked --release --example pipeline
file="$dir/flights-$rows.json"
[ -f "$file" ] || python3 benches/table/generate.py "$rows" "$file"
[ -d "$dir/venv" ] || python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -c 'import duckdb, polars' 2>/dev/null || "$dir/venv/bin/pip" --quiet install duckdb polars
"$dir/venv/bin/python" benches/table/bench.py target/release/examples/pipeline "$file" "$@"
cargo bench --locked --quiet --bench pipeline
