#!/bin/sh
# Checks the deployment files with whatever tools are here; none needs a cluster, an engine or a network.
# What the files say about this program (routes, metrics, settings) is held by `cargo test --test it deploy`.
set -eu
cd "$(dirname "$0")/.."

run() {
  tool=$1
  shift
  if command -v "$tool" >/dev/null; then
    echo "== $tool $*"
    "$tool" "$@" >/dev/null
  else
    echo "== $tool is not installed: skipped"
  fi
}

run kubectl kustomize deploy/kubernetes
run promtool check rules deploy/prometheus/alerts.yaml
run promtool check config deploy/prometheus/prometheus.yaml
run promtool test rules deploy/prometheus/alerts.test.yaml

if command -v systemd-analyze >/dev/null; then
  echo "== systemd-analyze verify"
  # The program need not be installed here: stand-in for its path.
  unit=$(mktemp -d)/agent-runner.service
  sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' deploy/systemd/agent-runner.service >"$unit"
  systemd-analyze verify "$unit"
  rm -r "$(dirname "$unit")"
else
  echo "== systemd-analyze is not installed: skipped"
fi
echo "deployment files are sound"
