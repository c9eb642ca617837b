import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import type { HttpResult } from '../../src/destinations/http-client.ts';
import { LONGEST_RETRY_AFTER_MS, readTracesAnswer } from '../../src/destinations/mlflow-answers.ts';
import { encodeExportResponse } from '../../src/otlp/response.ts';
import { asked, detail, html, json, mlflow, protobuf, read, text } from './answers.ts';
import type { Row } from './answers.ts';

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
  const rows: Row[] = [
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
      "answers 403 (Permission denied): the relay's account needs EDIT on experiment 1, which must exist; if it has that, something on the way takes the header x-mlflow-experiment-id away",
    ],
    ['403 MLflow', mlflow(403, 'PERMISSION_DENIED', 'no'), 'blocked', 'needs EDIT on experiment 1'],
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
    ['413 proxy', html(413), 'refused', 'client_max_body_size'],
    ['413 JSON', detail(413, 'too large'), 'refused', 'lower delivery.max_batch_size'],
    ['501', detail(501, 'not supported by FileStore'), 'blocked', 'needs a store in a database'],

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
      (words): Row => [
        `a user who writes: ${words}`,
        mlflow(400, 'INVALID_PARAMETER_VALUE', `Tag value '${words}' is too long`),
        'refused',
        words,
      ],
    ),
    ...['ReadOnlySqlTransaction', 'InsufficientPrivilege', 'UndefinedTable', 'UndefinedColumn'].map(
      (name): Row => [
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
    ['500 of a plugin', detail(500, 'Failed to filter response'), 'refused', 'Failed to filter response'],

    ...[
      `(MySQLdb.OperationalError) (1366, "Incorrect string value: '\\\\xF0\\\\x9F' for column 'content'")`,
      `(MySQLdb.OperationalError) (1406, "Data too long for column 'content' at row 1")`,
    ].map((message): Row => [
      `a value that MySQL does not take: ${message}`,
      mlflow(503, 'TEMPORARILY_UNAVAILABLE', message),
      'refused',
      '(MySQLdb.OperationalError)',
    ]),
    [
      'MySQL that is away',
      mlflow(
        503,
        'TEMPORARILY_UNAVAILABLE',
        `(MySQLdb.OperationalError) (2006, "Server has gone away: 1366")`,
      ),
      'retry',
      'gone away',
    ],
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
    ].flatMap((words): Row[] => [
      [`400 ${words}`, mlflow(400, 'BAD_REQUEST', words), 'retry', words],
      [`500 ${words}`, mlflow(500, 'INTERNAL_ERROR', words), 'retry', words],
    ]),

    ['400 HTML', html(400), 'blocked', "not MLflow's own answer"],
    ['400 text', text(400, 'Bad Request'), 'refused', "(Bad Request), which is not MLflow's own answer"],
    ['400 JSON of a gateway', json(400, { message: 'bad' }), 'refused', "not MLflow's own answer"],
    ['422 text', text(422, 'no'), 'refused', "not MLflow's own answer"],
    ['500 text', text(500, 'Internal Server Error'), 'refused', 'Internal Server Error'],
    ['500 HTML', html(500), 'retry', 'a page of HTML'],
    [
      '500 that only says JSON',
      read(500, '{', { contentType: 'application/json' }),
      'refused',
      'answers 500',
    ],
    ...[408, 409, 425, 429, 499, 502, 503, 504].map((status): Row => [
      String(status),
      html(status),
      'retry',
      `answers ${status}`,
    ]),
    ...[402, 406, 410, 415, 418, 431, 451, 505, 507, 599].map((status): Row => [
      String(status),
      html(status),
      'blocked',
      'which is no answer to traces',
    ]),
  ];

  it.each(rows)('%s', (_, outcome, kind, words) => {
    expect(outcome).toMatchObject({ kind, reason: expect.stringContaining(words) });
    expect(outcome).toMatchObject({ reason: expect.stringContaining('https://mlflow.test/base/v1/traces') });
    expect(JSON.stringify(outcome)).not.toContain('secret');
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

it.each<[HttpResult, SendOutcome]>([
  [
    { kind: 'no answer', reason: 'cut' },
    { kind: 'retry', reason: 'cut' },
  ],
  [
    { kind: 'no answer', reason: 'late', tooSlow: true },
    { kind: 'retry', reason: 'late', tooSlow: true },
  ],
  [
    { kind: 'too large', status: 503, reason: 'long' },
    { kind: 'retry', reason: 'long' },
  ],
])('%o', (result, outcome) => {
  expect(readTracesAnswer(result, asked)).toEqual(outcome);
});

it('says of which answers that nothing had come when the time was up', () => {
  for (let status = 200; status < 600; status++) {
    const outcome = html(status);
    expect([status, 'tooSlow' in outcome && outcome.tooSlow]).toEqual([status, [408, 504].includes(status)]);
  }
});

it('names the account that lacks a permission, where it is known', () => {
  const answer: HttpResult = {
    kind: 'answer',
    status: 403,
    contentType: 'text/plain',
    location: undefined,
    retryAfter: undefined,
    body: Buffer.from('Permission denied'),
  };
  expect(readTracesAnswer(answer, { ...asked, account: 'the service account otel-relay' })).toMatchObject({
    kind: 'blocked',
    reason: expect.stringContaining(': the service account otel-relay needs EDIT on experiment 1, which'),
  });
});

function cutError(status: number, message: string): SendOutcome {
  const body = Buffer.from(JSON.stringify({ error_code: 'INTERNAL_ERROR', message })).subarray(0, 65_536);
  const answer: HttpResult = {
    kind: 'answer',
    status,
    contentType: 'application/json',
    location: undefined,
    retryAfter: undefined,
    body,
    isCut: true,
  };
  return readTracesAnswer(answer, asked);
}

describe('an error of which only the beginning is read', () => {
  const statement = `[SQL: INSERT INTO spans VALUES ${'(%(a__0)s, %(b__0)s), '.repeat(10_000)}`;

  it.each([
    ['(psycopg2.OperationalError) server closed the connection unexpectedly', 'retry'],
    ['(psycopg2.errors.ReadOnlySqlTransaction) cannot execute INSERT', 'blocked'],
    ['(psycopg2.errors.StringDataRightTruncation) value too long', 'refused'],
  ])('is known by its first words: %s', (words, kind) => {
    expect(cutError(500, `${words}\n${statement}`)).toMatchObject({
      kind,
      reason: expect.stringContaining(
        `INTERNAL_ERROR: ${words}; more than the 65536 bytes that are read of an error`,
      ),
    });
  });
});

it('says what is nested too deeply to be read', () => {
  expect(json(500, JSON.parse('['.repeat(65) + ']'.repeat(65)))).toMatchObject({
    kind: 'refused',
    doubtful: true,
    reason: expect.stringContaining('answers 500 (JSON that is nested more than 64 levels deep)'),
  });
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
