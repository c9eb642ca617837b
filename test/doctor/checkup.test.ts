import { describe, expect, test } from 'vitest';
import { Checkup, failed, ok, warning } from '../../src/doctor/checkup.ts';
import type { Check } from '../../src/doctor/checkup.ts';
import { documentOf, lineOf, resultOf, summaryOf } from '../../src/doctor/report.ts';
import { RelayError } from '../../src/errors.ts';

describe('a checkup', () => {
  test('gives what checks have found to those that need it, and skips those that need what has failed', async () => {
    const told: Check[] = [];
    const checkup = new Checkup((check) => told.push(check));
    const good = await checkup.check('good', [], () => ok('is', 4));
    const odd = await checkup.of('mlflow').check('odd', [good], (four) => warning('is so', 'look', four + 1));
    const bad = await checkup.check('bad', [odd], (five) => failed(`is ${five}`, 'mend it'));
    const skipped = await checkup.check('more', [good, bad], () => ok('is never asked'));
    await checkup.check('most', [skipped], () => ok('nor this'));
    expect(told).toEqual([
      { name: 'good', state: 'ok', words: 'is' },
      { name: 'odd', destination: 'mlflow', state: 'warning', words: 'is so', fix: 'look' },
      { name: 'bad', state: 'failed', words: 'is 5', fix: 'mend it' },
      { name: 'more', state: 'skipped', words: 'needs "bad"' },
      { name: 'most', state: 'skipped', words: 'needs "more"' },
    ]);
  });

  test.each([
    [new RelayError('QUEUE_UNUSABLE', 'it is full; make room; or not'), 'it is full', 'make room; or not'],
    [new Error('EIO; somewhere'), 'EIO; somewhere', 'run doctor as the user of the relay'],
  ])('a check that throws has failed: %s', async (error, words, fix) => {
    const told: Check[] = [];
    await new Checkup((check) => told.push(check)).check('c', [], () => Promise.reject(error));
    expect(told).toEqual([
      { name: 'c', state: 'failed', words, fix: expect.stringContaining(fix) as string },
    ]);
  });
});

describe('the report', () => {
  const checks: Check[] = [
    { name: 'queue lock', state: 'ok', words: 'no relay' },
    { name: 'token', destination: 'mlflow', state: 'failed', words: 'a\nb', fix: 'c' },
    { name: 'permission', destination: 'mlflow', state: 'skipped', words: 'needs "token"' },
  ];

  test('is a line a check, and one for what to do', () => {
    expect(checks.map(lineOf).join('')).toBe(
      'ok       queue lock: no relay\n' +
        'failed   mlflow: token: a\n           b\n           fix: c\n' +
        'skipped  mlflow: permission: needs "token"\n',
    );
  });

  const warned: Check = { name: 'queue speed', state: 'warning', words: 'slow', fix: 'd' };
  test.each([
    [[], '0 failed, 0 warnings, 0 ok, 0 skipped\n'],
    [checks, '1 failed, 0 warnings, 1 ok, 1 skipped\nfailed: mlflow: token\n'],
    [[warned], '0 failed, 1 warning, 0 ok, 0 skipped\nwarning: queue speed\n'],
    [
      [warned, ...checks, warned],
      '1 failed, 2 warnings, 1 ok, 1 skipped\nfailed: mlflow: token\nwarning: queue speed\nwarning: queue speed\n',
    ],
  ])('ends with a sum, and names again what is wrong, the worst first', (all, summary) => {
    expect(summaryOf(all)).toBe(summary);
  });

  test('controls no terminal, whatever files and hosts are called', () => {
    const line = lineOf({ name: 'n', state: 'failed', words: 'a\u009b31m\u202eb\nc', fix: 'x\u001b[2Jy\nz' });
    expect(line).toBe('failed   n: a 31m b\n           c\n           fix: x [2Jy z\n');
  });

  test('is one document for scripts', () => {
    expect(documentOf('relay.yaml', checks)).toEqual({
      configuration: 'relay.yaml',
      result: 'failed',
      checks,
    });
  });

  test.each([
    [['ok', 'skipped'], 'ok'],
    [['ok', 'warning'], 'warning'],
    [['warning', 'failed', 'ok'], 'failed'],
  ] as const)('%j together: %s', (states, result) => {
    expect(resultOf(states.map((state) => ({ name: 'n', state, words: '' })))).toBe(result);
  });
});
