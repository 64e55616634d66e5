# Everything a developer runs. `make test` obtains what the tests need.
.PHONY: build dist reproducible check-deploy picture test test-browser test-stores test-local bench-dashboard chaos mcp-conformance bench fuzz audit sbom lint fmt needs

build:
	cargo build --locked --release

# One file without shared libraries (docs/release.md). FEATURES=postgres,object-store adds features.
dist:
	./scripts/build-release.sh

# Two builds of the last commit in different directories must be the same bytes. PROFILE=dev is the quick round.
reproducible:
	./scripts/reproducible.sh

# Dockerfile, Kubernetes files, alerts and systemd unit, by the tools that are installed.
check-deploy:
	./deploy/check.sh

# The terminal in README.md, recorded anew.
picture:
	cargo build --locked
	python3 -m venv target/picture
	target/picture/bin/pip install --quiet pyte==0.8.2
	target/picture/bin/python scripts/terminal-picture.py

test: needs
	cargo test --locked

# The dashboard in headless Chromium, which is obtained where it is missing. Screenshots: target/browser/screenshots.
test-browser:
	./scripts/browser-tests.sh

# What pages, lists and /metrics take with JOBS (100000) ended jobs kept, and the time from start to ready.
bench-dashboard: build
	node benches/dashboard/run.mjs

# Kills, cuts and failovers in full: half an hour. ROWS="worker-kills cut" runs only those, ROWS="redis-restarts 100" that one with a hundred faults.
chaos: needs
	cargo test --locked --features failpoints --test chaos -- $(ROWS)

# The stores beyond Redis, each against a server of the test's own. PostgreSQL from the system's package manager, where it is missing.
test-stores: needs
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || ./scripts/install-postgres.sh
	cargo test --locked --features postgres,object-store --lib store
	cargo test --locked --features postgres,object-store --test it store

# The sentence encoder with real weights. Optimised: matrices are slow otherwise.
test-local:
	./scripts/fetch-encoder.sh
	cargo test --locked --release --features local-embeddings local

# The MCP conformance suite (npm) against our client; not part of the gate.
mcp-conformance:
	./scripts/mcp-conformance.sh

lint:
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings

fmt:
	cargo fmt --all

# redis-server from the system's package manager, where it is missing; public test data, where npm can fetch it.
needs:
	@command -v redis-server >/dev/null || ./scripts/install-redis.sh
	@./scripts/fetch-json-patch-tests.sh || echo "the public JSON Patch suite could not be fetched: its test is skipped"

# What docs/benchmarks.md has figures of. Routing over AGENTS vectors (a million: a quarter of an hour on two processors). The table engine beside DuckDB, Polars, Python and jq, and the
# queue beside BullMQ, apalis, Celery and RQ.
bench: needs
	cargo bench --locked --bench model_client
	cargo bench --locked --features hnsw --bench routing -- $(or $(AGENTS),1000000)
	./benches/table/run.sh
	./benches/queue/run.sh

# Every fuzz target for SECONDS each; TARGETS="table_reader url" runs only those.
fuzz:
	SECONDS_EACH=$(or $(SECONDS),60) ./scripts/fuzz.sh $(TARGETS)

# Licences, sources and banned crates of everything that is linked (cargo-deny, obtained where missing).
audit:
	./scripts/audit.sh

# What the program is made of, as CycloneDX JSON (cargo-cyclonedx, obtained where missing).
sbom:
	./scripts/sbom.sh
