"""The metrics as an OTLP request."""

from __future__ import annotations

import time
from collections.abc import Mapping

from plugway_telemetry import _names as names
from plugway_telemetry import _wire as wire
from plugway_telemetry._names import Metric
from plugway_telemetry._store import Labels, Store


def spans_request(resource: Mapping[str, str], spans: list[bytes]) -> bytes:
    """`ExportTraceServiceRequest` with these spans."""
    return _request(resource, spans)


def metrics_request(resource: Mapping[str, str], store: Store) -> bytes:
    """`ExportMetricsServiceRequest` with everything in `store`."""
    now = time.time_ns()
    metrics = [_metric(metric, store, now) for metric in names.METRICS]
    return _request(resource, [metric for metric in metrics if metric])


def _request(resource: Mapping[str, str], items: list[bytes]) -> bytes:
    version = resource.get(names.SERVICE_VERSION, "")
    return wire.export_request(resource, names.SCOPE, version, names.SCHEMA_URL, items)


def _metric(metric: Metric, store: Store, now: int) -> bytes:
    """The metric; empty if nothing was measured."""
    if metric.kind == "histogram":
        points = [
            wire.histogram_point(
                _named(metric, labels), store.began, now, counts, total, metric.buckets
            )
            for labels, (counts, total) in store.distributions(metric)
        ]
    else:
        points = [
            wire.number_point(_named(metric, labels), store.began, now, value)
            for labels, value in store.numbers(metric)
        ]
    if not points:
        return b""
    return wire.metric(metric.name, metric.description, metric.unit, metric.kind, points)


def _named(metric: Metric, labels: Labels) -> dict[str, str]:
    pairs = zip(metric.attributes, labels, strict=True)
    return {name: value for name, value in pairs if value}
