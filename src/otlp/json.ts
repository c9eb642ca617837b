import { encodeTracesJsonNow, type JsonResult } from './json-encoder.ts';
import { createJsonThread } from './json-thread.ts';

export type { JsonResult } from './json-encoder.ts';

/** Bodies of more bytes than this would hold the event loop for too long (it takes 11 ms a MiB). */
const LARGE_BODY = 1024 * 1024;

const encodeInThread = createJsonThread();

/**
 * Turns an ExportTraceServiceRequest in OTLP/JSON into protobuf; see `encodeTracesJsonNow` for the rules. Large
 * bodies are encoded in a worker thread. Resolves with an error for any body that is not right, never rejects for
 * one. Ids may have any length here; `scanTraces` judges them.
 */
export async function encodeTracesJson(body: Uint8Array): Promise<JsonResult> {
  return body.length > LARGE_BODY ? encodeInThread(body) : encodeTracesJsonNow(body);
}
