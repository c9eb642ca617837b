import { describe, expect, it } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { detail, html, mlflow } from './answers.ts';

/* 400, 413, 422 and 500: whether the bytes are refused for good, or perhaps. Texts as MLflow 3.10 to 3.18 writes them. */

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
      'Object of type set is not JSON serializable',
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

describe('what cannot be stored: refused with a word for what is to be mended', () => {
  it.each([
    ['NUL', 'A string literal cannot contain NUL (0x00) characters.'],
    [
      'surrogates',
      String.raw`'utf-8' codec can't encode character '\ud800' in position 0: surrogates not allowed`,
    ],
    ['surrogates', `'utf-8' codec can't encode characters in position 0-1: surrogates not allowed`],
    ['bytes', 'Object of type bytes is not JSON serializable'],
  ])('%s: %s', (unstorable, words) => {
    const refused = { kind: 'refused', reason: expect.stringContaining(words) as string, unstorable };
    expect(mlflow(500, 'INTERNAL_ERROR', words)).toEqual({ ...refused, status: 500 });
    // In 3.10, which says the same of all else.
    expect(detail(422, `Failed to log OpenTelemetry spans: Trace tr-1: ${words}`)).toEqual({
      ...refused,
      status: 422,
      doubtful: true,
    });
    expect(detail(422, `Failed to log OpenTelemetry spans: x ${words}`)).not.toHaveProperty('unstorable');
  });
});

describe('what may have another cause: refused, perhaps', () => {
  it.each<[string, number, SendOutcome]>([
    ['all else, in 3.18', 422, detail(422, 'Failed to log OpenTelemetry spans')],
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
    ...[
      "could not convert string to float: 'deadlock'",
      "invalid literal for int() with base 10: '(sqlite3.OperationalError) database is locked'",
      "'(psycopg2.errors.UniqueViolation) duplicate key'",
      'x: QueuePool limit of size 5 overflow 10 reached',
      "(sqlite3.IntegrityError) NOT NULL constraint failed: spans.name 'UNIQUE constraint failed'",
      '(psycopg2.errors.NotNullViolation) null value\nDETAIL:  Failing row contains (deadlock, a locked door)',
      `(pymysql.err.IntegrityError) (1048, "Column 'name' cannot be null")`,
      "(pymysql.err.InternalError) (1, 'connection closed, deadlock')",
      'x connection, which users say was closed',
    ].map((words): [string, number, SendOutcome] => [
      `who writes of what passes: ${words}`,
      500,
      mlflow(500, 'INTERNAL_ERROR', words),
    ]),
    [
      'who writes of what passes, in 3.10',
      422,
      detail(422, "Failed to log OpenTelemetry spans: Trace tr-1: 'deadlock' is no number"),
    ],
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

describe('what passes in other databases, or is said by other words: sent again', () => {
  const ORIGINAL =
    "This Session's transaction has been rolled back due to a previous exception during flush. To begin a new transaction with this Session, first issue Session.rollback(). Original exception was: ";

  it.each([
    '(pymysql.err.OperationalError) (1205, "Lock wait timeout exceeded")',
    '(mysql.connector.errors.DatabaseError) 1205 (HY000): Lock wait timeout exceeded',
    '(mysql.connector.errors.InternalError) 1213 (40001): Deadlock found when trying to get lock',
    "(mysql.connector.errors.IntegrityError) 1062 (23000): Duplicate entry 'NOT NULL' for key 'x'",
    `(pyodbc.Error) ('40001', '[40001] [Microsoft] Transaction was deadlocked')`,
    `(pyodbc.IntegrityError) ('23000', "[23000] [Microsoft][SQL Server]Violation of PRIMARY KEY constraint")`,
    '(psycopg2.errors.ForeignKeyViolation) insert or update violates foreign key constraint',
    '(psycopg2.DatabaseError) server closed the connection unexpectedly',
    `${AUTOFLUSH}(sqlite3.IntegrityError) UNIQUE constraint failed: trace_info.request_id`,
    `${ORIGINAL}(psycopg2.errors.DeadlockDetected) deadlock detected`,
    "Can't reconnect until invalid transaction is rolled back.",
    '[Errno 104] Connection reset by peer',
  ])('%s', (words) => {
    expect(mlflow(400, 'BAD_REQUEST', words + SQL).kind).toBe('retry');
  });

  it('in the detail of 3.10', () => {
    const words =
      'Failed to log OpenTelemetry spans: Trace tr-1: (sqlite3.OperationalError) database is locked';
    expect(detail(422, words).kind).toBe('retry');
  });
});
