"""Tracing of what a replica does, off unless OpenTelemetry's environment variables switch it on.

OpenTelemetry itself is imported only then (`replicas.tracing_otel`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from replicas.frames import Call, Frame

if TYPE_CHECKING:
    from replicas.tracing_otel import Tracing

_log = logging.getLogger(__name__)

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OTLP: Final = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}

Serve = Callable[[Call], AsyncGenerator[Frame, None]]


class ReplicaTracer(Protocol):
    """Watches the calls of one replica."""

    def watched(self, serve: Serve, call: Call) -> AsyncGenerator[Frame, None]:
        """The frames of `serve(call)`, and a span of them in the trace that `call.trace` belongs to."""
        ...

    def close(self) -> None:
        """Send what waits, as far as that is quick. Blocks for a moment."""
        ...


class NoReplicaTracer:
    """Makes no spans."""

    def watched(self, serve: Serve, call: Call) -> AsyncGenerator[Frame, None]:
        """The frames of `serve(call)`."""
        return serve(call)

    def close(self) -> None:
        """Nothing is there to send."""


def wanted_exporters(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The span exporters that the environment asks for, as entry points name them; none: tracing is off.

    As in OpenTelemetry's specification, but that an OTLP endpoint or `OTEL_TRACES_EXPORTER` must be given: to
    export to this machine by default would be to trace by default.

    Raises:
        ValueError: Naming the variable whose value nobody knows.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    given = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if not given:
        given = "otlp" if any(environment.get(name) for name in _ENDPOINTS) else ""
    names = tuple(name for one in given.split(",") if (name := one.strip()) not in {"", "none"})
    return tuple(_otlp(environment) if name == "otlp" else name for name in names)


def opened_tracing(role: str, **attributes: str) -> Tracing | None:
    """Tracing as the environment says, None where that is off or cannot be set up, which is logged.

    `role` says what this process is (`router`, `replica`); `attributes` describe it beside that.
    """
    try:
        exporters = wanted_exporters(os.environ)
        if not exporters:
            return None
        from replicas.tracing_otel import Tracing  # noqa: PLC0415 - only where tracing is on

        tracing = Tracing.to(exporters, role, **attributes)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, requests can do without
        _log.error("tracing is off: %s", error)
        return None
    _log.info("tracing is on: spans go to %s", ", ".join(exporters))
    return tracing


def opened_replica_tracer(profile: str, replica: str) -> ReplicaTracer:
    """The tracer of a replica, as its environment says."""
    tracing = opened_tracing("replica", **{"service.instance.id": replica, "specroute.profile": profile})
    if tracing is None:
        return NoReplicaTracer()
    from replicas.tracing_otel import OtelReplicaTracer  # noqa: PLC0415 - only where tracing is on

    return OtelReplicaTracer(tracing, profile=profile, replica=replica)


def _otlp(environment: Mapping[str, str]) -> str:
    name, protocol = next(
        ((name, given) for name in _PROTOCOLS if (given := environment.get(name, "").strip())), ("", "grpc")
    )
    if protocol not in _OTLP:
        raise ValueError(f"{name}: {protocol[:64]!r} is none of {', '.join(_OTLP)}")
    return _OTLP[protocol]
