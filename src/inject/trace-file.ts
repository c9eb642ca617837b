import { encodeTracesJson } from '../otlp/json.ts';
import { scanTraces } from '../otlp/wire.ts';

export type TraceFile =
  /** ExportTraceServiceRequests as protobuf. */
  | { readonly ok: true; readonly requests: readonly Uint8Array[] }
  /** In words that follow the name of the file. */
  | { readonly ok: false; readonly problem: string };

/** A tag of protobuf is 8 at least; what is below is the first byte of a length. */
const LEAST_TAG = 8;
const FIRST_FIELD = 0x0a;

/**
 * Traces in a file, as the Collector's file exporter writes them (OTLP/JSON, one request a line; with `format: proto`
 * requests in protobuf, a length of four bytes, the highest first, before each), or one request alone, in JSON or in
 * protobuf. What was compressed is to be decompressed before.
 */
export async function readTraceFile(bytes: Uint8Array): Promise<TraceFile> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length === 0) return problem('is empty');
  const found = isProtobuf(buffer) ? cut(buffer) : await readJson(buffer.toString('utf8'));
  if (!found.ok) return found;
  let spans = 0;
  for (const [index, request] of found.requests.entries()) {
    const scan = scanTraces(request);
    const where = found.requests.length === 1 ? '' : `request ${index + 1}: `;
    if (!scan.ok) return problem(`${where}${scan.message}`);
    if (scan.problem !== undefined) return problem(`${where}${scan.problem}`);
    spans += scan.spanCount;
  }
  return spans === 0 ? problem('has no spans: does it hold metrics or logs?') : found;
}

function isProtobuf(bytes: Buffer): boolean {
  const [first = 0] = bytes;
  if (first < LEAST_TAG) return true;
  return first === FIRST_FIELD
    ? scanTraces(bytes).ok
    : !/^[\s\uFEFF]*\{/.test(bytes.toString('utf8', 0, 100));
}

/** One request, or several with their lengths. */
function cut(bytes: Buffer): TraceFile {
  if (bytes[0]! >= LEAST_TAG) return { ok: true, requests: [bytes] };
  const requests: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const from = at + 4;
    const to = from > bytes.length ? Number.POSITIVE_INFINITY : from + bytes.readUInt32BE(at);
    if (to > bytes.length) return problem(`ends within request ${requests.length + 1}`);
    requests.push(bytes.subarray(from, to));
    at = to;
  }
  return { ok: true, requests };
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
    const result = await encodeTracesJson(Buffer.from(line));
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
