#!/bin/sh
# The program as it is released: one file without shared libraries, and the same bytes wherever and whenever the same
# commit is built with the same compiler and C library (docs/release.md). Prints its path.
#   FEATURES=postgres,object-store   features beyond the default ones
#   PROFILE=release                  a cargo profile
# Arguments go to cargo: --timings.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd -P)
profile=${PROFILE:-release}
cargo_home=$(cd "${CARGO_HOME:-$HOME/.cargo}" && pwd -P)
target=${CARGO_TARGET_DIR:-$root/target}
host=$(rustc -vV | sed -n 's/^host: //p')
# Where the component rust-src is installed, the standard library goes by its path there.
std="$(rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$(rustc -vV | sed -n 's/^commit-hash: //p')"

# Panics and assertions name source files: under the same names everywhere. Of several that fit, the last one counts.
sep=$(printf '\037')
# A static program cannot look for getrandom(2) when it starts, and would need /dev/urandom: it is linked to it instead.
rust="-Ctarget-feature=+crt-static$sep--cfg=getrandom_backend=\"linux_getrandom\""
c=
for pair in "$std" "$cargo_home=/cargo" "$root=/agent-runner" "$target=/agent-runner/target"; do
  rust="$rust$sep--remap-path-prefix=$pair"
  c="$c -ffile-prefix-map=$pair"
done
# Flags of the environment would go into the program and not into its description.
unset RUSTFLAGS CARGO_BUILD_RUSTFLAGS
export CARGO_ENCODED_RUSTFLAGS="$rust" CFLAGS="$c" CXXFLAGS="$c" CARGO_INCREMENTAL=0 LC_ALL=C TZ=UTC
# For whatever asks for the time: that of the commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

# With --target the flags do not reach build scripts and macros, which cannot be static everywhere.
cargo build --locked --bin agent-runner --profile "$profile" --features "${FEATURES:-}" --target "$host" --target-dir "$target" "$@" >&2
[ "$profile" = dev ] && profile=debug
echo "$target/$host/$profile/agent-runner"
