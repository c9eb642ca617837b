import * as z from 'zod';
import { configSchema } from './schema.ts';

/** What the loader puts a value of the environment in place of. */
const SUBSTITUTION = '\\$\\{env:[A-Za-z_][A-Za-z0-9_]*\\}';

/**
 * The JSON schema (2020-12) of the file as it is written: sizes and times as text, and `${env:NAME}` wherever
 * text has a form. For editors; the loader checks more, and says it better.
 */
export function configJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(configSchema, {
    io: 'input',
    // Called more than once for a schema that is made of others.
    override: ({ jsonSchema, path }) => {
      // Names of destinations are keys, and keys are not substituted.
      const { pattern } = jsonSchema;
      if (pattern !== undefined && !pattern.endsWith(SUBSTITUTION) && path.at(-1) !== 'propertyNames') {
        jsonSchema.pattern = `${pattern}|${SUBSTITUTION}`;
      }
      if (jsonSchema.enum !== undefined) {
        jsonSchema.anyOf = [{ enum: jsonSchema.enum }, { pattern: SUBSTITUTION }];
        delete jsonSchema.enum;
      }
    },
  });
  return { ...schema, title: 'Configuration of mlflow-trace-relay' };
}
