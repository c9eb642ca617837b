import { readFileSync, readdirSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/** Open to all: what every room speaks with. */
const OPEN = [
  'errors.ts',
  'telemetry/logger.ts',
  'telemetry/metrics.ts',
  'telemetry/notice.ts',
  'otlp/record.ts',
];

/** The ports: rooms meet in them, not in what stands behind them. */
const PORTS = ['queue/queue.ts', 'destinations/destination.ts', 'auth/token-source.ts'];

/** What each file at the top, and each room, may import beside itself and what is open: files, or rooms whole. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'main.ts': ['node-version.ts', 'cli.ts'],
  'node-version.ts': [],
  'cli.ts': ['commands'],
  // The library of the package.
  'testing.ts': ['commands/destination-option.ts', 'config', 'inject'],
  'errors.ts': [],
  'network-words.ts': [],
  'loopback.ts': [],
  'never-aborts.ts': [],
  'file-lock.ts': [],
  'zstd-frame.ts': [],
  'concat-in-turns.ts': [],
  'certificates.ts': [],
  'bounded-json.ts': [],
  'fair-pool.ts': [],
  'pipelining.ts': [],
  'round-robin.ts': [],
  'socket-reading.ts': [],
  'turn-of-reads.ts': ['round-robin.ts', 'socket-reading.ts'],
  'address-block.ts': [],
  // The one file that imports every room.
  'relay.ts': [
    'receiver',
    'routing',
    'otlp',
    'queue',
    'delivery',
    'destinations',
    'auth',
    'telemetry',
    'config',
    'destination-tokens.ts',
    'relay-status.ts',
  ],
  'destination-tokens.ts': ['auth', 'config'],
  'relay-status.ts': [
    'queue/queue.ts',
    'delivery/dispatcher.ts',
    'auth/token-source.ts',
    'telemetry/admin-server.ts',
  ],

  commands: [
    'config',
    'doctor',
    'relay.ts',
    'inject',
    'network-words.ts',
    'never-aborts.ts',
    'auth',
    'proxy',
    'destination-tokens.ts',
    'destinations/token-words.ts',
    'destinations/one-mlflow.ts',
    'otlp/traces-json.ts',
    'queue/forget.ts',
    'queue/stored-letters.ts',
    'queue/letter-requests.ts',
    'queue/letter-work.ts',
  ],
  proxy: ['network-words.ts', 'masking/secret-mask.ts', 'auth/token-source.ts', 'destinations'],
  // It diagnoses by the code of the relay itself.
  doctor: [
    'config',
    'certificates.ts',
    'network-words.ts',
    'loopback.ts',
    'never-aborts.ts',
    'receiver/tls.ts',
    'queue',
    'destinations',
    'auth',
  ],
  inject: [
    'config',
    'destination-tokens.ts',
    'auth',
    'destinations',
    'otlp',
    'network-words.ts',
    'bounded-json.ts',
    'zstd-frame.ts',
  ],
  config: ['loopback.ts'],
  // Takes out of what comes back what was sent as a secret.
  masking: ['concat-in-turns.ts'],
  otlp: ['bounded-json.ts'],
  telemetry: ['fair-pool.ts', 'pipelining.ts', 'turn-of-reads.ts', 'address-block.ts'],
  receiver: [
    'certificates.ts',
    'fair-pool.ts',
    'pipelining.ts',
    'round-robin.ts',
    'socket-reading.ts',
    'turn-of-reads.ts',
    'address-block.ts',
    'zstd-frame.ts',
    'otlp',
    'queue/queue.ts',
    'config/watch.ts',
  ],
  routing: [],
  queue: ['file-lock.ts'],
  delivery: ['otlp/wire.ts', 'queue/queue.ts', 'destinations/destination.ts'],
  destinations: [
    'network-words.ts',
    'concat-in-turns.ts',
    'bounded-json.ts',
    'masking/secret-mask.ts',
    'certificates.ts',
    'otlp/response.ts',
    'otlp/append-attribute.ts',
    'otlp/edit-spans.ts',
    'otlp/repair-mark.ts',
    'otlp/edit-texts.ts',
    'auth/token-source.ts',
    'config/watch.ts',
  ],
  auth: [
    'network-words.ts',
    'bounded-json.ts',
    'masking/secret-mask.ts',
    'loopback.ts',
    'certificates.ts',
    'file-lock.ts',
    'config/watch.ts',
  ],
};

/** Commands show that a configuration is wrong without loading what could fail to load. */
const LAZY_ONLY: Readonly<Record<string, string>> = { 'relay.ts': 'commands/run.ts' };

type Sources = Readonly<Record<string, string>>;
type Import = { specifier: string; lazy: boolean };

/** Every module that a file names: type-only, side-effect, re-exported, dynamic, or by URL (workers). */
function importsOf(source: string): Import[] {
  const code = source.replaceAll(/^\s*(\/\/|\/?\*).*$/gm, '');
  const lazy = /\bimport\s*\(\s*(['"`])(.+?)\1|\bnew\s+URL\s*\(\s*(['"`])(.+?)\3\s*,\s*import\.meta\.url/g;
  const eager = /\bfrom\s*(['"])(.+?)\1|\bimport\s*(['"])(.+?)\3/g;
  const found = (pattern: RegExp, isLazy: boolean) =>
    [...code.matchAll(pattern)].map((match) => ({ specifier: match[2] ?? match[4] ?? '', lazy: isLazy }));
  return [...found(eager, false), ...found(lazy, true)];
}

/** The room of a file, or the file itself where it stands at the top. */
const roomOf = (file: string) => file.split('/', 1)[0] ?? file;

/** `from → to` for each import inside src; what leaves src is no edge. */
function edgesOf(sources: Sources): { from: string; to: string; lazy: boolean }[] {
  return Object.entries(sources).flatMap(([from, source]) =>
    importsOf(source)
      .filter(({ specifier }) => specifier.startsWith('.'))
      .map(({ specifier, lazy }) => ({ from, to: posix.join(posix.dirname(from), specifier), lazy }))
      .filter(({ to }) => !to.startsWith('..')),
  );
}

function violations(sources: Sources): string[] {
  const problems: string[] = [];
  for (const [file, source] of Object.entries(sources)) {
    if (MAY_IMPORT[roomOf(file)] === undefined) problems.push(`${file}: not in the table of rooms`);
    // What is computed cannot be held to anything.
    if (/\bimport\s*\(\s*[^\s'"]/.test(source)) problems.push(`${file}: imports something computed`);
  }
  const edges = edgesOf(sources);
  for (const { from, to, lazy } of edges) {
    const room = roomOf(from);
    const allowed = new Set([...OPEN, ...(MAY_IMPORT[room] ?? [])]);
    if (roomOf(to) !== room && !allowed.has(to) && !allowed.has(roomOf(to))) {
      problems.push(`${from} → ${to}: not along the street`);
    }
    if ([...OPEN, ...PORTS].includes(from) && ![...OPEN, ...PORTS].includes(to)) {
      problems.push(`${from} → ${to}: others import it, so it must stay light`);
    }
    const only = LAZY_ONLY[to];
    if (only !== undefined && (from !== only || !lazy))
      problems.push(`${from} → ${to}: only lazily, by ${only}`);
  }
  const cycle = cycleOf(edges);
  if (cycle !== undefined) problems.push(`cycle: ${cycle.join(' → ')}`);
  return problems;
}

/** A cycle between rooms; what is open, and single files that others may import, stand for themselves. */
function cycleOf(edges: readonly { from: string; to: string }[]): string[] | undefined {
  const alone = new Set([
    ...OPEN,
    ...PORTS,
    'config/watch.ts',
    'otlp/wire.ts',
    'otlp/response.ts',
    'otlp/edit-spans.ts',
  ]);
  const nodeOf = (file: string) => (alone.has(file) ? file : roomOf(file));
  const next = new Map<string, Set<string>>();
  for (const { from, to } of edges) {
    if (nodeOf(from) === nodeOf(to)) continue;
    next.set(nodeOf(from), (next.get(nodeOf(from)) ?? new Set()).add(nodeOf(to)));
  }
  const done = new Set<string>();
  const visit = (node: string, way: readonly string[]): string[] | undefined => {
    if (way.includes(node)) return [...way.slice(way.indexOf(node)), node];
    if (done.has(node)) return undefined;
    for (const to of next.get(node) ?? []) {
      const cycle = visit(to, [...way, node]);
      if (cycle !== undefined) return cycle;
    }
    done.add(node);
    return undefined;
  };
  for (const node of next.keys()) {
    const cycle = visit(node, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

function sourcesOf(root: string): Sources {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /\.[cm]?[jt]s$/.test(file),
  );
  return Object.fromEntries(files.map((file) => [file, readFileSync(`${root}/${file}`, 'utf8')]));
}

test('imports in src point one way, along the street', () => {
  const sources = sourcesOf(fileURLToPath(new URL('../src', import.meta.url)));
  expect(edgesOf(sources).length).toBeGreaterThan(30);
  expect(violations(sources)).toEqual([]);
});

const importing = (to: string) => `import type { X } from '${to}';`;

describe('the check itself', () => {
  test.each<[string, string[]]>([
    [`import { a } from './a.ts';`, ['./a.ts']],
    [`import type { A } from "./a.ts";`, ['./a.ts']],
    [`import {\n  type A,\n  b,\n} from './a.ts';`, ['./a.ts']],
    [`import * as a from './a.ts';`, ['./a.ts']],
    [`import a, { b } from './a.ts';`, ['./a.ts']],
    [`import './a.ts';`, ['./a.ts']],
    [`export { a } from './a.ts';`, ['./a.ts']],
    [`export type * from './a.ts';`, ['./a.ts']],
    [`const a = await import('./a.ts');`, ['./a.ts (lazy)']],
    [`import(\n  './a.ts'\n)`, ['./a.ts (lazy)']],
    [`let a: import('./a.ts').A;`, ['./a.ts (lazy)']],
    [`new Worker(new URL('./a.ts', import.meta.url))`, ['./a.ts (lazy)']],
    [`import { a } from './a.ts'; import { b } from './b.ts';`, ['./a.ts', './b.ts']],
    [`// import { a } from './a.ts';\n/** from './b.ts' */\n * from './c.ts'`, []],
    [`const from = 'a'; important('./a.ts');`, []],
  ])('reads %j', (source, specifiers) => {
    expect(importsOf(source).map(({ specifier, lazy }) => specifier + (lazy ? ' (lazy)' : ''))).toEqual(
      specifiers,
    );
  });

  test.each<[Sources, string[]]>([
    [{ 'receiver/server.ts': importing('../queue/queue.ts') }, []],
    [{ 'receiver/server.ts': importing('../otlp/wire.ts') }, []],
    [{ 'receiver/server.ts': importing('../telemetry/metrics.ts') }, []],
    [{ 'relay.ts': importing('./receiver/server.ts') }, []],
    [{ 'commands/run.ts': `await import('../relay.ts');` }, []],
    [{ 'cli.ts': `readFileSync(new URL('../package.json', import.meta.url))` }, []],
    [
      { 'receiver/server.ts': importing('../queue/segment-queue.ts') },
      ['receiver/server.ts → queue/segment-queue.ts: not along the street'],
    ],
    [
      { 'receiver/server.ts': importing('../delivery/dispatcher.ts') },
      ['receiver/server.ts → delivery/dispatcher.ts: not along the street'],
    ],
    [
      { 'auth/client-credentials.ts': importing('../config/schema.ts') },
      ['auth/client-credentials.ts → config/schema.ts: not along the street'],
    ],
    [
      { 'otlp/deep/er.ts': importing('../../telemetry/admin-server.ts') },
      ['otlp/deep/er.ts → telemetry/admin-server.ts: not along the street'],
    ],
    [
      { 'queue/queue.ts': importing('./segment-queue.ts') },
      ['queue/queue.ts → queue/segment-queue.ts: others import it, so it must stay light'],
    ],
    [{ 'attic/old.ts': '' }, ['attic/old.ts: not in the table of rooms']],
    [{ 'delivery/a.ts': 'await import(name);' }, ['delivery/a.ts: imports something computed']],
    [{ 'delivery/a.ts': 'await import(`./${name}.ts`);' }, ['delivery/a.ts: imports something computed']],
    [
      { 'commands/run.ts': importing('../relay.ts') },
      ['commands/run.ts → relay.ts: only lazily, by commands/run.ts'],
    ],
    [
      { 'commands/config-check.ts': `await import('../relay.ts');` },
      ['commands/config-check.ts → relay.ts: only lazily, by commands/run.ts'],
    ],
    [
      {
        'config/load.ts': importing('../commands/run.ts'),
        'commands/run.ts': importing('../config/load.ts'),
      },
      ['config/load.ts → commands/run.ts: not along the street', 'cycle: config → commands → config'],
    ],
  ])('judges %j', (sources, problems) => {
    expect(violations(sources)).toEqual(problems);
  });

  test('the table allows no cycle between rooms', () => {
    const edges = Object.entries(MAY_IMPORT).flatMap(([from, targets]) =>
      [...OPEN, ...targets].filter((to) => roomOf(to) !== roomOf(from)).map((to) => ({ from, to })),
    );
    expect(cycleOf(edges)).toBeUndefined();
  });
});
