import { readBoundedJson } from '../bounded-json.ts';
import type { JsonRead } from '../bounded-json.ts';
import { quote } from '../network-words.ts';
import type { Unstorable } from './destination.ts';
import type { HttpAnswer } from './http-client.ts';

/** An error that MLflow itself wrote, not something between. `message` is fit for a log line. */
export type MlflowError = {
  /** Of an MlflowException, such as `RESOURCE_DOES_NOT_EXIST`. */
  readonly code: string | undefined;
  readonly message: string;
  /** FastAPI's complaint about the request's headers: the body was not looked at. */
  readonly isAboutHeaders: boolean;
};

/** What is looked at of an answer. */
export type AnswerText = Pick<HttpAnswer, 'contentType' | 'body' | 'isCut'>;

/**
 * MLflow writes `{"error_code", "message"}` (MlflowException) or `{"detail"}` (FastAPI), as JSON (MLflow 3.18,
 * server/otel_api.py). Undefined for anything else: other JSON is what gateways write.
 */
export function readMlflowError(answer: AnswerText): MlflowError | undefined {
  const json = readJsonObject(answer);
  if (json === undefined) return undefined;
  const { error_code: code, message, detail } = json;
  if (typeof code === 'string') {
    const text = typeof message === 'string' ? withoutSql(message) : '';
    return { code: quote(code), message: quote(`${code}: ${text}`), isAboutHeaders: false };
  }
  if (typeof detail === 'string') return { code: undefined, message: quote(detail), isAboutHeaders: false };
  if (Array.isArray(detail)) {
    return { code: undefined, message: quote(JSON.stringify(detail)), isAboutHeaders: true };
  }
  return undefined;
}

