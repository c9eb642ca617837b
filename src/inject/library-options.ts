import * as z from 'zod';
import { closest } from '../config/closest.ts';
import { RelayError } from '../errors.ts';
import { HIGHEST_RATE, LONGEST_WAIT_MS, MOST_TRACES } from './limits.ts';

const wording = { error: 'expected a text that is not empty' };
const text = z.string(wording).min(1, wording);

function number(isFine: (value: number) => boolean, error: string) {
  return z.custom<number>((value) => typeof value === 'number' && isFine(value), { error });
}

const ONE = z.strictObject(
  {
    config: text,
    destination: text.optional(),
    endpoint: text.optional(),
    caFile: text.optional(),
    certFile: text.optional(),
    keyFile: text.optional(),
    wait: z
      .union([z.literal(false), number((value) => value >= 0 && value <= LONGEST_WAIT_MS, '')], {
        error: `expected milliseconds, up to ${LONGEST_WAIT_MS}, or false`,
      })
      .optional(),
    service: text.optional(),
    attributes: z
      .record(z.string(), z.string({ error: 'expected a text' }), { error: 'expected a map of texts' })
      .optional(),
    experiment: text.optional(),
  },
  { error: ({ code }) => (code === 'invalid_type' ? 'expected an object' : undefined) },
);

const SEVERAL = ONE.extend({
  count: number(
    (value) => Number.isInteger(value) && value >= 1 && value <= MOST_TRACES,
    `expected 1 to ${MOST_TRACES}`,
  ),
  rate: number(
    (value) => value > 0 && value <= HIGHEST_RATE,
    `expected above 0, up to ${HIGHEST_RATE}`,
  ).optional(),
});

/**
 * Checks what a program gives to the library, where no compiler has.
 * @throws RelayError USAGE
 */
export function checkOptions(options: unknown, of: 'one trace' | 'several'): void {
  const schema = of === 'several' ? SEVERAL : ONE;
  const { error } = schema.safeParse(options, { reportInput: true });
  if (error === undefined) return;
  const problems = error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => unknownOption(key, Object.keys(schema.shape)))
      : [`${issue.path.join('.') || 'options'}: ${issue.message}, got ${shown(issue.input)}`],
  );
  throw new RelayError('USAGE', problems.join('\n'));
}

function unknownOption(key: string, known: readonly string[]): string {
  const meant = closest(key, known);
  return `${key}: unknown option; ${meant === undefined ? `known are ${known.join(', ')}` : `did you mean ${meant}?`}`;
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 60));
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
