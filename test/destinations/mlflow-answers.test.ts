import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import type { HttpAnswer } from '../../src/destinations/http-client.ts';
import { LONGEST_RETRY_AFTER_MS, readTracesAnswer } from '../../src/destinations/mlflow-answers.ts';
import { encodeExportResponse } from '../../src/otlp/response.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const asked = { url: new URL('https://mlflow.test/base/v1/traces'), experiment: 'experiment 1', now: NOW };

type Headers = { contentType?: string; location?: string; retryAfter?: string };

function read(status: number, body: string | Uint8Array = '', headers: Headers = {}): SendOutcome {
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

const json = (status: number, body: unknown) =>
  read(status, JSON.stringify(body), { contentType: 'application/json; charset=utf-8' });
const mlflow = (status: number, code: string, message: string) =>
  json(status, { error_code: code, message, sqlstate: 'KAM00' });
const detail = (status: number, text: unknown) => json(status, { detail: text });
const text = (status: number, body: string) =>
  read(status, body, { contentType: 'text/plain; charset=utf-8' });
const html = (status: number) =>
  read(status, '<!DOCTYPE html><title>secret page</title>', { contentType: 'text/html; charset=utf-8' });
const protobuf = (body: Uint8Array) => read(200, body, { contentType: 'application/x-protobuf' });

describe('success', () => {
  it('is an OTLP response, and nothing else', () => {
    expect(protobuf(encodeExportResponse('protobuf'))).toEqual({ kind: 'delivered', rejectedSpans: 0 });
    expect(json(200, {})).toEqual({ kind: 'delivered', rejectedSpans: 0 });
  });

  it('counts what was left out, and passes the words on, cleaned', () => {
    const partial = encodeExportResponse('protobuf', { rejectedSpans: 3, message: 'three\nbad ones' });
    expect(protobuf(partial)).toEqual({ kind: 'delivered', rejectedSpans: 3, message: 'three bad ones' });
  });
});

describe('every row', () => {
  const rows: [string, SendOutcome, SendOutcome['kind'], string][] = [
    [
      '200 HTML',
      html(200),
      'blocked',
      'answers 200 without an OTLP response (a page of HTML: is it a login page?)',
    ],
    ['200 no content type', read(200), 'blocked', 'without an OTLP response'],
    ['200 garbage', protobuf(Buffer.from('<html>')), 'blocked', 'without an OTLP response'],
    ['200 other JSON', json(200, { status: 'ok' }), 'blocked', 'without an OTLP response'],
    ['202', json(202, {}), 'blocked', 'answers 202; a server that takes OTLP answers 200'],
    ['204', read(204), 'blocked', 'answers 204'],
    [
      '302',
      read(302, '', { location: '/oidc/ui?next=secret' }),
      'blocked',
      'redirects to https://mlflow.test/oidc/ui (302): is it a login page?',
    ],
    ['301 without a place', read(301), 'blocked', 'redirects (301)'],
    ['308 to nowhere', read(308, '', { location: 'http://[' }), 'blocked', 'redirects (308)'],

    ['401', detail(401, 'Authentication required'), 'unauthorized', '(Authentication required)'],
    ['401 HTML', html(401), 'unauthorized', 'answers 401 (a page of HTML)'],
    [
      '403 mlflow-oidc-auth',
      text(403, 'Permission denied'),
      'blocked',
      "answers 403 (Permission denied): the relay's account needs EDIT or MANAGE on experiment 1, and the experiment must exist",
    ],
    ['403 MLflow', mlflow(403, 'PERMISSION_DENIED', 'no'), 'blocked', 'EDIT or MANAGE on experiment 1'],
    ['403 HTML', html(403), 'blocked', 'a proxy or firewall before MLflow'],
    [
      '404 FastAPI',
      detail(404, 'Not Found'),
      'blocked',
      'check the path of url, and that MLflow is 3.6 or newer',
    ],
    ['404 HTML', html(404), 'blocked', 'check the path of url'],
    [
      '404 experiment',
      mlflow(404, 'RESOURCE_DOES_NOT_EXIST', 'No Experiment with id=999 exists'),
      'blocked',
      'No Experiment with id=999 exists): configure an experiment that exists',
    ],
    ['405', detail(405, 'Method Not Allowed'), 'blocked', 'check the path of url'],
    ['413 proxy', html(413), 'blocked', 'client_max_body_size'],
    ['413 JSON', detail(413, 'too large'), 'blocked', 'lower delivery.max_batch_size'],
    ['501', detail(501, 'not supported by FileStore'), 'blocked', 'needs a store in a database'],

    [
      'session id',
      mlflow(400, 'INVALID_PARAMETER_VALUE', "'Session ID' exceeds the maximum length of 250 characters"),
      'refused',
      "INVALID_PARAMETER_VALUE: 'Session ID' exceeds",
    ],
    ['bad protobuf', detail(400, 'Invalid OpenTelemetry format'), 'refused', 'Invalid OpenTelemetry format'],
    ['no spans', detail(400, 'Invalid OpenTelemetry format - no spans found'), 'refused', 'no spans found'],
    [
      'bad span',
      detail(422, 'Cannot convert OpenTelemetry span to MLflow span'),
      'refused',
      'Cannot convert',
    ],
    [
      'too large a number',
      mlflow(500, 'INTERNAL_ERROR', 'Python int too large to convert to SQLite INTEGER'),
      'refused',
      'too large to convert',
    ],
    [
      'a column that is too short',
      mlflow(400, 'BAD_REQUEST', '(psycopg2.errors.StringDataRightTruncation) value too long'),
      'refused',
      'value too long',
    ],
    [
      'a value that must be there',
      mlflow(400, 'BAD_REQUEST', '(sqlite3.IntegrityError) NOT NULL constraint failed: spans.name'),
      'refused',
      'NOT NULL',
    ],
    [
      'a user who writes of deadlock',
      mlflow(400, 'INVALID_PARAMETER_VALUE', 'deadlock is no valid session'),
      'refused',
      'deadlock',
    ],
    [
      'garbage experiment id',
      mlflow(
        400,
        'INVALID_PARAMETER_VALUE',
        "Invalid experiment ID 'abc'. Experiment ID must be a valid integer.",
      ),
      'blocked',
      'check experiment and workspace',
    ],
    [
      'workspace',
      mlflow(400, 'INVALID_PARAMETER_VALUE', 'Active workspace is required.'),
      'blocked',
      'check experiment and workspace',
    ],
    [
      'workspace name',
      mlflow(400, 'INVALID_PARAMETER_VALUE', "Workspace name 'A' must match the pattern"),
      'blocked',
      'check experiment and workspace',
    ],
    [
      'no workspaces',
      mlflow(500, 'FEATURE_DISABLED', 'Workspace APIs are not available: workspaces are not enabled'),
      'blocked',
      'check experiment and workspace',
    ],
    ...['my workspace is full', "'Invalid experiment ID' is no session", 'Active workspace is required'].map(
      (words): [string, SendOutcome, SendOutcome['kind'], string] => [
        `a user who writes: ${words}`,
        mlflow(400, 'INVALID_PARAMETER_VALUE', `Tag value '${words}' is too long`),
        'refused',
        words,
      ],
    ),
    ...['ReadOnlySqlTransaction', 'InsufficientPrivilege', 'UndefinedTable', 'UndefinedColumn'].map(
      (name): [string, SendOutcome, SendOutcome['kind'], string] => [
        `a store that is not set up: ${name}`,
        mlflow(400, 'BAD_REQUEST', `(psycopg2.errors.${name}) no\n[SQL: INSERT]`),
        'blocked',
        "MLflow's database does not take writes",
      ],
    ),
    [
      'a user who writes of UndefinedTable',
      mlflow(400, 'INVALID_PARAMETER_VALUE', '(psycopg2.errors.UndefinedTable) is no session'),
      'refused',
      'UndefinedTable',
    ],
    [
      'header lost',
      detail(422, [{ type: 'missing', loc: ['header', 'x-mlflow-experiment-id'], msg: 'Field required' }]),
      'blocked',
      'takes headers away',
    ],
    ['bad gzip', detail(400, 'Failed to decompress gzip payload'), 'blocked', 'changes the request'],
    ['no gzip', detail(400, 'Unsupported Content-Encoding: gzip'), 'blocked', 'changes the request'],
    ['content type', detail(400, 'Invalid Content-Type: text/plain.'), 'blocked', 'changes the request'],
    ['500 of a plugin', detail(500, 'Failed to filter response'), 'retry', 'Failed to filter response'],

    [
      'locked SQLite',
      mlflow(503, 'TEMPORARILY_UNAVAILABLE', '(sqlite3.OperationalError) database is locked'),
      'retry',
      'database is locked',
    ],
    ...[
      '(sqlite3.OperationalError) database is locked',
      '(psycopg2.errors.DeadlockDetected) deadlock detected',
      '(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint',
      '(sqlite3.IntegrityError) UNIQUE constraint failed: trace_info.request_id',
      '(sqlite3.IntegrityError) FOREIGN KEY constraint failed',
      '(pymysql.err.IntegrityError) (1062, "Duplicate entry")',
      '(psycopg2.errors.SerializationFailure) could not serialize access',
      'QueuePool limit of size 5 overflow 10 reached, connection timed out',
      '(psycopg2.InterfaceError) connection already closed',
    ].flatMap((words): [string, SendOutcome, SendOutcome['kind'], string][] => [
      [`400 ${words}`, mlflow(400, 'BAD_REQUEST', words), 'retry', words],
      [`500 ${words}`, mlflow(500, 'INTERNAL_ERROR', words), 'retry', words],
    ]),

    ['400 HTML', html(400), 'blocked', "not MLflow's own answer"],
    ['400 text', text(400, 'Bad Request'), 'blocked', "(Bad Request), which is not MLflow's own answer"],
    ['400 JSON of a gateway', json(400, { message: 'bad' }), 'blocked', "not MLflow's own answer"],
    ['422 text', text(422, 'no'), 'blocked', "not MLflow's own answer"],
    ['500 text', text(500, 'Internal Server Error'), 'retry', 'Internal Server Error'],
    ['500 HTML', html(500), 'retry', 'a page of HTML'],
    ['500 that only says JSON', read(500, '{', { contentType: 'application/json' }), 'retry', 'answers 500'],
    ...[408, 409, 425, 429, 499, 502, 503, 504].map(
      (status): [string, SendOutcome, SendOutcome['kind'], string] => [
        String(status),
        html(status),
        'retry',
        `answers ${status}`,
      ],
    ),
    ...[402, 406, 410, 415, 418, 431, 451, 505, 507, 599].map(
      (status): [string, SendOutcome, SendOutcome['kind'], string] => [
        String(status),
        html(status),
        'blocked',
        'which is no answer to traces',
      ],
    ),
  ];

  it.each(rows)('%s', (_, outcome, kind, words) => {
    expect(outcome).toMatchObject({ kind, reason: expect.stringContaining(words) });
    expect(outcome).toMatchObject({ reason: expect.stringContaining('https://mlflow.test/base/v1/traces') });
    expect(JSON.stringify(outcome)).not.toContain('secret');
  });
});

it('marks the refusals that MLflow also uses for faults that pass', () => {
  expect(detail(422, 'Failed to log OpenTelemetry spans')).toMatchObject({ kind: 'refused', doubtful: true });
  expect(mlflow(500, 'INTERNAL_ERROR', 'x')).toMatchObject({ kind: 'refused', doubtful: true });
  expect(detail(400, 'Invalid OpenTelemetry format')).not.toHaveProperty('doubtful');
  for (const name of ['sqlite3.ProgrammingError', 'psycopg2.errors.DiskFull', 'pymysql.err.InternalError']) {
    expect(mlflow(400, 'BAD_REQUEST', `(${name}) x`)).toMatchObject({ kind: 'refused', doubtful: true });
  }
  expect(mlflow(400, 'BAD_REQUEST', "Can't (sqlite3.DataError)")).toHaveProperty('doubtful');
  for (const name of ['pymysql.err.DataError', 'psycopg2.errors.NotNullViolation']) {
    const outcome = mlflow(400, 'BAD_REQUEST', `(${name}) x`);
    expect(outcome.kind).toBe('refused');
    expect(outcome).not.toHaveProperty('doubtful');
  }
});

it("keeps statements and their parameters, which are users' data, out of its words", () => {
  const outcome = mlflow(
    400,
    'BAD_REQUEST',
    "(x.DataError) bad [SQL: INSERT INTO spans]\n[parameters: ('mine')]",
  );
  expect(outcome).toEqual({
    kind: 'refused',
    reason: 'https://mlflow.test/base/v1/traces answers 400 (BAD_REQUEST: (x.DataError) bad)',
  });
});

it.each<[string, number | undefined]>([
  ['0', 0],
  ['30', 30_000],
  ['1000000', LONGEST_RETRY_AFTER_MS],
  ['Sun, 01 Mar 2026 12:00:10 GMT', 10_000],
  ['Sun, 01 Mar 2026 11:00:00 GMT', 0],
  ['Sun, 01 Mar 2027 12:00:00 GMT', LONGEST_RETRY_AFTER_MS],
  ['soon', undefined],
  ['', undefined],
])('Retry-After: %s', (retryAfter, after) => {
  for (const status of [429, 503]) {
    const outcome = read(status, '', { retryAfter });
    expect(outcome.kind).toBe('retry');
    expect('after' in outcome ? outcome.after : undefined).toBe(after);
  }
});

it.each([
  [{ kind: 'no answer', reason: 'cut' } as const, { kind: 'retry', reason: 'cut' }],
  [{ kind: 'too large', status: 503, reason: 'long' } as const, { kind: 'retry', reason: 'long' }],
])('%o', (result, outcome) => {
  expect(readTracesAnswer(result, asked)).toEqual(outcome);
});

it('takes an endless success for a page', () => {
  expect(readTracesAnswer({ kind: 'too large', status: 200, reason: 'long' }, asked)).toMatchObject({
    kind: 'blocked',
    reason: expect.stringContaining('max_response_size'),
  });
});

it('has a bounded, printable answer to everything', () => {
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 5_000 }),
    fc.json().map((value) => Buffer.from(value)),
    fc
      .record({
        error_code: fc.string(),
        message: fc.string({ maxLength: 5_000, size: 'max' }),
        detail: fc.string(),
      })
      .map((value) => Buffer.from(JSON.stringify(value))),
  );
  const type = fc.constantFrom(
    undefined,
    'application/json',
    'text/html',
    'application/x-protobuf',
    'text/plain',
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 200, max: 599 }),
      type,
      fc.string(),
      body,
      (status, contentType, other, bytes) => {
        const outcome = read(status, bytes, {
          ...(contentType === undefined ? {} : { contentType }),
          location: other,
          retryAfter: other,
        });
        const words = 'reason' in outcome ? outcome.reason : (outcome.message ?? '');
        expect(words.length).toBeLessThan(2_000);
        expect(words).not.toMatch(/\p{Cc}/u);
        expect(outcome.kind === 'delivered' && status !== 200).toBe(false);
      },
    ),
  );
});
