#!/bin/sh
# Holds the running API against its own description: schemathesis sends what /openapi.json allows and what it forbids, and looks for server
# errors and answers that are not described. Obtains schemathesis (PyPI) into target/schemathesis.
# schemathesis.toml has what the description cannot say. EXAMPLES=100 sets how many requests each operation gets at most.
set -eu
cd "$(dirname "$0")/.."
venv=target/schemathesis
[ -x "$venv/bin/schemathesis" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install -q schemathesis==4.32.5; }
cargo build --locked --quiet
log=$(mktemp)
AGENT_RUNNER_TOKEN=sesame AGENT_RUNNER__HTTP__BIND=127.0.0.1:0 AGENT_RUNNER__HTTP__REQUESTS_PER_MINUTE=0 AGENT_RUNNER__TELEMETRY__FORMAT=json \
  AGENT_RUNNER__AGENTS__FILE=examples/agents.yaml \
  target/debug/agent-runner serve --memory 2>"$log" &
service=$!
trap 'kill $service 2>/dev/null; rm -f "$log"' EXIT
until grep -q '"ready"' "$log"; do kill -0 $service || { cat "$log" >&2; exit 1; }; done
address=$(sed -n 's/.*"bind":"\([^"]*\)".*/\1/p' "$log" | head -n 1)
# It leaves a folder of its own where it runs.
(cd "$venv" && bin/schemathesis --config-file ../../scripts/schemathesis.toml run "http://$address/openapi.json" --header "Authorization: Bearer sesame" --max-examples "${EXAMPLES:-50}" --generation-deterministic \
  --request-timeout 30 --no-color "$@")
if grep -q 'panicked' "$log"; then
  grep 'panicked' "$log" >&2
  exit 1
fi
