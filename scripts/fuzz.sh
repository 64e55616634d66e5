#!/bin/sh
# Runs every fuzz target (or those named) for SECONDS each, 60 unless set, on the stable compiler: libFuzzer comes with
# the crate libfuzzer-sys and needs a C++ compiler, nothing else. What a target learns is kept under target/fuzz/corpus;
# an input that broke something is under target/fuzz/found, and `scripts/fuzz.sh TARGET FILE` runs it again.
set -eu
cd "$(dirname "$0")/.."
seconds="${SECONDS_EACH:-60}"
host="$(rustc -vV | sed -n 's/^host: //p')"
dir=target/fuzz
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-trace-compares \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=16 --cfg=fuzzing"
command -v c++ >/dev/null || { echo "fuzzing needs a C++ compiler (c++)" >&2; exit 1; }
# With --target the flags reach the fuzzed code only, not build scripts and macros.
RUSTFLAGS="$coverage" cargo build --locked --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "$dir"
run() {
    mkdir -p "$dir/corpus/$1" "$dir/found/$1"
    target="$1"
    shift
    "$dir/$host/release/$target" -artifact_prefix="$dir/found/$target/" -rss_limit_mb=4096 -timeout=20 "$@"
}
if [ $# -eq 2 ] && [ -f "$2" ]; then
    run "$1" "$2"
    exit
fi
[ $# -gt 0 ] || set -- table_reader table_plan patch url job sse mcp_frame
for target in "$@"; do
    echo "== $target, $seconds s"
    run "$target" -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 "$dir/corpus/$target" "fuzz/seeds/$target"
done
