# syntax=docker/dockerfile:1
# Build: a full toolchain, thrown away. The caches live in the builder and never in a layer.
FROM rust:1.95-slim-bookworm AS build
# A C compiler and make, for ring and mimalloc.
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
ENV CARGO_INCREMENTAL=0
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin agent-runner \
 && cp target/release/agent-runner /agent-runner \
 && strip /agent-runner

# Run: glibc, CA certificates and nothing else; no shell, no package manager, no root.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="agent-runner" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
COPY --from=build /agent-runner /usr/local/bin/agent-runner
USER 65532:65532
# Within a container loopback is nobody else: listen on all addresses. That needs AGENT_RUNNER_TOKEN, or the
# explicit choice to do without.
ENV AGENT_RUNNER__HTTP__BIND=0.0.0.0:8082 \
    AGENT_RUNNER__TELEMETRY__FORMAT=json
EXPOSE 8082
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/agent-runner"]
CMD ["serve"]
