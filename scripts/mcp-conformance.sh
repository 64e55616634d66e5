#!/bin/sh
# The MCP conformance suite's client scenarios against our client. Needs npm; what it fetches stays in target/.
set -eu
cd "$(dirname "$0")/.."
version=${VERSION:-0.2.0-alpha.12}
dir=target/mcp-conformance-$version
suite=$dir/node_modules/@modelcontextprotocol/conformance/dist/index.js
mkdir -p "$dir"
# The suite needs node 22; where an older one is installed, npm brings one.
node=node
if [ ! -f "$suite" ]; then
    npm install --silent --no-audit --no-fund --prefix "$dir" "@modelcontextprotocol/conformance@$version"
fi
if ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 22 ? 0 : 1)'; then
    [ -x "$dir/node_modules/node/bin/node" ] || npm install --silent --no-audit --no-fund --prefix "$dir" node@22
    node=$PWD/$dir/node_modules/node/bin/node
fi
cargo build --locked --example mcp_conformance
client=$PWD/target/debug/examples/mcp_conformance
scenarios="initialize tools_call sse-retry"
# Those of protocol version 2026-07-28 came with suite 0.2.
case $version in
0.1.*) ;;
*) scenarios="$scenarios request-metadata http-standard-headers http-custom-headers http-invalid-tool-headers
    sep-2322-client-request-state json-schema-ref-no-deref json-schema-2020-12-preservation" ;;
esac
failed=
for scenario in ${SCENARIOS:-$scenarios}; do
    if (cd "$dir" && "$node" "${suite#"$dir"/}" client --command "$client" --scenario "$scenario") >"$dir/$scenario.log" 2>&1; then
        echo "pass $scenario"
    else
        echo "FAIL $scenario (see $dir/$scenario.log)"
        failed=1
    fi
done
[ -z "$failed" ]
