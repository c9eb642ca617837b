import zlib from 'node:zlib';
import { Reader, Writer } from 'protobufjs';

const TRACE_ID = '5b8efff798038103d269b633813fc60c';

/** An ExportTraceServiceRequest with spans of these names; `badIds` of them have a span id of 4 bytes. */
export function tracesProtobuf(
  names: readonly string[],
  options: { badIds?: number; firstId?: number } = {},
): Buffer {
  const writer = Writer.create();
  writer.uint32(tag(1)).fork(); // resource_spans
  writer.uint32(tag(2)).fork(); // scope_spans
  names.forEach((name, index) => {
    writer.uint32(tag(2)).fork(); // spans
    writer.uint32(tag(1)).bytes(Buffer.from(TRACE_ID, 'hex'));
    writer
      .uint32(tag(2))
      .bytes(
        Buffer.from(spanId((options.firstId ?? 0) + index), 'hex').subarray(
          0,
          index < (options.badIds ?? 0) ? 4 : 8,
        ),
      );
    writer.uint32(tag(5)).string(name);
    writer.ldelim();
  });
  writer.ldelim();
  writer.ldelim();
  return Buffer.from(writer.finish());
}

/** The same in OTLP/JSON: ids in hex. */
export function tracesJson(names: readonly string[], { badIds = 0 } = {}): Buffer {
  const spans = names.map((name, index) => ({
    traceId: TRACE_ID,
    spanId: spanId(index).slice(0, index < badIds ? 8 : 16),
    name,
  }));
  return Buffer.from(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] }));
}

export const COMPRESS = {
  gzip: (body: Buffer) => zlib.gzipSync(body),
  deflate: (body: Buffer) => zlib.deflateSync(body),
  zstd: (body: Buffer) => zlib.zstdCompressSync(body),
};

/** A google.rpc.Status in either encoding, without its details. */
export function readStatus(contentType: string | undefined, body: Buffer): { code: number; message: string } {
  if (contentType === 'application/json') {
    const { code, message } = JSON.parse(body.toString()) as { code: number; message: string };
    return { code, message };
  }
  const reader = Reader.create(body);
  const status = { code: 0, message: '' };
  while (reader.pos < reader.len) {
    const field = reader.uint32();
    if (field === 8) status.code = reader.int32();
    else if (field === tag(2)) status.message = reader.string();
    else if (field === tag(3)) reader.bytes();
    else throw new Error(`not a google.rpc.Status: tag ${field}`);
  }
  return status;
}

function tag(field: number): number {
  return (field << 3) | 2;
}

function spanId(index: number): string {
  return (index + 1).toString(16).padStart(16, '0');
}
