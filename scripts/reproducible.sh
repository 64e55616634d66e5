#!/bin/sh
# Builds the last commit twice, in different directories, with different homes of cargo and at different times, and compares the bytes.
# PROFILE=dev is the quick round; without it two full release builds. FEATURES as in build-release.sh. The program is kept as
# target/reproducible/agent-runner.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
unset CARGO_TARGET_DIR
home=${CARGO_HOME:-$HOME/.cargo}
for place in a another/and-longer; do
  mkdir -p "$work/$place/home"
  git archive "$commit" | tar -x -C "$work/$place" --one-top-level=source
  # Sources that are here already need not be fetched again; settings of this machine stay out.
  [ ! -d "$home/registry" ] || cp -a "$home/registry" "$work/$place/home/registry"
  built=$(CARGO_HOME="$work/$place/home" "$work/$place/source/scripts/build-release.sh")
  cp "$built" "$work/$place/agent-runner"
  rm -rf "${work:?}/$place/source" "${work:?}/$place/home"
done
if ! cmp "$work/a/agent-runner" "$work/another/and-longer/agent-runner"; then
  echo "two builds of $commit differ" >&2
  exit 1
fi
if grep -qaF -e "$work" -e "$home" "$work/a/agent-runner"; then
  echo "the program holds a path of the machine that built it" >&2
  exit 1
fi
mkdir -p target/reproducible
cp "$work/a/agent-runner" target/reproducible/
echo "commit $commit"
sha256sum target/reproducible/agent-runner
