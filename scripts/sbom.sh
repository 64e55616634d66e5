#!/bin/sh
# Writes what the program is made of, as CycloneDX JSON: target/agent-runner.cdx.json. Obtains cargo-cyclonedx where it is
# missing.
set -eu
cd "$(dirname "$0")/.."
command -v cargo-cyclonedx >/dev/null || cargo install --locked cargo-cyclonedx@0.5.9
# Of the released program: no features but the default ones, no crates of tests.
cargo cyclonedx --format json --spec-version 1.5 --no-build-deps --override-filename agent-runner.cdx
mkdir -p target
mv agent-runner.cdx.json target/
echo "target/agent-runner.cdx.json: $(grep -c '"purl"' target/agent-runner.cdx.json) components"
