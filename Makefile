# Everything a developer runs. `make test` obtains what the tests need.
.PHONY: build test chaos test-local bench lint fmt needs

build:
	cargo build --locked --release

test: needs
	cargo test --locked

# Kills, cuts and failovers in full: half an hour. ROWS="worker-kills cut" runs only those.
chaos: needs
	cargo test --locked --features failpoints --test chaos -- $(ROWS)

# The sentence encoder with real weights. Optimised: matrices are slow otherwise.
test-local:
	./scripts/fetch-encoder.sh
	cargo test --locked --release --features local-embeddings local

lint:
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings

fmt:
	cargo fmt --all

# redis-server from the system's package manager, where it is missing; public test data, where npm can fetch it.
needs:
	@command -v redis-server >/dev/null || ./scripts/install-redis.sh
	@./scripts/fetch-json-patch-tests.sh || echo "the public JSON Patch suite could not be fetched: its test is skipped"

# The table engine beside DuckDB, Polars, Python and jq: benches/table/README.md.
bench:
	./benches/table/run.sh
