"""What is written is OTLP: the `opentelemetry-proto` package reads the same as the tests do."""

from __future__ import annotations

import otlp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needed import collector_messages  # noqa: F401  a fixture

from plugway_telemetry import _names as names
from plugway_telemetry import _wire as wire
from plugway_telemetry._otlp import metrics_request
from plugway_telemetry._store import Store
from tests.slow import SLOW

VALUES = st.one_of(
    st.text(max_size=200),
    st.booleans(),
    st.integers(0, 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(st.text(max_size=5), max_size=3).map(tuple),
)
ATTRIBUTES = st.dictionaries(st.text(min_size=1, max_size=30), VALUES, max_size=20)


def a_span(attributes=None, **changes):
    event = wire.event("first", 1_700_000_000_500_000_000, {"a": "b"})
    fields = {
        "trace_id": bytes(range(16)),
        "span_id": bytes(range(8)),
        "parent_id": bytes(range(8, 16)),
        "state": "a=1",
        "name": "chat m",
        "kind": wire.SERVER,
        "began": 1_700_000_000_000_000_000,
        "ended": 1_700_000_001_000_000_000,
        "details": wire.attributes(attributes or {}) + event,
        "is_error": True,
    }
    return wire.span(**(fields | changes))


def traces(*spans):
    return wire.export_request({"service.name": "x"}, "scope", "1", "schema", spans)


def a_store():
    store = Store()
    store.number(names.EXCHANGES, "messages", "completed", "owner").add(3)
    store.number(names.IN_FLIGHT).add(-1)
    for value in (0.005, 0.5, 7.0, 10_000.0):
        store.histogram(names.DURATION, "chat", "local", "m", "up", "").record(value)
    return store


@settings(max_examples=200 if SLOW else 20)
@given(ATTRIBUTES)
def test_attributes_of_every_kind_survive(attributes):
    (resource,) = otlp.read(traces(a_span(attributes)), otlp.TRACES)["resource_spans"]
    (span,) = resource["scope_spans"][0]["spans"]
    found = {
        pair["key"]: otlp.plain(pair["value"])
        for pair in span.get("attributes", ())
        if pair["value"] != {"array": {}}
    }
    wanted = {k: list(v) if isinstance(v, tuple) else v for k, v in attributes.items() if v != ()}
    assert found == wanted


def test_a_span_is_what_the_opentelemetry_package_reads(collector_messages):  # noqa: F811
    module, _ = collector_messages
    attributes = {
        "text": "é" * 100,
        "yes": True,
        "no": False,
        "n": 2**40,
        "f": 0.5,
        "l": ("a", "b"),
    }
    raw = traces(a_span(attributes), a_span(parent_id=b"", state="", is_error=False, details=b""))
    read = module.ExportTraceServiceRequest.FromString(raw)
    first, second = read.resource_spans[0].scope_spans[0].spans
    read.DiscardUnknownFields()
    assert read.ByteSize() == len(raw), "it knows every field"
    assert {pair.key: known(pair.value) for pair in first.attributes} == {
        **attributes,
        "l": ["a", "b"],
    }
    assert (first.trace_id, first.span_id) == (bytes(range(16)), bytes(range(8)))
    assert (first.parent_span_id, first.trace_state) == (bytes(range(8, 16)), "a=1")
    assert (first.kind, first.status.code, first.flags) == (2, 2, 0x301)
    assert first.end_time_unix_nano - first.start_time_unix_nano == 10**9
    assert [(event.name, event.attributes[0].key) for event in first.events] == [("first", "a")]
    assert (second.parent_span_id, second.flags, len(second.events)) == (b"", 1, 0)
    assert read.resource_spans[0].schema_url == "schema"


def known(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [known(one) for one in value.array_value.values]
    return getattr(value, kind)


def test_metrics_are_what_the_opentelemetry_package_reads(collector_messages):  # noqa: F811
    _, module = collector_messages
    raw = metrics_request({"service.version": "1"}, a_store())
    read = module.ExportMetricsServiceRequest.FromString(raw)
    read.DiscardUnknownFields()
    assert read.ByteSize() == len(raw), "it knows every field"
    found = {m.name: m for m in read.resource_metrics[0].scope_metrics[0].metrics}
    assert set(found) == {
        "plugway.exchanges",
        "plugway.exchanges.in_flight",
        "gen_ai.client.operation.duration",
    }
    counter = found["plugway.exchanges"].sum
    assert (counter.is_monotonic, counter.aggregation_temporality) == (True, 2)
    assert counter.data_points[0].as_int == 3
    assert found["plugway.exchanges.in_flight"].gauge.data_points[0].as_int == -1
    (point,) = found["gen_ai.client.operation.duration"].histogram.data_points
    assert (point.count, sum(point.bucket_counts), point.sum) == (4, 4, 10_007.505)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert point.bucket_counts[0] == point.bucket_counts[-1] == 1
    assert {pair.key for pair in point.attributes} == {
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "plugway.backend",
    }


@settings(max_examples=200 if SLOW else 20)
@given(st.integers(0, 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=300))
def test_single_attributes_are_read_as_they_were(number, double, text):
    details = wire.number("n", number) + wire.double("d", double) + wire.text("t", text)
    raw = traces(a_span(details=details))
    (span,) = otlp.read(raw, otlp.TRACES)["resource_spans"][0]["scope_spans"][0]["spans"]
    assert otlp.attributes(span) == {"n": number, "d": double, "t": text}


@pytest.mark.parametrize(
    ("response", "number"),
    [
        (b"", 0),
        (b"{}", 0),
        (b'{"partialSuccess":{"rejectedSpans":"3"}}', 0),
        (b"\x0a\x02\x08\x05", 5),
        (b"\x0a\x03\x08\x96\x01", 150),
        (b"\x0a\x0c\x08" + b"\xff" * 40, 0),
        (b"\xff" * 1000, 0),
    ],
)
def test_rejected_items_are_read_from_any_response(response, number):
    assert wire.rejected(response) == number
