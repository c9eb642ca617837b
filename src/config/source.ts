import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { LineCounter, isAlias, isMap, isScalar, isSeq, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { RelayError, messageOf } from '../errors.ts';
import { invalid } from './problems.ts';
import type { Path, Place, Problem } from './problems.ts';
import { substitute } from './substitute.ts';

const MAX_FILE_BYTES = 1_048_576;
/** Maps, lists and values, aliases followed: far more than a configuration has, far less than hurts. */
const MAX_NODES = 20_000;
const MAX_DEPTH = 32;
/** Characters of a value that a message shows. */
const MAX_SHOWN = 60;

/** A configuration file as plain values, with the place of each. */
export type Source = {
  /** Strings are substituted. */
  readonly data: unknown;
  /** What could not be substituted. */
  readonly problems: readonly Problem[];
  /** The place of a key (in a list: of the item), or of the nearest key around one that is missing. */
  locate(path: Path): Place;
  has(path: Path): boolean;
  /** What stands in the file, before substitution: never a value of the environment. */
  show(path: Path): string;
  /** What kind of thing stands there, in words that show nothing of it. */
  kind(path: Path): string;
};

/**
 * Reads YAML 1.2 and substitutes `${env:NAME}`.
 *
 * @throws RelayError CONFIG_UNREADABLE for a file that cannot be read, CONFIG_INVALID for one that is not YAML.
 */
export function readSource(file: string, env: NodeJS.ProcessEnv): Source {
  const bytes = readBytes(file);
  const fail = (message: string, place: Place = { line: 1, column: 1 }, path: Path = []) =>
    invalid(file, [{ ...place, path, message }]);
  if (bytes.byteLength > MAX_FILE_BYTES) throw fail(`the file is longer than ${MAX_FILE_BYTES} bytes`);
  if (!isUtf8(bytes)) throw fail('the file is not UTF-8 text', { line: firstBadLine(bytes), column: 1 });

  const lines = new LineCounter();
  const placeOf = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const document = parseDocument(bytes.toString('utf8'), { lineCounter: lines, prettyErrors: false });
  const [wrong] = [...document.errors, ...document.warnings].toSorted((a, b) => a.pos[0] - b.pos[0]);
  if (wrong !== undefined) throw fail(yamlProblem(wrong.code, wrong.message), placeOf(wrong.pos[0]));
  if (document.contents === null) {
    throw fail('the file is empty: it needs at least receiver, queue and destinations');
  }
  return walk(document, env, placeOf, (message, offset, path) => fail(message, placeOf(offset), path));
}

function readBytes(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const message = `cannot read the configuration file ${file}: ${messageOf(cause)}; name another one with --config FILE`;
    throw new RelayError('CONFIG_UNREADABLE', message, { cause });
  }
}

function firstBadLine(bytes: Buffer): number {
  let line = 1;
  for (let start = 0, end = 0; end !== -1; start = end + 1, line++) {
    end = bytes.indexOf('\n', start);
    if (!isUtf8(bytes.subarray(start, end === -1 ? undefined : end))) return line;
  }
  return line;
}

/** The parser's words without what they quote of the file: it may be a secret that lacked quotes. */
function yamlProblem(code: string, message: string): string {
  if (code === 'TAG_RESOLVE_FAILED') return 'tags mean nothing here; put text that starts with ! in quotes';
  if (code === 'RESOURCE_EXHAUSTION') return 'the file is nested too deeply';
  if (code === 'MULTIPLE_DOCS') return 'the file holds several documents (---); only one can be read';
  const words = `not YAML: ${message.replace(/(?<! ): .*$/s, '')}`;
  return words.includes('flow-')
    ? `${words}; text with any of {}[], in it needs quotes, "\${env:NAME}" too`
    : words;
}

/** Goes through the document once: plain values on one side, places and words about them on the other. */
function walk(
  document: Document.Parsed,
  env: NodeJS.ProcessEnv,
  placeOf: (offset: number) => Place,
  fail: (message: string, offset: number, path: Path) => Error,
): Source {
  const nodes = new Map<string, { offset: number; kind: string; show: string }>();
  const problems: Problem[] = [];

  const value = (node: unknown, path: Path, offset: number): unknown => {
    if (nodes.size >= MAX_NODES || path.length > MAX_DEPTH) {
      throw fail('holds too many values, or is nested too deeply', offset, path);
    }
    if (isAlias(node)) {
      const target = node.resolve(document);
      if (target !== undefined) return value(target, path, offset);
      throw fail(
        'refers to an anchor that is not there; put text that starts with * in quotes',
        offset,
        path,
      );
    }
    const remember = (kind: string, show = kind) => nodes.set(keyOf(path), { offset, kind, show });
    if (isMap(node)) {
      remember('a map');
      const entries = node.items.map((pair): [string, unknown] => {
        const key: unknown = isScalar(pair.key) ? pair.key.value : undefined;
        const at = offsetOf(pair.key) ?? offset;
        if (typeof key !== 'string' && typeof key !== 'number')
          throw fail('has a key that is no text', at, path);
        return [String(key), value(pair.value, [...path, String(key)], at)];
      });
      return Object.fromEntries(entries);
    }
    if (isSeq(node)) {
      remember('a list');
      return node.items.map((item, index) => value(item, [...path, index], offsetOf(item) ?? offset));
    }
    const scalar: unknown = isScalar(node) ? node.value : null;
    if (typeof scalar === 'string') {
      const { text, used, problems: words } = substitute(scalar, env);
      remember('a text', quote(scalar) + (used ? ' (from the environment)' : ''));
      for (const message of words) problems.push({ ...placeOf(offset), path, message });
      return text;
    }
    if (scalar === null) remember('nothing');
    else remember(`a ${typeof scalar}`, String(scalar));
    return scalar;
  };

  const data = value(document.contents, [], 0);
  const at = (path: Path) => nodes.get(keyOf(path));
  const locate = (path: Path): Place => {
    const node = at(path);
    return node === undefined && path.length > 0 ? locate(path.slice(0, -1)) : placeOf(node?.offset ?? 0);
  };
  return {
    data,
    problems,
    locate,
    has: (path) => at(path) !== undefined,
    show: (path) => at(path)?.show ?? 'nothing',
    kind: (path) => at(path)?.kind ?? 'nothing',
  };
}

/** Text in quotes, cut to a line; what stands before an @ may be a password. */
function quote(text: string): string {
  const shown = text.replace(/^.*@/s, '…@');
  return JSON.stringify(shown.length > MAX_SHOWN ? `${shown.slice(0, MAX_SHOWN)}…` : shown);
}

function keyOf(path: Path): string {
  return JSON.stringify(path);
}

function offsetOf(node: unknown): number | undefined {
  return isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range?.[0] : undefined;
}
