#!/bin/sh
# The dashboard in headless Chromium. Needs node and npm; what it fetches and writes stays in target/browser, but for
# Chromium itself, which is the system's (CHROMIUM names another). Arguments go to node: --test-name-pattern=… .
set -eu
cd "$(dirname "$0")/.."
dir=target/browser
mkdir -p "$dir"
chromium=${CHROMIUM:-$(command -v chromium || true)}
if [ -z "$chromium" ]; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update && $sudo apt-get install -y chromium
    chromium=$(command -v chromium)
fi
command -v redis-server >/dev/null || ./scripts/install-redis.sh
if ! cmp -s tests/browser/package-lock.json "$dir/package-lock.json" || [ ! -d "$dir/node_modules" ]; then
    cp tests/browser/package.json tests/browser/package-lock.json "$dir/"
    npm ci --silent --no-audit --no-fund --prefix "$dir"
fi
if [ -z "${AGENT_RUNNER:-}" ]; then
    cargo build --locked
fi
CHROMIUM=$chromium exec node --test --test-concurrency=1 "$@" tests/browser/*.test.mjs
