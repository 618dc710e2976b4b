"""Reads OTLP requests, independently of the code that writes them: field numbers from
opentelemetry-proto's `trace.proto`, `metrics.proto`, `common.proto` and `resource.proto`.

`test_wire.py` compares it with the `opentelemetry-proto` package.
"""

from __future__ import annotations

import struct
from collections import defaultdict

from plugway.testing import ScriptedUpstream, respond

ANY = {1: ("string", str), 2: ("bool", bool), 3: ("int", int), 4: ("double", float)}
VALUE = {**ANY, 5: ("array", {1: ("values*", ANY)})}
PAIRS = {1: ("key", str), 2: ("value", VALUE)}
SCOPE = {1: ("name", str), 2: ("version", str)}
RESOURCE = {1: ("attributes*", PAIRS)}
EVENT = {1: ("time", "fixed64"), 2: ("name", str), 3: ("attributes*", PAIRS)}
SPAN = {
    1: ("trace_id", bytes),
    2: ("span_id", bytes),
    3: ("trace_state", str),
    4: ("parent_span_id", bytes),
    5: ("name", str),
    6: ("kind", int),
    7: ("start", "fixed64"),
    8: ("end", "fixed64"),
    9: ("attributes*", PAIRS),
    11: ("events*", EVENT),
    15: ("status", {3: ("code", int)}),
    16: ("flags", "fixed32"),
}
TRACES = {
    1: (
        "resource_spans*",
        {
            1: ("resource", RESOURCE),
            2: ("scope_spans*", {1: ("scope", SCOPE), 2: ("spans*", SPAN)}),
            3: ("schema", str),
        },
    )
}
NUMBER = {
    2: ("start", "fixed64"),
    3: ("time", "fixed64"),
    6: ("int", "sfixed64"),
    7: ("attributes*", PAIRS),
}
HISTOGRAM = {
    2: ("start", "fixed64"),
    3: ("time", "fixed64"),
    4: ("count", "fixed64"),
    5: ("sum", float),
    6: ("bucket_counts", "Q"),
    7: ("explicit_bounds", "d"),
    9: ("attributes*", PAIRS),
}
METRIC = {
    1: ("name", str),
    2: ("description", str),
    3: ("unit", str),
    5: ("gauge", {1: ("points*", NUMBER)}),
    7: ("sum", {1: ("points*", NUMBER), 2: ("temporality", int), 3: ("monotonic", bool)}),
    9: ("histogram", {1: ("points*", HISTOGRAM), 2: ("temporality", int)}),
}
METRICS = {
    1: (
        "resource_metrics*",
        {
            1: ("resource", RESOURCE),
            2: ("scope_metrics*", {1: ("scope", SCOPE), 2: ("metrics*", METRIC)}),
            3: ("schema", str),
        },
    )
}


def varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def read(data, schema):
    """A message as a dictionary; raises `KeyError` for a field that the schema does not have."""
    found = defaultdict(list)
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            raw, at = varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(kind)
            if size is None:
                assert kind == 2
                size, at = varint(data, at)
            raw, at = data[at : at + size], at + size
            assert len(raw) == size
        name, shape = schema[field]
        found[name].append(one(raw, shape))
    return {
        name.rstrip("*"): values if name.endswith("*") else values[-1]
        for name, values in found.items()
    }


def one(raw, shape):
    if isinstance(shape, dict):
        return read(raw, shape)
    if shape in (int, bool, bytes):
        return shape(raw)
    if shape is str:
        return raw.decode()
    if shape is float:
        return struct.unpack("<d", raw)[0]
    if shape in ("Q", "d"):
        return list(struct.unpack(f"<{len(raw) // 8}{shape}", raw))
    return struct.unpack({"fixed64": "<Q", "sfixed64": "<q", "fixed32": "<I"}[shape], raw)[0]


def attributes(item):
    """The attributes of a span, a point, an event or a resource."""
    return {pair["key"]: plain(pair["value"]) for pair in item.get("attributes", ())}


def plain(value):
    ((kind, found),) = value.items()
    return [plain(item) for item in found["values"]] if kind == "array" else found


class Collector(ScriptedUpstream):
    """An OTLP collector on loopback that keeps what it gets."""

    def __init__(self, *scripts, otherwise=None):
        super().__init__(*scripts, otherwise=otherwise or respond(200, b""))

    def of(self, path, schema):
        for request in self.requests:
            assert request.header("content-type") == "application/x-protobuf"
            if request.path.endswith(path):
                yield read(request.body, schema)

    def spans(self):
        """All spans that arrived."""
        return [
            span
            for document in self.of("/v1/traces", TRACES)
            for resource in document["resource_spans"]
            for scope in resource["scope_spans"]
            for span in scope["spans"]
        ]

    def metrics(self):
        """The metrics of the last export, by name."""
        *_, document = self.of("/v1/metrics", METRICS)
        (resource,) = document["resource_metrics"]
        (scope,) = resource["scope_metrics"]
        return {metric["name"]: metric for metric in scope["metrics"]}


def server_and_clients(spans):
    """The one server span, and the client spans in order of their begin."""
    (server,) = [span for span in spans if span["kind"] == 2]
    clients = sorted((span for span in spans if span["kind"] == 3), key=lambda span: span["start"])
    assert all(span["parent_span_id"] == server["span_id"] for span in clients)
    assert all(span["trace_id"] == server["trace_id"] for span in clients)
    return server, clients


def points(metric):
    """The points of a metric as (attributes, point)."""
    data = metric.get("sum") or metric.get("gauge") or metric.get("histogram")
    return [(attributes(point), point) for point in data.get("points", ())]
