import { SPAN_ID, TRACE_ID } from '../otlp/bytes.ts';
import type { SendOptions } from './harness.ts';

/** What a client was reported to send, and what is right. */
export type Report = {
  /** What is sent, in a few words. */
  readonly sends: string;
  /** Repositories and numbers of their issues or pull requests. */
  readonly reported: string;
  readonly request: SendOptions & { readonly isChunked?: boolean };
  /** The spans that are stored, as OTLP/JSON, each with at least these members; empty where none is. */
  readonly stored: readonly object[];
  /** 200 unless given. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Undefined: a full success. */
  readonly message?: RegExp;
};

export const JSON_TYPE = { 'content-type': 'application/json' };
export const IDS = `"traceId":"${TRACE_ID}","spanId":"${SPAN_ID}"`;
export const A = { traceId: TRACE_ID, spanId: SPAN_ID, name: 'a' };

export const JSON_BODY = Buffer.from(`{"resourceSpans":[{"scopeSpans":[{"spans":[{${IDS},"name":"a"}]}]}]}`);
