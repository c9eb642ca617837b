import { stringify } from 'yaml';
import * as z from 'zod';
import { SECRET_KEYS } from './destination-schema.ts';
import { configSchema } from './schema.ts';
import type { Config } from './schema.ts';

const MASK = '********';

/** The effective configuration as YAML, in the order of the schema, secrets masked. */
export function printConfig(config: Config): string {
  const written = z.encode(configSchema, config);
  return stringify(written, (key, value: unknown) => (SECRET_KEYS.has(String(key)) ? MASK : value), {
    lineWidth: 0,
  });
}
