import { isIPv4, isIPv6 } from 'node:net';
import * as z from 'zod';
import { isLoopback } from '../loopback.ts';
import {
  DURATION_PATTERN,
  SIZE_PATTERN,
  formatDuration,
  formatSize,
  parseDuration,
  parseSize,
  suggestSize,
} from './units.ts';

/*
 * The kinds of values that the configuration is made of. A message that starts with "expected" is followed,
 * in what people read, by what stands in the file instead; any other message is complete as it is.
 */

export type Address = { readonly host: string; readonly port: number };

/** A map with these keys and no others. */
export function section<Shape extends z.core.$ZodLooseShape>(shape: Shape, expected = 'a map of keys') {
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'invalid_type' ? `expected ${expected}` : undefined),
  });
}

/** Text that is not empty. */
export function text(expected: string, maxLength = 1024) {
  const error = `expected ${expected}`;
  return z
    .string({ error })
    .min(1, { error })
    .max(maxLength, { error: `${error}, at most ${maxLength} characters` });
}

/** The path of a file. The loader resolves it, and looks whether it can be read, by the `_file` of its key. */
export function file(what: string) {
  return text(`the path of ${what}`, 4096);
}

/** A URI or DNS name, `*` allowed: what could never match a name of a certificate is no pattern. */
export function clientPattern() {
  const expected = 'a SPIFFE id or a DNS name, such as spiffe://cluster.local/ns/observability/sa/*';
  return text(expected, 2048).regex(/^(?:[a-z][a-z0-9+.-]*:[!-~]+|[a-z0-9_.*-]+)$/i, {
    error: `expected ${expected}`,
  });
}

export function whole(min: number, max: number) {
  const error = `expected a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

export function flag() {
  return z.boolean({ error: 'expected true or false' });
}

/** `64MiB` in the file, bytes in the program. */
export function size(min: string, max: string) {
  const range = `expected a size from ${min} to ${max}`;
  return z.codec(
    z.string({ error: 'expected a size such as 64MiB' }).meta({ pattern: SIZE_PATTERN }),
    z.int(),
    {
      decode(written, context) {
        const bytes = parseSize(written);
        if (bytes !== undefined && bytes >= toBytes(min) && bytes <= toBytes(max)) return bytes;
        const meant = suggestSize(written);
        const message =
          bytes !== undefined
            ? range
            : `expected a size such as 64MiB${meant === undefined ? '' : ` (units are B, KiB, MiB and GiB; write ${meant})`}`;
        context.issues.push({ code: 'custom', message, input: written });
        return z.NEVER;
      },
      encode: formatSize,
    },
  );
}

/** `5s` in the file, milliseconds in the program. */
export function duration(min: string, max: string) {
  const example = 'expected a time such as 5s (units are ms, s, m and h)';
  return z.codec(z.string({ error: example }).meta({ pattern: DURATION_PATTERN }), z.int(), {
    decode(written, context) {
      const ms = parseDuration(written);
      if (ms !== undefined && ms >= toMs(min) && ms <= toMs(max)) return ms;
      const message = ms === undefined ? example : `expected a time from ${min} to ${max}`;
      context.issues.push({ code: 'custom', message, input: written });
      return z.NEVER;
    },
    encode: formatDuration,
  });
}

const ADDRESS = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})$/;

/** `127.0.0.1:4318`, `[::1]:4318` or `name:4318` in the file, host and port in the program. */
export function address() {
  const error = 'expected an address and a port such as 127.0.0.1:4318 or "[::1]:4318"';
  return z.codec(z.string({ error }).meta({ pattern: ADDRESS.source }), z.custom<Address>(), {
    decode(written, context) {
      const parsed = parseAddress(written);
      if (parsed !== undefined) return parsed;
      context.issues.push({ code: 'custom', message: error, input: written });
      return z.NEVER;
    },
    encode: ({ host, port }) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`),
  });
}

function parseAddress(written: string): Address | undefined {
  const [, v6, name, digits] = ADDRESS.exec(written) ?? [];
  const host = v6 ?? name;
  const port = Number(digits);
  if (host === undefined || port > 65_535) return undefined;
  if (v6 !== undefined ? !isIPv6(v6) : /^[\d.]+$/.test(host) && !isIPv4(host)) return undefined;
  return { host, port };
}

/** An http or https address that requests are made under. Kept as it is written: issuers compare as text. */
export function httpUrl(expected: string) {
  return text(expected, 2048).superRefine((written, context) => {
    const problem = urlProblem(written);
    if (problem !== undefined) context.addIssue(problem === '' ? `expected ${expected}` : problem);
  });
}

/** Words about what is wrong with a URL, empty where it is none at all. */
function urlProblem(written: string): string | undefined {
  const url = URL.parse(written);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) return '';
  if (url.username !== '' || url.password !== '') {
    return 'must have no user name or password in it: access is asked for with a token (see auth)';
  }
  if (written.includes('?') || written.includes('#')) return 'must have no query (?) and no fragment (#)';
  return undefined;
}

/** Adds the rule that exactly one of these keys stands; `error` says it for none and for several. */
export function exactlyOne<T extends z.ZodObject>(
  schema: T,
  keys: readonly string[],
  error: { none: string; several: string },
): T {
  return rule(schema, (value) => keys.filter((key) => value[key] !== undefined).length === 1, {
    error: (value) => (keys.some((key) => value[key] !== undefined) ? error.several : error.none),
  }).meta({
    // Metadata of the schema before is kept: a second rule of this kind stands beside the first.
    allOf: [
      ...((schema.meta()?.['allOf'] as object[] | undefined) ?? []),
      { oneOf: keys.map((key) => ({ required: [key] })) },
    ],
  });
}

/** Adds the rule that the URL of this key is https, or http where nobody else can listen or it was allowed. */
export function httpsUnlessAllowed<T extends z.ZodObject>(schema: T, key: string): T {
  return rule(
    schema,
    (value) => {
      const url = typeof value[key] === 'string' ? URL.parse(value[key]) : null;
      return url?.protocol !== 'http:' || isLoopback(url.hostname) || value['allow_http'] === true;
    },
    {
      path: [key],
      error: () =>
        'is http:// to another machine, where tokens and traces can be read on the way: ' +
        'use https://, or say allow_http: true beside it',
    },
  );
}

/**
 * Adds a rule between keys. Unlike a plain refinement it is also checked while single keys are wrong, so that
 * one start shows every problem.
 */
export function rule<T extends z.ZodObject>(
  schema: T,
  holds: (value: Readonly<Record<string, unknown>>) => boolean,
  options: { error: (value: Readonly<Record<string, unknown>>) => string; path?: string[] },
): T {
  return schema.refine((value) => holds(value), {
    error: (issue) => options.error(issue.input as Record<string, unknown>),
    when: ({ value }) => typeof value === 'object' && value !== null && !Array.isArray(value),
    ...(options.path && { path: options.path }),
  });
}

function toBytes(written: string): number {
  return parseSize(written) ?? Number.NaN;
}

function toMs(written: string): number {
  return parseDuration(written) ?? Number.NaN;
}
