"""Google's protobuf runtime (upb), asked over a pipe: what it makes of the bodies of a fuzz run.

Numbers are 32 bits, little-endian. A batch: its length, then for each body `length, bytes, asked`; where asked is 1,
`spans, cuts`, for each cut a byte for each span (1 kept, 0 not) and `length, bytes`, at last `length, bytes` of the body
that went through JSON. An answer: its length, then for each body a byte (1 taken, 0 not); where asked and taken
`spans`, for each span a byte (1: no parent, 2: good ids) and `length, bytes` of its trace id, a byte for each cut
and one for JSON (1 equal, 0 not, 2 not decodable).
"""

import struct
import sys

from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

U32 = struct.Struct("<I")
ONE = b"\1"
NONE = b"\0"
BROKEN = b"\2"
NO_PARENT = 1
GOOD_IDS = 2


def parse(data):
    try:
        return ExportTraceServiceRequest.FromString(data)
    except DecodeError:
        return None


def serialized(message):
    # Bytes are compared, as NaN equals nothing, and unknown fields count.
    return message.SerializePartialToString(deterministic=True)


def is_zero(value):
    return not value.strip(b"\0")


def facts(span):
    parent, trace, own = span.parent_span_id, span.trace_id, span.span_id
    flags = NO_PARENT if is_zero(parent) else 0
    if len(trace) == 16 and len(own) == 8 and not is_zero(trace) and not is_zero(own) and len(parent) in (0, 8):
        flags |= GOOD_IDS
    return bytes((flags,)) + U32.pack(len(trace)) + trace


def filtered(data, kept):
    """The request with the kept spans alone, and without what was left empty."""
    request = ExportTraceServiceRequest.FromString(data)
    index = 0
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            chosen = kept[index : index + len(scope.spans)]
            index += len(scope.spans)
            for at in range(len(chosen) - 1, -1, -1):
                if not chosen[at]:
                    del scope.spans[at]
        for at in range(len(resource.scope_spans) - 1, -1, -1):
            if not resource.scope_spans[at].spans:
                del resource.scope_spans[at]
    for at in range(len(request.resource_spans) - 1, -1, -1):
        if not request.resource_spans[at].scope_spans:
            del request.resource_spans[at]
    return request


def same_cut(data, kept, cut):
    message = parse(cut)
    if message is None:
        return BROKEN
    return ONE if serialized(message) == serialized(filtered(data, kept)) else NONE


def same_json(request, through_json):
    message = parse(through_json)
    if message is None:
        return BROKEN
    # JSON has no unknown fields, and one NaN.
    request.DiscardUnknownFields()
    if serialized(request) == serialized(message) or str(request) == str(message):
        return ONE
    return NONE


class Cursor:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def number(self):
        (value,) = U32.unpack_from(self.data, self.at)
        self.at += 4
        return value

    def take(self, length):
        self.at += length
        return self.data[self.at - length : self.at]


def answer(batch):
    cursor = Cursor(batch)
    out = []
    while cursor.at < len(batch):
        data = cursor.take(cursor.number())
        is_asked = cursor.number() == 1
        request = parse(data)
        out.append(NONE if request is None else ONE)
        if not is_asked:
            continue
        span_count = cursor.number()
        cuts = [(cursor.take(span_count), cursor.take(cursor.number())) for _ in range(cursor.number())]
        through_json = cursor.take(cursor.number())
        if request is None:
            continue
        spans = [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
        out.append(U32.pack(len(spans)))
        out.extend(map(facts, spans))
        out.extend(same_cut(data, kept, cut) for kept, cut in cuts)
        out.append(same_json(request, through_json))
    return b"".join(out)


def main():
    if api_implementation.Type() != "upb":
        sys.exit(f"protobuf runs as {api_implementation.Type()}, not as upb")
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while header := source.read(4):
        reply = answer(source.read(*U32.unpack(header)))
        sink.write(U32.pack(len(reply)))
        sink.write(reply)
        sink.flush()


main()
