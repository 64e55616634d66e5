#!/bin/sh
# Fetches the public JSON Patch test suite (Apache-2.0), as its npm package, for tests/it/patch_rfc6902.rs.
# Needs npm; does nothing where it is there already.
set -eu
directory=${1:-target/json-patch-tests}
if [ -f "$directory/tests.json" ]; then
    exit 0
fi
mkdir -p "$directory"
cd "$directory"
npm pack --silent json-patch-test-suite@1.1.0 >/dev/null
tar xzf json-patch-test-suite-1.1.0.tgz --strip-components=1
rm json-patch-test-suite-1.1.0.tgz
