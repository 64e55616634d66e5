# docker build -t agent-runner:0.1.0 .
#   --build-arg FEATURES=postgres,object-store   what docs/stores.md needs beyond Redis
#   --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)   the same bytes as any other build of this commit (docs/release.md)
ARG RUST_VERSION=1.95.0

# Build: a full toolchain, thrown away. The caches live in the builder and never in a layer.
FROM rust:${RUST_VERSION}-slim-bookworm AS build
# A C compiler and the static C library, for ring and mimalloc.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
ARG FEATURES=""
ARG SOURCE_DATE_EPOCH=0
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cp "$(FEATURES=$FEATURES SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH scripts/build-release.sh)" /agent-runner

# Run: one static file and the certificates of the public authorities; no shell, no libraries, no root.
FROM scratch
LABEL org.opencontainers.image.title="agent-runner" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /agent-runner /usr/local/bin/agent-runner
USER 65532:65532
# Within a container loopback is nobody else: listen on all addresses. That needs AGENT_RUNNER_TOKEN, or the
# explicit choice to do without.
ENV AGENT_RUNNER__HTTP__BIND=0.0.0.0:8082 \
    AGENT_RUNNER__TELEMETRY__FORMAT=json
EXPOSE 8082
STOPSIGNAL SIGTERM
# Asks nobody else: an outage of Redis must not restart the fleet.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["/usr/local/bin/agent-runner", "health", "live"]
ENTRYPOINT ["/usr/local/bin/agent-runner"]
CMD ["serve"]
