"""Prints the spans that the SDK sends, each as a line of JSON."""

import json

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor


class _Recorder(SpanProcessor):
    def __init__(self):
        self.ended = []

    def on_end(self, span):
        self.ended.append(span)


class printed_spans:
    """For `with`: at its end, the spans that have ended are sent, and printed."""

    def __enter__(self):
        self.provider = trace.get_tracer_provider()
        self.recorder = _Recorder()
        self.provider.add_span_processor(self.recorder)

    def __exit__(self, *failure):
        self.provider.force_flush()
        for span in self.recorder.ended:
            print(json.dumps(_describe(span), default=list))


def _describe(span):
    return {
        "traceId": format(span.context.trace_id, "032x"),
        "spanId": format(span.context.span_id, "016x"),
        "parentSpanId": format(span.parent.span_id, "016x") if span.parent else "",
        "name": span.name,
        "kind": f"SPAN_KIND_{span.kind.name}",
        "start": str(span.start_time),
        "end": str(span.end_time),
        "attributes": dict(span.attributes),
        "events": [
            {"name": event.name, "time": str(event.timestamp), "attributes": dict(event.attributes or {})}
            for event in span.events
        ],
        "links": [
            {
                "traceId": format(link.context.trace_id, "032x"),
                "spanId": format(link.context.span_id, "016x"),
                "attributes": dict(link.attributes or {}),
            }
            for link in span.links
        ],
        "status": {"code": f"STATUS_CODE_{span.status.status_code.name}", "message": span.status.description or ""},
    }
