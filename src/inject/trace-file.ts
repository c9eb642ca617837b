import { encodeTracesJsonNow } from '../otlp/json-encoder.ts';
import { scanTraces } from '../otlp/wire.ts';
import { decompress } from './decompress.ts';

export type TraceFile =
  /** ExportTraceServiceRequests as protobuf. */
  | { readonly ok: true; readonly requests: readonly Uint8Array[] }
  /** In words that follow the name of the file. */
  | { readonly ok: false; readonly problem: string };

/** A tag of protobuf is 8 at least; what is below is the first byte of a length. */
const LEAST_TAG = 8;

/**
 * Traces in a file, as the Collector's file exporter writes them: OTLP/JSON, one request a line; or, in protobuf or
 * compressed, requests with a length of four bytes before each, the highest first, each compressed by itself
 * (exporter/fileexporter, file_writer.go and codec.go). Or one request alone, in JSON or protobuf. The whole may be
 * compressed with gzip or zstd. What is compressed has at most `limit` bytes in full.
 */
export async function readTraceFile(content: Uint8Array, limit: number): Promise<TraceFile> {
  const file = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const whole = decompress(file, { limit, left: limit });
  if (!whole.ok) return whole;
  const { bytes } = whole;
  if (bytes.length === 0) return problem('empty');
  const found = bytes[0]! < LEAST_TAG ? await readWithLengths(bytes, limit) : await readText(bytes);
  if (!found.ok) return found;
  let spans = 0;
  for (const [index, request] of found.requests.entries()) {
    const scan = scanTraces(request);
    const where = found.requests.length === 1 ? '' : `request ${index + 1}: `;
    if (!scan.ok) return problem(`${where}not JSON, and ${scan.message}`);
    if (scan.problem !== undefined) return problem(`${where}${scan.problem}`);
    spans += scan.spanCount;
  }
  return spans === 0 ? problem('no spans: does it hold metrics or logs?') : found;
}

async function readWithLengths(bytes: Buffer, limit: number): Promise<TraceFile> {
  const requests: Uint8Array[] = [];
  const budget = { limit, left: limit };
  for (let at = 0; at < bytes.length;) {
    const where = `request ${requests.length + 1}`;
    const from = at + 4;
    const to = from > bytes.length ? Number.POSITIVE_INFINITY : from + bytes.readUInt32BE(at);
    if (to > bytes.length) return problem(`ends within ${where}`);
    const piece = decompress(bytes.subarray(from, to), budget);
    if (!piece.ok) return problem(`${where}: ${piece.problem}`);
    const request = isProtobuf(piece.bytes)
      ? { ok: true as const, payload: piece.bytes }
      : encodeTracesJsonNow(piece.bytes);
    if (!request.ok) return problem(`${where}: ${request.message}`);
    requests.push(request.payload);
    at = to;
  }
  return { ok: true, requests };
}

async function readText(bytes: Buffer): Promise<TraceFile> {
  return isProtobuf(bytes) ? { ok: true, requests: [bytes] } : readJson(bytes.toString('utf8'));
}

/** An empty line before a document is the first tag of a request too. */
function isProtobuf(bytes: Buffer): boolean {
  return !/^[\s\uFEFF]*\{/.test(bytes.toString('utf8', 0, 100)) || scanTraces(bytes).ok;
}

async function readJson(text: string): Promise<TraceFile> {
  const lines = text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .map((line, index) => ({ line: line.trim(), number: index + 1 }))
    .filter(({ line }) => line !== '');
  // A document over several lines begins with a line that is no document.
  const areDocuments = lines.length > 1 && isJson(lines[0]!.line);
  const requests: Uint8Array[] = [];
  for (const { line, number } of areDocuments ? lines : [{ line: text.trim(), number: 0 }]) {
    const result = encodeTracesJsonNow(Buffer.from(line));
    if (!result.ok) return problem(number === 0 ? result.message : `line ${number}: ${result.message}`);
    requests.push(result.payload);
  }
  return { ok: true, requests };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function problem(words: string): TraceFile {
  return { ok: false, problem: words };
}