/** Undefined unless it is a JSON object, and says so in its content type. */
export function readJsonObject(answer: AnswerText): Record<string, unknown> | undefined {
  const json = readJson(answer);
  if (json?.kind !== 'value') return undefined;
  const { value } = json;
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

/** Why the JSON of an answer is not read; undefined where it is, or is none. */
export function jsonProblem(answer: AnswerText): string | undefined {
  const json = readJson(answer);
  return json?.kind === 'unread' ? json.problem : undefined;
}

/** What each answer had: several questions are asked of one, and a large one takes long to parse. */
const READ = new WeakMap<AnswerText, JsonRead>();

function readJson(answer: AnswerText): JsonRead | undefined {
  const { contentType, body, isCut } = answer;
  if (!/^application\/([\w.-]+\+)?json\b/i.test(contentType?.trim() ?? '')) return undefined;
  const read = READ.get(answer) ?? readBoundedJson(body, { isCut: isCut === true });
  READ.set(answer, read);
  return read;
}

/**
 * What stands before SQLAlchemy's own words, and what it may begin with itself. Behind its words drivers quote what
 * users wrote, so that only what follows this at once is looked at. MLflow 3.10 puts other errors into a `detail`.
 */
const BEGINNING = [
  String.raw`^(?:[A-Z_]+: |Failed to log OpenTelemetry spans: (?:Trace [\w-]+: )?)`,
  String.raw`(?:This Session's transaction has been rolled back due to a previous exception during flush\. To begin a new transaction with this Session, first issue Session\.rollback\(\)\. Original exception was: )?`,
  String.raw`(?:\(raised as a result of Query-invoked autoflush; [^()]*\) )?`,
].join('');

function beginsWith(words: string): RegExp {
  return new RegExp(BEGINNING + words);
}

/** The class of the driver's error, as SQLAlchemy writes it; psycopg names it after PostgreSQL's condition. */
function ofClass(names: string): string {
  return String.raw`\((?:\w+\.)*(?:${names})\)`;
}

/**
 * Conditions of the database that pass: MLflow answers 400 (BAD_REQUEST) or 500 with SQLAlchemy's text for
 * them. A duplicate key comes of two requests that create the same trace at once; sent again, it is an update.
 */
const PASSING = [
  beginsWith(
    ofClass(
      'OperationalError|DeadlockDetected|LockNotAvailable|SerializationFailure|UniqueViolation|ForeignKeyViolation|PendingRollbackError',
    ),
  ),
  // SQLite, MySQL and SQL Server have it for all constraints. Violations of NOT NULL and CHECK stay what they are.
  beginsWith(
    String.raw`${ofClass('IntegrityError')} (?!NOT NULL|CHECK|null value|new row|\(?(?:1048|1364|3819|4025)\b|\('23000', ["']\[23000\] (?:\[[^\]]*\])*(?:Cannot insert the value NULL|The \w+ statement conflicted with the CHECK))`,
  ),
  // Numbers of MySQL and SQLSTATEs: a lock that was waited for in vain, a deadlock, a conflict of transactions.
  beginsWith(String.raw`${ofClass(String.raw`\w*Error`)} \(?'?(?:1205|1213|40001|40P01)\b`),
  beginsWith(
    String.raw`(?:${ofClass(String.raw`\w*Error`)} |\[Errno \d+\] )?(?:server closed the connection|(?:\w+ ){0,4}[Cc]onnection (?:\w+ ){0,6}(?:closed|refused|reset|lost|terminated))\b`,
  ),
  beginsWith('(?:database is locked|deadlock detected|could not serialize access)'),
  beginsWith(String.raw`(?:QueuePool limit of size \d+|Can't reconnect until invalid )`),
];

/** Whether the same request may be taken later, by what MLflow says of it. */
export function isPassing({ code, message }: MlflowError): boolean {
  if (code === 'INVALID_PARAMETER_VALUE') return false;
  if (code === 'TEMPORARILY_UNAVAILABLE' || code === 'DEADLINE_EXCEEDED') return true;
  return PASSING.some((words) => words.test(message));
}

/**
 * What MLflow begins with where it refuses the experiment or the workspace (utils/validation.py,
 * store/workspace_aware_mixin.py, store/workspace, server/workspace_helpers.py). Only the beginning is MLflow's
 * own: further on it quotes what users wrote.
 */
const ABOUT_TARGET =
  /^(INVALID_PARAMETER_VALUE: (Invalid experiment ID\b|Active workspace is required|Workspace (name|URI)\b)|FEATURE_DISABLED: Workspace)/;

/** Whether it is the experiment or the workspace that MLflow does not take. */
export function isAboutTarget({ message }: MlflowError): boolean {
  return ABOUT_TARGET.test(message);
}

function isOfClass({ code, message }: MlflowError, names: string): boolean {
  return (code === 'BAD_REQUEST' || code === 'INTERNAL_ERROR') && beginsWith(ofClass(names)).test(message);
}

/** Whether MLflow's database refuses the relay's requests, whatever is in them. */
export function isAboutStore(error: MlflowError): boolean {
  return isOfClass(
    error,
    'ReadOnlySqlTransaction|InsufficientPrivilege|Undefined(Table|Column)|InvalidSchemaName',
  );
}

/**
 * What MLflow 3.10 to 3.18 says of the content of spans alone: before it asks its store for anything, or while it makes
 * a statement of them (server/otel_api.py, store/tracking/sqlalchemy_store.py, psycopg2, sqlite3).
 */
const ABOUT_SPANS = [
  /^Invalid OpenTelemetry (protobuf )?format\b/,
  /^Cannot convert OpenTelemetry span\b/,
  /^INVALID_PARAMETER_VALUE: '(Session ID|Trace name)' exceeds the maximum length of \d+ characters$/,
  /^INTERNAL_ERROR: (Python )?int too large to convert\b/,
  /^INTERNAL_ERROR: A string literal cannot contain NUL \(0x00\) characters\.$/,
  /^INTERNAL_ERROR: 'utf-8' codec can't encode characters? .*: surrogates not allowed$/,
  /^INTERNAL_ERROR: Object of type \w+ is not JSON serializable$/,
  /^BAD_REQUEST: \(\w+\.(ProgrammingError|InterfaceError)\) (Error binding parameter \d+\b|can't adapt type ')/,
];

/**
 * Whether the refusal can be about nothing but the spans. To most of what goes wrong MLflow answers the same, whoever
 * is to blame.
 */
export function isAboutSpans(error: MlflowError): boolean {
  return (
    ABOUT_SPANS.some((words) => words.test(error.message)) ||
    isOfClass(error, 'DataError|StringDataRightTruncation|NumericValueOutOfRange')
  );
}

const UNSTORABLE: readonly (readonly [Unstorable, RegExp])[] = [
  ['NUL', beginsWith(String.raw`A string literal cannot contain NUL \(0x00\) characters`)],
  // Attributes of a resource become tags, as JSON where they are no text.
  ['bytes', beginsWith('Object of type bytes is not JSON serializable$')],
  ['surrogates', beginsWith(`'utf-8' codec can't encode characters? .*: surrogates not allowed`)],
];

/** What MLflow or its database cannot store, where that is why it refuses. */
export function unstorableOf({ message }: MlflowError): Unstorable | undefined {
  return UNSTORABLE.find(([, words]) => words.test(message))?.[0];
}

/**
 * Whether it is a value that the database does not take, which the driver of MySQL and MariaDB takes for a fault of
 * operation, so that MLflow answers 503: an incorrect string for the character set, one too long, a number out of range.
 */
export function isAboutValue({ code, message }: MlflowError): boolean {
  const words = String.raw`${ofClass('OperationalError')} \((?:1366|1406|1264)\b`;
  return code === 'TEMPORARILY_UNAVAILABLE' && beginsWith(words).test(message);
}

/** SQLAlchemy appends the statement and its parameters, which are users' data. */
function withoutSql(message: string): string {
  return message.split('[SQL:')[0] ?? '';
}
