import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { withInjectOptions } from '../../src/commands/inject-options.ts';
import type { InjectFlags } from '../../src/commands/inject-options.ts';
import {
  exitCodeOf,
  summaryOf,
  traceToJson,
  traceToText,
  warningOf,
} from '../../src/commands/inject-words.ts';
import { barOf } from '../../src/commands/progress.ts';
import { agentTrace } from '../../src/inject/agent-trace.ts';
import type { InjectedTrace } from '../../src/inject/injected-trace.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';
import { folder } from '../config/folder.ts';
import { relay } from './child.ts';

const CONFIG = `destinations:
  mlflow:
    kind: mlflow
    url: http://127.0.0.1:1
    experiment: {id: "1"}
    auth: {kind: none}
`;
/** Without what this process may have for its own exporter. */
const ENV = Object.fromEntries(
  Object.keys(process.env)
    .filter((name) => name.startsWith('OTEL_'))
    .map((name) => [name, '']),
);

function inject(...args: readonly string[]) {
  const cwd = folder({ 'relay.yaml': CONFIG, 'text.json': 'hello', 'ca.crt': 'no PEM' });
  return relay(['inject', '--config', 'relay.yaml', ...args], { cwd, env: ENV });
}

describe('what cannot be done ends with 2, and says why', () => {
  test.each<[string[], string]>([
    [[], 'it is not said where the relay is: give --endpoint'],
    [
      ['--endpoint', 'https://relay', '--file', 'text.json'],
      'text.json: not JSON, and not an ExportTraceServiceRequest',
    ],
    [['--endpoint', 'https://relay', '--ca-file', 'ca.crt'], 'for the relay: ca_file: ca.crt'],
  ])('%j', async (args, words) => {
    const { code, stdout, stderr } = await inject(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(words);
  });
});

function parse(...args: readonly string[]): InjectFlags {
  const command = withInjectOptions(new Command())
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  return command.parse(args, { from: 'user' }).opts();
}

test('the command line is read', () => {
  const attributes = ['--attribute', 'user.id=me', '--attribute', 'note=a=b', '--attribute', 'empty='];
  expect(parse('--wait', '1m', '--count', '10', '--rate', '2.5', ...attributes)).toEqual({
    wait: 60_000,
    count: 10,
    rate: 2.5,
    attribute: { 'user.id': 'me', note: 'a=b', empty: '' },
  });
});

test.each<[string[], string]>([
  [['--wait', '30'], 'Write it as in 500ms, 30s or 5m'],
  [['--wait', '0s'], 'Write it as in 500ms, 30s or 5m'],
  [['--wait', '2h'], 'Write it as in 500ms, 30s or 5m'],
  [['--count', '0'], 'Expected 1 to 10000.'],
  [['--count', '10001'], 'Expected 1 to 10000.'],
  [['--rate', '0'], 'Expected a number above 0, up to 1000.'],
  [['--rate', '1001'], 'Expected a number above 0, up to 1000.'],
  [['--attribute', 'user.id'], 'Write it as in user.id=me.'],
  [['--endpoint', ' '], 'It is empty.'],
  [['--file', 'f', '--count', '2'], "'--file <file>' cannot be used with option '--count <number>'"],
  [['--file', 'f', '--service', 's'], "'--file <file>' cannot be used with option '--service <name>'"],
])('%j is refused', (args, words) => {
  expect(() => parse(...args)).toThrow(words);
});

test('a relay that is not there ends with 3', async () => {
  const { code, stdout, stderr } = await inject('--endpoint', 'http://127.0.0.1:1', '--json');
  expect({ code, stderr }).toEqual({ code: 3, stderr: '' });
  expect(JSON.parse(stdout)).toEqual({
    trace_id: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
    outcome: 'refused',
    spans: 5,
    reason: 'nothing listens at 127.0.0.1:1 (connection refused)',
  });
});

/** OTLP/JSON. */
function traceLine(): string {
  return `${JSON.stringify(tracesToJson(agentTrace('test', {}, 0).payload))}\n`;
}

test('of a file with many requests it tells a few times how many are sent, then how many traces are known', async () => {
  const cwd = folder({ 'relay.yaml': CONFIG, 'traces.json': Array.from({ length: 12 }, traceLine).join('') });
  const args = ['--config', 'relay.yaml', '--endpoint', 'http://127.0.0.1:1', '--file', 'traces.json'];
  const { code, stderr } = await relay(['inject', ...args], { cwd, env: ENV });
  const lines = [3, 6, 9];
  expect(stderr).toBe(
    [...lines.map((n) => `sent ${n} of 12 requests\n`), ...lines.map((n) => `${n} of 12 traces\n`)].join(''),
  );
  expect(code).toBe(3);
});

test('--help says what the exit codes mean', async () => {
  const { code, stdout } = await relay(['inject', '--help']);
  expect(code).toBe(0);
  for (const exitCode of [0, 1, 2, 3, 4, 5, 6]) expect(stdout).toMatch(new RegExp(`^  ${exitCode}  `, 'm'));
});

const STORED: InjectedTrace = {
  traceId: 'ab'.repeat(16),
  outcome: 'stored',
  spans: 5,
  differences: [],
  storedAfterMs: 1_234.5,
  link: 'https://mlflow/#/experiments/1/traces?selectedEvaluationId=tr-abab',
};
const DIFFERENCE = { spanId: 'cd', span: 'a\u001b[2J name', what: 'name', sent: '"a"', stored: '"b"' };

test.each<[InjectedTrace['outcome'][], number]>([
  [['stored'], 0],
  [['sent', 'sent'], 0],
  [['refused'], 3],
  [['not stored'], 4],
  [['differs'], 5],
  [['not readable'], 6],
  [['stored', 'differs', 'not stored', 'stored'], 4],
  [[], 0],
])('%j ends with %i', (outcomes, code) => {
  expect(exitCodeOf(outcomes.map((outcome) => ({ ...STORED, outcome })))).toBe(code);
});

test('a trace in words, and several', () => {
  expect(traceToText(STORED)).toBe(
    `${STORED.traceId}  stored and equal  5 spans  after 1.23 s  ${STORED.link}`,
  );
  const differing: InjectedTrace = {
    ...STORED,
    outcome: 'differs',
    differences: Array.from({ length: 12 }, () => DIFFERENCE),
  };
  const lines = traceToText(differing).split('\n');
  expect(lines).toHaveLength(12);
  // Nothing that would control a terminal.
  expect(lines[1]).toBe('  span cd "a [2J name": name: sent "a", stored "b"');
  expect(lines.at(-1)).toBe('  and 2 more differences');
  expect(summaryOf([STORED, differing, { ...STORED, storedAfterMs: 40 }])).toBe(
    '3 traces: 2 stored and equal, 1 stored, but different, after 0.04 to 1.23 s',
  );
});

test.each<[InjectedTrace['outcome'], string]>([
  ['refused', 'not taken by the relay  5 spans\n  why'],
  ['not stored', 'not stored in time  5 spans\n  why'],
  ['not readable', 'cannot be read back  5 spans\n  why'],
])('%s in words', (outcome, words) => {
  const { traceId, spans, differences } = STORED;
  expect(traceToText({ traceId, spans, differences, outcome, reason: 'why' })).toBe(`${traceId}  ${words}`);
});

test('what was there before is told of, and warned of once', () => {
  const { storedAfterMs: _, ...rest } = STORED;
  const again: InjectedTrace = { ...rest, alreadyStored: true };
  expect(traceToText(again)).toBe(
    `${STORED.traceId}  stored and equal, as it was before it was sent  5 spans  ${STORED.link}`,
  );
  expect(JSON.parse(traceToJson(again))).toMatchObject({ outcome: 'stored', already_stored: true });
  expect(exitCodeOf([again])).toBe(0);
  expect(warningOf([STORED])).toBeUndefined();
  expect(warningOf([STORED, again])).toBe(
    '1 trace was in MLflow before it was sent: this shows nothing of the relay; without --file a new one is sent',
  );
  expect(warningOf([again, again])).toMatch(/^2 traces were in MLflow before they were sent: /);
});

test('a trace as JSON', () => {
  expect(JSON.parse(traceToJson({ ...STORED, outcome: 'differs', differences: [DIFFERENCE] }))).toEqual({
    trace_id: STORED.traceId,
    outcome: 'differs',
    spans: 5,
    link: STORED.link,
    stored_after_seconds: 1.235,
    differences: [{ span_id: 'cd', span: DIFFERENCE.span, what: 'name', sent: '"a"', stored: '"b"' }],
  });
});

test.each([
  [0, 3, '[--------------------]'],
  [1, 3, '[######--------------]'],
  [2999, 3000, '[###################-]'],
  [3, 3, '[####################]'],
  // What goes on beside a command may add to what it does.
  [4, 3, '[####################]'],
  [0, 0, '[####################]'],
])('the bar at %i of %i', (done, total, bar) => {
  expect(barOf(done, total)).toBe(bar);
});
