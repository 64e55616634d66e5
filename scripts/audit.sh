#!/bin/sh
# Licences, sources, banned crates and, where a copy of the RustSec advisory database is at hand, known holes. Obtains
# cargo-deny where it is missing (some minutes). The database is not fetched: clone it to $ADVISORY_DB, or let
# `cargo deny fetch` do so.
set -eu
cd "$(dirname "$0")/.."
command -v cargo-deny >/dev/null || cargo install --locked cargo-deny@0.20.2
cargo deny --locked check licenses bans sources
db="${ADVISORY_DB:-${CARGO_HOME:-$HOME/.cargo}/advisory-dbs}"
if [ -d "$db" ]; then
  cargo deny --locked check --disable-fetch advisories
else
  echo "no advisory database under $db: known holes were not looked for" >&2
fi
