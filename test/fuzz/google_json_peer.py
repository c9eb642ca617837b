"""Google's reading and writing of JSON, asked over a pipe about bodies in OTLP/JSON and what the relay makes of them.

Numbers are 32 bits, little-endian. A batch: its length, then for each body three times `length, bytes`: its text, that text
as protobuf by the relay, and that protobuf as text by the relay. An answer: its length, then for each body two bytes
(1 where Google reads the text, and the relay's text, as the same message as the protobuf, else 0), `length, bytes` of an
error, empty where there is none, and `length, bytes` of the message as text by Google.

Ids are in hexadecimal in OTLP, and in base64 for Google: they are turned into the other before and after.
"""

import base64
import json
import struct
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

U32 = struct.Struct("<I")
IDS = {"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"}


def to_base64(text):
    # What ends with padding is base64 as it came.
    return text if text.endswith("=") else base64.b64encode(bytes.fromhex(text)).decode()


def to_hex(text):
    return base64.b64decode(text).hex()


def with_ids(value, convert):
    if isinstance(value, list):
        return [with_ids(each, convert) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: convert(each) if key in IDS and isinstance(each, str) else with_ids(each, convert)
        for key, each in value.items()
    }


def read(text):
    tree = with_ids(json.loads(text), to_base64)
    return json_format.ParseDict(tree, ExportTraceServiceRequest(), ignore_unknown_fields=True)


def write(message):
    return json.dumps(with_ids(json_format.MessageToDict(message), to_hex)).encode()


def serialized(message):
    # Bytes are compared, as NaN equals nothing.
    return message.SerializePartialToString(deterministic=True)


def judge(text, payload, back):
    try:
        message = ExportTraceServiceRequest.FromString(payload)
        expected = serialized(message)
        same = bytes((serialized(read(text)) == expected, serialized(read(back)) == expected))
        return same, b"", write(message)
    except Exception as error:  # Whatever it is, the test tells it.
        return b"\0\0", repr(error).encode(), b"{}"


def parts(batch):
    at = 0
    while at < len(batch):
        (length,) = U32.unpack_from(batch, at)
        at += 4 + length
        yield batch[at - length : at]


def answer(batch):
    out = []
    fields = parts(batch)
    for text, payload, back in zip(fields, fields, fields):
        same, error, written = judge(text, payload, back)
        out += [same, U32.pack(len(error)), error, U32.pack(len(written)), written]
    return b"".join(out)


def main():
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while header := source.read(4):
        reply = answer(source.read(*U32.unpack(header)))
        sink.write(U32.pack(len(reply)))
        sink.write(reply)
        sink.flush()


main()
