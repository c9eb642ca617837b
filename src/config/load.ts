import { accessSync, constants, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import * as z from 'zod';
import { RelayError, messageOf } from '../errors.ts';
import { closest } from './closest.ts';
import { SECRET_KEYS } from './destination-schema.ts';
import { invalid } from './problems.ts';
import type { Path, Problem } from './problems.ts';
import { configSchema, destinationsSchema } from './schema.ts';
import type { Config } from './schema.ts';
import { readSecret } from './secret.ts';
import { readSource } from './source.ts';
import type { Source } from './source.ts';

/**
 * Reads and checks a configuration file. Relative paths in it start at the folder of the file; every file that
 * it names must be there and be readable.
 *
 * @throws RelayError CONFIG_UNREADABLE where there is no such file; CONFIG_INVALID with a line for each problem:
 * `relay.yaml:12:5 receiver.max_request_body_size: expected a size such as 64MiB, got "64 potatoes"`.
 */
export function loadConfig(file: string, env: NodeJS.ProcessEnv): Config {
  return load(file, readSource(file, env), configSchema) as Config;
}

/**
 * The destinations of a configuration, for commands that have to do with upstreams only: nothing else in the file is
 * looked at, and nothing else needs to be there. Nor are the files that it names: a person who logs in needs not the
 * relay's secret, and whoever reads one says what is wrong with it.
 *
 * @throws RelayError as `loadConfig`
 */
export function loadDestinations(file: string, env: NodeJS.ProcessEnv): Config['destinations'] {
  const source = readSource(file, env);
  const problems = source.problems.filter(({ path: [section] }) => section === 'destinations');
  const { destinations } = load(
    file,
    { ...source, problems },
    z.object({ destinations: destinationsSchema }),
    { checkFiles: false },
  );
  return destinations as Config['destinations'];
}

/** What the schema makes of the file, with absolute paths. */
function load<T extends object>(
  file: string,
  source: Source,
  schema: z.ZodType<T>,
  { checkFiles = true } = {},
): T {
  const result = schema.safeParse(source.data, { error: wording });
  // What was not substituted is wrong for that reason alone.
  const reported = new Set(source.problems.map(({ path }) => JSON.stringify(path)));
  const problems = [
    ...source.problems,
    ...(result.error?.issues ?? [])
      .flatMap((issue) => problemsOf(issue, source))
      .filter(({ path }) => !reported.has(JSON.stringify(path))),
  ];
  if (!result.success || problems.length > 0) throw invalid(file, problems);

  const base = dirname(resolve(file));
  const config = resolvePaths(result.data, base, [], (path, message) => {
    if (checkFiles) problems.push({ ...source.locate(path), path, message });
  });
  if (problems.length > 0) throw invalid(file, problems);
  return config as T;
}

/** Words for what the fields leave to it; several unknown keys get a line each. */
function wording(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = issue.inst instanceof z.ZodObject ? Object.keys(issue.inst.shape) : [];
      return issue.keys.map((key) => unknownKey(key, known)).join('\n');
    }
    case 'invalid_key':
      return issue.issues[0]?.message;
    case 'invalid_union':
      return `expected one of ${(issue['options'] as string[]).join(', ')}`;
    case 'invalid_type':
      return `expected ${issue.expected === 'array' ? 'a list' : 'a map of keys'}`;
    default:
      return undefined;
  }
}

function unknownKey(key: string, known: readonly string[]): string {
  const meant = closest(key, known);
  return `unknown key${meant === undefined ? `; known here: ${known.join(', ')}` : `; did you mean ${meant}?`}`;
}

function problemsOf(issue: z.core.$ZodIssue, source: Source): Problem[] {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step));
  if (issue.code === 'unrecognized_keys') {
    const messages = issue.message.split('\n');
    return issue.keys.map((key, index) => {
      const at = [...path, key];
      return { ...source.locate(at), path: at, message: messages[index] ?? 'unknown key' };
    });
  }
  return [{ ...source.locate(path), path, message: withFound(issue.message, path, source) }];
}

/** Ends an "expected …" with what stands there instead. */
function withFound(message: string, path: Path, source: Source): string {
  if (!message.startsWith('expected ')) return message;
  if (!source.has(path)) return `is missing: ${message}`;
  // A text where a map belongs, or in the key of a secret, may be the secret.
  const secret = SECRET_KEYS.has(String(path.at(-1)));
  const quiet = secret || /^expected a (map|list)\b/.test(message);
  return `${message}, got ${quiet ? source.kind(path) : source.show(path)}`;
}

/** A copy with paths made absolute; files that cannot be used are reported. */
function resolvePaths(
  value: unknown,
  base: string,
  path: Path,
  report: (path: Path, message: string) => void,
): unknown {
  if (Array.isArray(value) || typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]: [string, unknown]) => {
      const at = [...path, key];
      if (typeof inner !== 'string') return [key, resolvePaths(inner, base, at, report)];
      if (key !== 'directory' && !key.endsWith('_file')) return [key, inner];
      const file = resolve(base, inner);
      const problem = key === 'directory' ? undefined : fileProblem(key, file);
      if (problem !== undefined) report(at, problem);
      return [key, file];
    }),
  );
}

function fileProblem(key: string, file: string): string | undefined {
  try {
    if (!statSync(file).isFile()) return `${file} is no file`;
    accessSync(file, constants.R_OK);
    if (SECRET_KEYS.has(key.replace(/_file$/, ''))) readSecret(file);
    return undefined;
  } catch (error) {
    return error instanceof RelayError ? error.message : `cannot read the file: ${messageOf(error)}`;
  }
}
