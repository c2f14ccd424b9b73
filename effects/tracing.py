"""Spans for OpenTelemetry, where its SDK is installed and asked for; otherwise nothing is imported and nothing made.

Ask for it in the usual way: by ``OTEL_TRACES_EXPORTER`` (``console`` or ``otlp``) or ``OTEL_EXPORTER_OTLP_ENDPOINT``;
the exporter for OTLP is a package of its own. No span holds a value, a key or a message.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

from ledger.errors import OneCtlError

Span = Callable[[str, dict[str, str]], AbstractContextManager[object]]
"""Begins a span of this name with these attributes; it ends with the block."""

_OTLP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class TracingError(OneCtlError):
    """Traces are asked for, but cannot be made here."""


def no_span(_: str, __: dict[str, str]) -> AbstractContextManager[object]:
    """For where nobody asks for traces."""
    return nullcontext()


def spans() -> tuple[Span, Callable[[], None]]:
    """What makes spans, and what sends those that are still held back, to be called at the end.

    Raises:
        TracingError: They are asked for, and the SDK or the exporter is not installed.
    """
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or (
        "otlp" if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") else "none"
    )
    if exporter == "none":
        return no_span, lambda: None
    try:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 - only where somebody asks for it
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        # What the environment says of the service wins (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES).
        resource = Resource.create({"service.name": "1ctl-worker"}).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(_exporter(exporter)))
    except ImportError as error:
        raise TracingError(
            f"traces are asked for (exporter {exporter}), but {error.name} is not installed",
            hint="Install opentelemetry-sdk and the exporter beside 1ctl, or unset OTEL_TRACES_EXPORTER.",
        ) from error
    tracer = provider.get_tracer("1ctl")

    def span(name: str, attributes: dict[str, str]) -> AbstractContextManager[object]:
        return tracer.start_as_current_span(name, attributes=attributes)

    return span, provider.shutdown


def _exporter(name: str) -> Any:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

        return ConsoleSpanExporter()
    if name == "otlp":
        return import_module(_OTLP).OTLPSpanExporter()
    raise TracingError(f'OTEL_TRACES_EXPORTER "{name}" is not supported', hint="Choose otlp, console or none.")
