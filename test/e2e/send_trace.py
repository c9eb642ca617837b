"""Sends one trace with all that the SDK can put into spans, and prints what it was.

    send_trace.py SEED

Where to, and with which certificates and headers, say OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_*). Two
runs with different seeds send the same spans, but for the ids. Prints {"exported": bool, "spans": [...]} as JSON.
"""

import hashlib
import json
import sys

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, set_span_in_context
from opentelemetry.trace.span import TraceState

BEGIN = 1_700_000_000_123_456_789
ATTRIBUTES = {
    "text": "Grüße, 世界 \U0001f30d",
    "text.empty": "",
    "text.json": '{"looks": "like JSON"}',
    "text.number": "42",
    "text.long": "0123456789" * 2_000,
    "bool.true": True,
    "bool.false": False,
    "int.zero": 0,
    "int.small": -1,
    "int.beyond.double": 2**53 + 1,
    "int.largest": 2**63 - 1,
    "int.smallest": -(2**63),
    "double": 0.1,
    "double.whole": 3.0,
    "double.huge": 1.7976931348623157e308,
    "double.tiny": 5e-324,
    "array.text": ["a", "", "ü"],
    "array.bool": [True, False],
    "array.int": [1, 2**53 + 1, -(2**63)],
    "array.double": [0.5, -2.0],
    "array.empty": [],
    "bytes": b"\x00\xff bytes",
    "map": {"nested": {"list": [1, "two", 3.5], "flag": False}, "none": None},
}


class SeededIds(IdGenerator):
    def __init__(self, seed):
        self.seed = seed
        self.count = 0

    def generate_trace_id(self):
        return int.from_bytes(hashlib.sha256(self.seed.encode()).digest()[:16])

    def generate_span_id(self):
        self.count += 1
        return int.from_bytes(hashlib.sha256(str(self.count).encode()).digest()[:8])


class Recording(OTLPSpanExporter):
    """The exporter as it is; keeps what went through it."""

    def __init__(self):
        super().__init__()
        self.sent = []
        self.exported = True

    def export(self, spans):
        self.sent.extend(spans)
        result = super().export(spans)
        self.exported = self.exported and result is SpanExportResult.SUCCESS
        return result


def build(tracer):
    other = SpanContext(
        trace_id=int("0af7651916cd43dd8448eb211c80319c", 16),
        span_id=int("b7ad6b7169203331", 16),
        is_remote=True,
        trace_flags=TraceFlags(1),
        trace_state=TraceState([("vendor", "state")]),
    )

    def start(name, parent, at, **more):
        context = set_span_in_context(parent) if parent else None
        return tracer.start_span(name, context=context, start_time=BEGIN + at, **more)

    root = start("root", None, 0, kind=SpanKind.SERVER, attributes={"http.route": "/ask/{id}"})
    model = start("chat model", root, 1_001, kind=SpanKind.CLIENT, attributes=ATTRIBUTES)
    model.add_event("first token", {"index": 0, "text": "Hé", "scores": [0.25, 0.75]}, timestamp=BEGIN + 1_777)
    model.add_event("without attributes", timestamp=BEGIN + 1_778)
    model.set_status(Status(StatusCode.OK))
    model.end(BEGIN + 500_000_003)
    tool = start("tool", root, 500_000_100, kind=SpanKind.INTERNAL, links=[
        Link(other, {"link.reason": "retry", "link.count": 3}),
        Link(model.get_span_context()),
    ])
    query = start("SELECT 1", tool, 500_000_200, kind=SpanKind.CLIENT)
    try:
        raise ValueError("no such table: weather")
    except ValueError as error:
        query.record_exception(error, timestamp=BEGIN + 500_000_300)
    query.set_status(Status(StatusCode.ERROR, "query failed"))
    query.end(BEGIN + 500_000_400)
    tool.end(BEGIN + 500_000_500)
    producer = start("enqueue", root, 600_000_000, kind=SpanKind.PRODUCER)
    start("dequeue", producer, 600_000_001, kind=SpanKind.CONSUMER).end(BEGIN + 700_000_000)
    producer.end(BEGIN + 600_000_002)
    root.end(BEGIN + 999_999_999)


def attributes(values):
    return dict(values or {})


def describe(span):
    context = span.get_span_context()
    return {
        "traceId": format(context.trace_id, "032x"),
        "spanId": format(context.span_id, "016x"),
        "parentSpanId": format(span.parent.span_id, "016x") if span.parent else "",
        "name": span.name,
        "kind": f"SPAN_KIND_{span.kind.name}",
        "start": str(span.start_time),
        "end": str(span.end_time),
        "attributes": attributes(span.attributes),
        "events": [
            {"name": event.name, "time": str(event.timestamp), "attributes": attributes(event.attributes)}
            for event in span.events
        ],
        "links": [
            {
                "traceId": format(link.context.trace_id, "032x"),
                "spanId": format(link.context.span_id, "016x"),
                "attributes": attributes(link.attributes),
            }
            for link in span.links
        ],
        "status": {"code": f"STATUS_CODE_{span.status.status_code.name}", "message": span.status.description or ""},
    }


def main(seed):
    exporter = Recording()
    provider = TracerProvider(
        resource=Resource.create(
            {"service.name": "python-sender", "service.instance.id": "1", "deployment.environment.name": "test"}
        ),
        id_generator=SeededIds(seed),
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    build(provider.get_tracer("send_trace", "1.2.3", attributes={"scope.attribute": True}))
    provider.shutdown()
    print(json.dumps({"exported": exporter.exported, "spans": [describe(span) for span in exporter.sent]}, default=list))


main(sys.argv[1])
