import { describe, expect, it } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { detail, html, mlflow } from './answers.ts';

/* 400, 413, 422 and 500: whether the bytes are refused for good, or perhaps. Texts as MLflow 3.10 to 3.17 writes them. */

const AUTOFLUSH =
  '(raised as a result of Query-invoked autoflush; consider using a session.no_autoflush block if this flush is occurring prematurely)\n';
const SQL = '\n\n[SQL: INSERT INTO spans]';

describe('what only spans can be the cause of: refused for good', () => {
  it.each<[string, number, SendOutcome]>([
    ['no protobuf', 400, detail(400, 'Invalid OpenTelemetry format')],
    ['no spans', 400, detail(400, 'Invalid OpenTelemetry format - no spans found')],
    ['no protobuf, in 3.10', 400, detail(400, 'Invalid OpenTelemetry protobuf format')],
    ['too large for a proxy', 413, html(413)],
    ['too large for MLflow', 413, detail(413, 'Content Too Large')],
    ['bad ids', 422, detail(422, 'Cannot convert OpenTelemetry span to MLflow span')],
    ...['Session ID', 'Trace name'].map((what): [string, number, SendOutcome] => [
      `long: ${what}`,
      400,
      mlflow(400, 'INVALID_PARAMETER_VALUE', `'${what}' exceeds the maximum length of 250 characters`),
    ]),
    ...[
      'Python int too large to convert to SQLite INTEGER',
      'int too large to convert to float',
      'A string literal cannot contain NUL (0x00) characters.',
      String.raw`'utf-8' codec can't encode character '\ud800' in position 0: surrogates not allowed`,
      `'utf-8' codec can't encode characters in position 0-1: surrogates not allowed`,
      'Object of type bytes is not JSON serializable',
    ].map((words): [string, number, SendOutcome] => [words, 500, mlflow(500, 'INTERNAL_ERROR', words)]),
    ...[
      '(psycopg2.errors.StringDataRightTruncation) value too long for type character varying(500)',
      '(psycopg2.errors.NumericValueOutOfRange) bigint out of range',
      '(pymysql.err.DataError) (1264, "Out of range value for column")',
      "(sqlite3.ProgrammingError) Error binding parameter 6: type 'list' is not supported",
      "(psycopg2.ProgrammingError) can't adapt type 'dict'",
      `${AUTOFLUSH}(psycopg2.errors.StringDataRightTruncation) value too long`,
      "(pymysql.err.DataError) the value is 'locked'",
    ].map((words): [string, number, SendOutcome] => [words, 400, mlflow(400, 'BAD_REQUEST', words + SQL)]),
  ])('%s', (_, status, outcome) => {
    expect(outcome).toEqual({
      kind: 'refused',
      status,
      reason: expect.stringContaining(`https://mlflow.test/base/v1/traces answers ${status} (`) as string,
    });
  });
});

describe('what may have another cause: refused, perhaps', () => {
  it.each<[string, number, SendOutcome]>([
    ['all else, in 3.17', 422, detail(422, 'Failed to log OpenTelemetry spans')],
    [
      'all else, in 3.10',
      422,
      detail(422, "Failed to log OpenTelemetry spans: 'str' has no attribute 'get'"),
    ],
    ['another detail', 400, detail(400, 'Something else')],
    ['another value', 400, mlflow(400, 'INVALID_PARAMETER_VALUE', "Invalid value 'x' for parameter 'y'")],
    ['another code', 400, mlflow(400, 'INVALID_STATE', 'x')],
    ['another fault', 500, mlflow(500, 'INTERNAL_ERROR', 'x')],
    ...[
      '(sqlite3.ProgrammingError) Cannot operate on a closed database.',
      '(psycopg2.errors.DiskFull) could not extend file',
      '(pymysql.err.InternalError) x',
      '(sqlite3.IntegrityError) NOT NULL constraint failed: spans.name',
      '(psycopg2.errors.CheckViolation) x',
      "Can't (sqlite3.DataError)",
    ].map((words): [string, number, SendOutcome] => [words, 400, mlflow(400, 'BAD_REQUEST', words + SQL)]),
    ...[
      'deadlock is no valid session',
      "Tag 'Session ID' exceeds the maximum length of 250 characters",
      "'Session ID' exceeds the maximum length of 250 characters, or so",
      'Invalid OpenTelemetry format',
      '(psycopg2.errors.NumericValueOutOfRange) is no session',
    ].map((words): [string, number, SendOutcome] => [
      `who writes: ${words}`,
      400,
      mlflow(400, 'INVALID_PARAMETER_VALUE', words),
    ]),
    ['who writes of numbers', 500, mlflow(500, 'INTERNAL_ERROR', 'x: Python int too large to convert')],
  ])('%s', (_, status, outcome) => {
    expect(outcome).toEqual({
      kind: 'refused',
      status,
      doubtful: true,
      reason: expect.stringContaining(`https://mlflow.test/base/v1/traces answers ${status} (`) as string,
    });
  });
});

it("keeps statements and their parameters, which are users' data, out of its words", () => {
  expect(
    mlflow(400, 'BAD_REQUEST', "(x.DataError) bad [SQL: INSERT INTO spans]\n[parameters: ('mine')]"),
  ).toMatchObject({
    kind: 'refused',
    reason: 'https://mlflow.test/base/v1/traces answers 400 (BAD_REQUEST: (x.DataError) bad)',
  });
});
