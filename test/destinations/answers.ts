import type { SendOutcome } from '../../src/destinations/destination.ts';
import type { HttpAnswer } from '../../src/destinations/http-client.ts';
import { readTracesAnswer } from '../../src/destinations/mlflow-answers.ts';
import type { Asked } from '../../src/destinations/mlflow-answers.ts';

/* Answers as MLflow, its plugins and what stands before it give them, and what is made of them. */

export const asked: Asked = {
  url: new URL('https://mlflow.test/base/v1/traces'),
  experiment: 'experiment 1',
  account: "the relay's account",
  now: Date.parse('2026-03-01T12:00:00Z'),
};

type Headers = { contentType?: string; location?: string; retryAfter?: string };

/** What is made of an answer to traces. */
export function read(status: number, body: string | Uint8Array = '', headers: Headers = {}): SendOutcome {
  const answer: HttpAnswer = {
    kind: 'answer',
    status,
    contentType: headers.contentType,
    location: headers.location,
    retryAfter: headers.retryAfter,
    body: Buffer.from(body),
  };
  return readTracesAnswer(answer, asked);
}

export const json = (status: number, body: unknown) =>
  read(status, JSON.stringify(body), { contentType: 'application/json; charset=utf-8' });
export const mlflow = (status: number, code: string, message: string) =>
  json(status, { error_code: code, message, sqlstate: 'KAM00' });
export const detail = (status: number, text: unknown) => json(status, { detail: text });
export const text = (status: number, body: string) =>
  read(status, body, { contentType: 'text/plain; charset=utf-8' });
export const html = (status: number) =>
  read(status, '<!DOCTYPE html><title>secret page</title>', { contentType: 'text/html; charset=utf-8' });
export const protobuf = (body: Uint8Array) => read(200, body, { contentType: 'application/x-protobuf' });

/** Kind of the outcome, and some of its words. */
export type Row = [name: string, outcome: SendOutcome, kind: SendOutcome['kind'], words: string];
