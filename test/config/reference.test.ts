import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, describe, test } from 'vitest';
import { parse } from 'yaml';
import { configJsonSchema } from '../../src/config/json-schema.ts';
import { loadConfig } from '../../src/config/load.ts';
import { printConfig } from '../../src/config/print.ts';
import { folder } from './folder.ts';

const text = readFileSync(new URL('../../config/relay.yaml', import.meta.url), 'utf8');
const committed = readFileSync(new URL('../../config/relay.schema.json', import.meta.url), 'utf8');
const validate = new Ajv2020({
  allErrors: true,
  strict: true,
  strictRequired: false,
  strictTypes: false,
}).compile(configJsonSchema());

const errorsOf = (config: unknown) => (validate(config) ? [] : (validate.errors ?? []));

type Schema = {
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | false;
  oneOf?: Schema[];
  description?: string;
  default?: unknown;
};
type Key = { path: string; description: string | undefined; default: unknown };

/** Every key of a schema; a map of names stands for one name, `mlflow`. */
function keysOf(schema: Schema, path: readonly string[] = []): Key[] {
  // Beside properties, `oneOf` says which of them go together; alone, it is a choice of maps.
  const variants = schema.properties ? [] : (schema.oneOf ?? []).flatMap((variant) => keysOf(variant, path));
  const named =
    typeof schema.additionalProperties === 'object'
      ? keysOf(schema.additionalProperties, [...path, 'mlflow'])
      : [];
  const own = Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => {
    const at = [...path, key];
    const { description, default: initial } = inner;
    return [{ path: at.join('.'), description, default: initial }].concat(keysOf(inner, at));
  });
  return [...variants, ...named, ...own];
}

/** The keys of the file with the comment above each; those behind a bare # are alternatives. */
function keysOfFile(yaml: string): Map<string, { comment: string; value: string; live: boolean }> {
  const found = new Map<string, { comment: string; value: string; live: boolean }>();
  const path: string[] = [];
  let comment: string[] = [];
  for (const line of yaml.split('\n')) {
    const prose = /^ *# (.*)$/.exec(line);
    const key = /^( *)(#?)([a-z_]+):(?: (.*))?$/.exec(line);
    if (key !== null) {
      const [, indent = '', off, name = '', value = ''] = key;
      path.splice(indent.length / 2, path.length, name);
      found.set(path.join('.'), { comment: comment.join(' '), value, live: off === '' });
      comment = [];
    } else if (prose !== null) comment.push(prose[1] ?? '');
    else comment = [];
  }
  return found;
}

const keys = keysOf(configJsonSchema() as Schema);
const inFile = keysOfFile(text);

describe('config/relay.schema.json', () => {
  test('is what `config schema` prints', () => {
    expect(JSON.parse(committed)).toEqual(JSON.parse(JSON.stringify(configJsonSchema())));
    expect(committed).toBe(`${JSON.stringify(configJsonSchema(), null, 2)}\n`);
  });

  test('says what every key is for, and its default where there is one', () => {
    expect(keys.length).toBeGreaterThan(50);
    expect(keys.filter(({ description }) => !/^.{10,}\.$/s.test(description ?? ''))).toEqual([]);
    expect(keys.find(({ path }) => path === 'receiver.max_request_body_size')?.default).toBe('64MiB');
  });

  test.each<[string, (config: Document) => void]>([
    ['an unknown key', (c) => Object.assign(c['receiver'], { lisen: 1 })],
    ['decimal units', (c) => Object.assign(c['queue'], { max_size: '4GB' })],
    ['a number as a time', (c) => Object.assign(c, { shutdown_timeout: 25 })],
    ['an unknown level', (c) => Object.assign(c['log'], { level: 'loud' })],
    ['tls and plaintext', (c) => Object.assign(c['receiver'], { plaintext: true })],
    ['neither', (c) => delete c['receiver'].tls],
    ['two experiments', (c) => Object.assign(c['destinations'].mlflow.experiment, { id: '1' })],
    ['two issuers', (c) => Object.assign(c['destinations'].mlflow.auth, { discovery_url: 'https://a' })],
    ['no secret', (c) => delete c['destinations'].mlflow.auth.client_secret_file],
    ['half a client certificate', (c) => Object.assign(c['destinations'].mlflow.tls, { key_file: 'a' })],
    ['routes', (c) => Object.assign(c, { routes: [{}] })],
    ['no destination', (c) => Object.assign(c, { destinations: {} })],
    ['a bad name', (c) => Object.assign(c, { destinations: { '${env:NAME}': c['destinations'].mlflow } })],
    ['no url', (c) => delete c['destinations'].mlflow.url],
  ])('refuses %s', (_, change) => {
    const config = parse(text) as Document;
    change(config);
    expect(errorsOf(config)).not.toEqual([]);
  });

  test('takes values of the environment in place of text', () => {
    const config = parse(text) as Document;
    config['log'].level = '${env:LEVEL}';
    config['queue'].max_size = '${env:MIB}MiB';
    config['receiver'].listen = '0.0.0.0:${env:PORT}';
    expect(errorsOf(config)).toEqual([]);
  });
});

// oxlint-disable-next-line typescript/no-explicit-any -- a parsed file of any shape, changed on purpose
type Document = Record<string, any>;

describe('config/relay.yaml', () => {
  const files = { 'relay.yaml': text, 'tls/relay.crt': 'x', 'tls/relay.key': 'x', 'tls/clients-ca.crt': 'x' };

  test('is a configuration that can be used, in the eyes of the loader and of the schema', () => {
    const path = folder({ ...files, 'tls/mlflow-ca.crt': 'x', 'secrets/client-secret': 'x' });
    expect(loadConfig(join(path, 'relay.yaml'), {}).queue.directory).toBe(join(path, 'data/queue'));
    expect(errorsOf(parse(text))).toEqual([]);
  });

  test('what is printed of it can be used again, and is the same', () => {
    const path = folder({ ...files, 'tls/mlflow-ca.crt': 'x', 'secrets/client-secret': 'x' });
    const config = loadConfig(join(path, 'relay.yaml'), {});
    const printed = folder({ 'relay.yaml': printConfig(config) });
    expect(loadConfig(join(printed, 'relay.yaml'), {})).toEqual(config);
    expect(errorsOf(parse(printConfig(config)))).toEqual([]);
  });

  test('names its schema in the first line', () => {
    expect(text.split('\n')[0]).toBe('# yaml-language-server: $schema=./relay.schema.json');
  });

  test('has every key of the schema, and no other', () => {
    expect([...inFile.keys()].filter((path) => path !== 'destinations.mlflow').toSorted()).toEqual(
      [...new Set(keys.map(({ path }) => path))].toSorted(),
    );
  });

  test('explains every key in the words of the schema', () => {
    for (const { path, description } of keys) {
      // `kind` is said once for both ways to authenticate.
      if (path === 'destinations.mlflow.auth.kind') continue;
      expect.soft(inFile.get(path)?.comment, path).toBe(description);
    }
  });

  test('shows every default', () => {
    const withDefault = keys.filter((key) => key.default !== undefined && typeof key.default !== 'object');
    expect(withDefault.length).toBeGreaterThan(15);
    for (const key of withDefault) {
      const { live, value } = inFile.get(key.path) ?? {};
      expect
        .soft({ path: key.path, live, value })
        .toEqual({ path: key.path, live: true, value: String(key.default) });
    }
  });
});
