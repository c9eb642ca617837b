import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { parse, parseDocument, visit } from 'yaml';
import { program } from '../src/cli.ts';
import { configJsonSchema } from '../src/config/json-schema.ts';
import { loadConfig } from '../src/config/load.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { folder } from './config/folder.ts';
import { transcriptsIn } from './e2e/support/transcript.ts';

const ROOT = join(import.meta.dirname, '..');
const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');

/** The fenced blocks of a language. */
function blocks(language: string): string[] {
  return [...readme.matchAll(/^```(\S*)\n(.*?)^```$/gms)]
    .filter(([, name]) => name === language)
    .map(([, , content = '']) => content);
}

const configurations = blocks('yaml').filter((block) => /^receiver:/m.test(block));
const configuration = configurations[0] ?? '';

/** What names a secret or certificate in the block, by where it stands there. */
function namedFiles(yaml: string): string[] {
  const files: string[] = [];
  visit(parseDocument(yaml), {
    Pair(_, { key, value }) {
      if (String(key).endsWith('_file')) files.push(String(value));
    },
  });
  return files;
}

/** A path that is absolute in the block, in the folder of a test. */
function local(file: string): string {
  return file.replace(/^\//, '');
}

type Schema = {
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | false;
  oneOf?: Schema[];
};

/** The paths of a value's keys that the schema does not know. */
function unknownKeys(value: unknown, schema: Schema, path: string[] = []): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = [...path, key];
    const known = [schema, ...(schema.oneOf ?? [])].flatMap(({ properties, additionalProperties }) => {
      const found = properties?.[key] ?? additionalProperties;
      return typeof found === 'object' ? [found] : [];
    });
    if (known.length === 0) return [at.join('.')];
    // What one of the variants knows is known.
    const unknown = known.map((one) => unknownKeys(inner, one, at));
    return unknown.reduce((fewest, one) => (one.length < fewest.length ? one : fewest));
  });
}

test('the configuration for production is one that the relay takes', () => {
  expect(configurations).toHaveLength(1);
  const files = namedFiles(configuration);
  expect(files).toHaveLength(4);
  const path = folder({
    ...Object.fromEntries(files.map((file) => [local(file), 'x'])),
    'relay.yaml': files.reduce((yaml, file) => yaml.replace(file, local(file)), configuration),
  });
  const config = loadConfig(join(path, 'relay.yaml'), {});
  expect(config.receiver.tls?.cert_file).toBe(join(path, 'tls.crt'));
  expect(config.destinations['mlflow']?.auth).toMatchObject({ kind: 'client_credentials' });
});

test('every key of the configuration exists', () => {
  expect(unknownKeys(parse(configuration), configJsonSchema() as Schema)).toEqual([]);
  expect(unknownKeys({ queue: { sise: 1 } }, configJsonSchema() as Schema)).toEqual(['queue.sise']);
});

test('keys that the text names exist, with their section', () => {
  const schema = configJsonSchema() as Schema & { properties: Record<string, Schema> };
  const sections = Object.keys(schema.properties).join('|');
  const named = [...readme.matchAll(new RegExp('`((?:' + sections + ')\\.[a-z_.]+)`', 'g'))].map(
    ([, path = '']) => path,
  );
  expect(named).toEqual(expect.arrayContaining(['queue.max_size', 'admin.listen']));
  for (const path of named) {
    const asValue = path.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), 1);
    expect.soft(unknownKeys(asValue, schema), path).toEqual([]);
  }
});

test('the table of codes has every code of an error, and no other', () => {
  const source = readFileSync(join(ROOT, 'src/errors.ts'), 'utf8');
  const type = /type ErrorCode =(.*?);/s.exec(source)?.[1] ?? '';
  const codes = [...type.matchAll(/'([A-Z_]+)'/g)].map(([, code]) => code);
  expect(codes.length).toBeGreaterThan(5);
  const firstCells = [...readme.matchAll(/^\| (`[A-Z_`, ]+`) +\|/gm)].map(([, cell = '']) => cell);
  const documented = firstCells.flatMap((cell) => [...cell.matchAll(/`([A-Z_]+)`/g)].map(([, code]) => code));
  expect(documented.toSorted()).toEqual(codes.toSorted());
});

test('the table of answers has every status that the receiver refuses with', () => {
  const source = readFileSync(join(ROOT, 'src/receiver/refusal.ts'), 'utf8');
  const statuses = /readonly status: ([\d| ]+);/.exec(source)?.[1]?.split(' | ') ?? [];
  expect(statuses.length).toBeGreaterThan(5);
  const cells = [...readme.matchAll(/^\| (\d{3}(?:, \d{3})*) +\|/gm)].map(([, cell = '']) => cell);
  expect(cells.flatMap((cell) => cell.split(', ')).toSorted()).toEqual(['200', ...statuses].toSorted());
});

test('npm scripts that it names exist', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const named = [...readme.matchAll(/\bnpm (?:run ([\w:-]+)|(test|start)\b)/g)].map(
    ([, script, own]) => script ?? own ?? '',
  );
  expect(named).toEqual(expect.arrayContaining(['quickstart', 'bench', 'test']));
  expect(named.filter((script) => !Object.hasOwn(scripts, script))).toEqual([]);
});

test('files that it links to exist', () => {
  const links = [...readme.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  const files = links
    .filter((target) => !/^(https?:|#)/.test(target))
    .map((target) => target.split('#', 1)[0]!);
  expect(files.length).toBeGreaterThan(2);
  expect(files.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
});

test('metrics that it names exist', () => {
  const catalogue = createMetrics()
    .registry.getMetricsAsArray()
    .map(({ name }) => name);
  // `*` and `…` stand for any part.
  const named = [...readme.matchAll(/mlflow_trace_relay_[a-z_*…]*/g)].map(([name]) => name);
  expect(named).toContain('mlflow_trace_relay_upstream_state');
  for (const name of named) {
    const pattern = new RegExp(`^${name.replaceAll(/[*…]/g, '.*')}$`);
    expect
      .soft(
        catalogue.filter((metric) => pattern.test(metric)),
        name,
      )
      .not.toEqual([]);
  }
});

test('every test that it names as a proof is there', () => {
  const named = [...readme.matchAll(/`((?:relay|queue)\/[a-z-]+\.test\.ts)`/g)].map(([, name = '']) => name);
  expect(named.length).toBeGreaterThanOrEqual(12);
  expect(named.filter((name) => !existsSync(join(ROOT, 'test/fault', name)))).toEqual([]);
});

/** What a person types for each command that does something, without flags. */
function commandLines(command: Command, before: string): string[] {
  const own = `${before}${command.name()} `;
  const inner = command.commands.flatMap((one) => commandLines(one, own));
  // A group of commands takes no flags.
  return inner.length === 0 || (command.parent !== null && command.options.length > 0)
    ? [own, ...inner]
    : inner;
}

/** Their output is for programs. */
const NOT_SHOWN = new Set(
  ['config schema', 'completion', 'complete'].map((name) => `mlflow-trace-relay ${name} `),
);

test('it shows what each command prints; test/e2e/readme.test.ts holds that', () => {
  const lines = commandLines(program(), '');
  expect(lines).toEqual(expect.arrayContaining([...NOT_SHOWN].slice(0, 1)));
  const shown = new Set(
    transcriptsIn(readme).map(({ command }) => {
      const ofCommand = lines.filter((line) => command.startsWith(line));
      return ofCommand.toSorted((a, b) => b.length - a.length)[0];
    }),
  );
  expect(lines.filter((line) => !shown.has(line) && !NOT_SHOWN.has(line))).toEqual([]);
});
