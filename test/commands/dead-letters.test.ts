import { mkdir, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Writer } from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { tracesJson, tracesProtobuf } from '../receiver/payloads.ts';
import { letterOf, lettersIn } from '../queue/letters.ts';
import { readAll, textOf } from '../queue/support.ts';
import { letterSetting } from './letter-setting.ts';

const HOUR = 3_600_000;

/** Three letters of two destinations and senders, of now, an hour and ten hours ago. */
function someLetters() {
  const now = Date.now();
  return [
    [
      letterOf('old', { refusedAt: now - 10 * HOUR, reason: 'Invalid OpenTelemetry FORMAT', spanCount: 4 }),
      letterOf('middle', { refusedAt: now - HOUR, destination: 'phoenix', sender: 'other', status: 422 }),
    ],
    [letterOf('new', { refusedAt: now, repaired: 'session.id cut' })],
  ];
}

describe('dead-letters list', () => {
  test('prints a line for each, the oldest first, and sums by destination', async () => {
    const { run, directory } = await letterSetting(someLetters());
    const [old, middle] = await lettersIn(directory);
    const { code, stdout, stderr } = await run('list');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.split('\n');
    expect(lines[0]).toBe(
      `${new Date(old!.meta.refusedAt).toISOString()}  ${old!.meta.id}  mlflow  spiffe://test/sender  4 spans  400  not delivered  Invalid OpenTelemetry FORMAT`,
    );
    expect(lines[1]).toContain(
      `  ${middle!.meta.id}  phoenix  other  1 span  422  not delivered  refused: middle`,
    );
    expect(lines[2]).toContain('  400  delivered repaired  refused: new');
    expect(lines.slice(3)).toEqual([
      'mlflow: 2 letters, 5 spans, 6 bytes',
      'phoenix: 1 letter, 1 span, 6 bytes',
      '',
    ]);
  });

  test('chooses by all filters that are given', async () => {
    const { run } = await letterSetting(someLetters());
    const filters = ['--newer-than', '20h', '--destination', 'mlflow', '--reason', 'opentelemetry'];
    const { code, stdout } = await run('list', ...filters, '--sender', 'spiffe://test/sender');
    expect(code).toBe(0);
    expect(stdout).toMatch(/ {2}Invalid OpenTelemetry FORMAT\nmlflow: 1 letter, 4 spans, 3 bytes\n$/);
  });

  test('as JSON tells all that is known', async () => {
    const { run, directory } = await letterSetting([[letterOf('a', { spanCount: 7 })]]);
    const [letter] = await lettersIn(directory);
    expect(JSON.parse((await run('list', '--json')).stdout)).toEqual({
      id: letter!.meta.id,
      refused_at: '2023-11-14T22:13:21.000Z',
      received_at: '2023-11-14T22:13:20.000Z',
      destination: 'mlflow',
      target: 'experiment 1',
      sender: 'spiffe://test/sender',
      route: { name: 'default', variables: {} },
      spans: 7,
      bytes: 1,
      attempts: 1,
      status: 400,
      reason: 'refused: a',
    });
  });

  test('controls no terminal, whatever an upstream or a sender has written', async () => {
    const evil = '\u001b[2J\u009b31m\u202edrow\u2028\r\n';
    const { run, directory } = await letterSetting([[letterOf('a', { reason: evil, sender: evil })]]);
    const [letter] = await lettersIn(directory);
    const line = (await run('list')).stdout;
    const json = (await run('list', '--json')).stdout;
    const shown = (await run('show', letter!.meta.id)).stdout;
    for (const text of [line, json, shown]) {
      expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}]/u);
      expect(text).toContain('drow');
    }
    for (const text of [json, shown]) expect(JSON.parse(text)).toMatchObject({ reason: evil });
  });

  test('says that there are none, also where nothing was ever refused', async () => {
    const { run } = await letterSetting([[]]);
    expect(await run('list')).toMatchObject({ code: 0, stdout: 'no dead letters\n' });
  });

  test('says which file cannot be read', async () => {
    const { run, directory } = await letterSetting(someLetters());
    // Opened it can be, and not read.
    const odd = join(directory, 'dead-letters', `${'7'.padStart(20, '0')}-00000007.segment`);
    await mkdir(odd);
    const { code, stderr } = await run('list');
    expect(code).toBe(1);
    expect(stderr).toContain(`the dead letters of ${odd} cannot be read: EISDIR`);
    expect(stderr).toContain('run this as the user of the relay');
    expect(stderr).toContain('code: QUEUE_UNUSABLE');
    expect(stderr).not.toContain('    at ');
  });

  test('says that there is no queue, and makes none', async () => {
    const { run, cwd } = await letterSetting([]);
    const { code, stderr } = await run('list');
    expect(code).toBe(1);
    expect(stderr).toContain('queue.directory');
    expect(stderr).toContain('code: QUEUE_UNUSABLE');
    expect(await readdir(cwd)).toEqual(['relay.yaml']);
  });
});

/** A request whose resource has an attribute of lists in lists. */
function nestedLists(depth: number): Buffer {
  const heads: Buffer[] = [];
  let length = 0;
  const around = (tag: number) => {
    heads.push(Buffer.from(Writer.create().uint32(tag).uint32(length).finish()));
    length += heads.at(-1)!.length;
  };
  for (let level = 0; level < depth; level++) for (const tag of [0x0a, 0x2a]) around(tag);
  for (const tag of [0x12, 0x0a, 0x0a, 0x0a]) around(tag);
  return Buffer.concat(heads.toReversed());
}

describe('a letter of a record that nothing can read', () => {
  test.each([
    [
      'too large to be made into objects',
      tracesProtobuf(Array.from({ length: 130_000 }, () => 'x')),
      /bytes, more than/,
    ],
    ['nested too deeply', nestedLists(50_000), /nest|depth/i],
  ])('%s: is listed, said of, written out, and replayed', async (_, payload, words) => {
    const { run, directory, cwd, open } = await letterSetting([[letterOf('bad', { payload })]]);
    const id = (await lettersIn(directory))[0]!.meta.id;
    expect((await run('list')).stdout).toContain(`mlflow: 1 letter, 1 span`);
    const { code, stdout, stderr } = await run('show', id);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const shown = JSON.parse(stdout) as { id: string; request: { undecodable: string } };
    expect(shown).toMatchObject({ id, bytes: payload.length });
    expect(shown.request.undecodable).toMatch(words);
    expect(shown.request.undecodable).toContain('--output writes its bytes to a file');
    expect((await run('show', id, '--output', 'letter.bin')).code).toBe(0);
    expect((await readFile(join(cwd, 'letter.bin'))).equals(payload)).toBe(true);
    expect((await run('replay', '--all')).code).toBe(0);
    const { queue } = await open();
    const [lease] = await readAll(queue.reader('mlflow'));
    expect(payload.equals(lease!.record.payload)).toBe(true);
  });
});

describe('dead-letters show', () => {
  test('prints the spans as OTLP/JSON, beside all that is known', async () => {
    const payload = tracesProtobuf(['one', 'two']);
    const { run, directory } = await letterSetting([
      [letterOf('other'), letterOf('this', { payload, spanCount: 2 })],
    ]);
    const id = (await lettersIn(directory))[1]!.meta.id;
    const { code, stdout } = await run('show', id);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      id,
      spans: 2,
      reason: 'refused: this',
      request: JSON.parse(tracesJson(['one', 'two']).toString()) as unknown,
    });
  });

  test('writes the bytes as they came to a file that only the user may read, and over none', async () => {
    const { run, directory, cwd } = await letterSetting([[letterOf('\u0000 no OTLP')]]);
    const id = (await lettersIn(directory))[0]!.meta.id;
    expect(await run('show', id, '--output', 'letter.bin')).toMatchObject({
      code: 0,
      stdout: '',
      stderr: '',
    });
    const file = join(cwd, 'letter.bin');
    expect((await readFile(file)).toString()).toBe('\u0000 no OTLP');
    expect((await stat(file)).mode & 0o777).toBe(0o600);

    const again = await run('show', id, '-o', 'letter.bin');
    expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining('EEXIST') });
    expect(again.stderr).toContain('name a file that is not there yet');
    // What no parser takes is shown as far as it is known.
    const shown = JSON.parse((await run('show', id)).stdout) as { request: { undecodable: string } };
    expect(shown.request.undecodable).not.toBe('');
  });

  test('says that it does not know an id', async () => {
    const { run } = await letterSetting([[letterOf('a')]]);
    const { code, stdout, stderr } = await run('show', 'nonsense');
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('there is no dead letter nonsense in');
    expect(stderr).toContain('code: DEAD_LETTER_UNKNOWN');
  });
});

describe('without a relay', () => {
  test('replay puts letters into the queue, where a relay finds them', async () => {
    const { run, directory, open } = await letterSetting(someLetters());
    const { code, stdout, stderr } = await run('replay', '--destination', 'mlflow');
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: 'replayed 2 of 2 letters (5 spans); the relay delivers them, now or when it starts\n',
      stderr: expect.stringMatching(/^warning: the spans of 1 letter were delivered repaired; .*\n$/),
    });
    expect((await lettersIn(directory)).map(({ text }) => text)).toEqual(['middle']);
    const { queue } = await open();
    expect((await readAll(queue.reader('mlflow'))).map(textOf)).toEqual(['old', 'new']);
  });

  test('discard removes letters', async () => {
    const { run, directory } = await letterSetting(someLetters());
    const ids = (await lettersIn(directory)).slice(0, 2).map(({ meta }) => meta.id);
    const { code, stdout } = await run('discard', ...ids.flatMap((id) => ['--id', id]));
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'discarded 2 of 2 letters (5 spans)\n' });
    expect((await lettersIn(directory)).map(({ text }) => text)).toEqual(['new']);
  });

  test('all of them, and then none are left', async () => {
    const { run, directory } = await letterSetting(someLetters());
    expect(await run('discard', '--all')).toMatchObject({ code: 0 });
    expect(await lettersIn(directory)).toEqual([]);
    expect(await run('discard', '--all')).toMatchObject({
      code: 0,
      stdout: 'no dead letters match: nothing was done\n',
    });
  });

  test.each(['replay', 'discard'])('%s --dry-run changes nothing', async (command) => {
    const { run, directory } = await letterSetting(someLetters());
    const [before, files] = [await lettersIn(directory), await readdir(join(directory, 'dead-letters'))];
    const { code, stdout } = await run(command, '--all', '--dry-run');
    expect(code).toBe(0);
    expect(stdout).toBe(
      command === 'replay'
        ? 'would be replayed:\nmlflow: 2 letters, 5 spans, 6 bytes\n' +
            'would stay: their destination is not in the configuration\nphoenix: 1 letter, 1 span, 6 bytes\n'
        : 'would be discarded:\nmlflow: 2 letters, 5 spans, 6 bytes\nphoenix: 1 letter, 1 span, 6 bytes\n',
    );
    expect(await lettersIn(directory)).toEqual(before);
    expect(await readdir(join(directory, 'dead-letters'))).toEqual(files);
  });

  test('letters of a destination that is not in the configuration stay, and the others go', async () => {
    const { run, directory } = await letterSetting(someLetters());
    const { code, stdout, stderr } = await run('replay', '--all');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('replayed 2 of 3 letters (5 spans); 1 letter stayed: nothing is replayed to a');
    expect(stderr).toContain('(phoenix): name it there again, or discard its letters');
    expect(stderr).toContain('code: DEAD_LETTERS_LEFT');
    expect((await lettersIn(directory)).map(({ text }) => text)).toEqual(['middle']);
  });

  test('where all stay, that is said once', async () => {
    const { run } = await letterSetting(someLetters());
    expect(await run('replay', '--destination', 'phoenix')).toMatchObject({
      code: 1,
      stdout: '',
      stderr:
        'error: replayed 0 of 1 letter (0 spans); 1 letter stayed: nothing is replayed to a destination that is not in the configuration (phoenix): name it there again, or discard its letters\n' +
        'code: DEAD_LETTERS_LEFT\n',
    });
  });

  test.each(['list', 'discard'])('%s of a destination that nobody knows', async (command) => {
    const { run } = await letterSetting(someLetters());
    expect(await run(command, '--destination', 'phenix')).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('there is no destination phenix in the configuration'),
    });
  });

  test('a replay can leave out what was delivered repaired', async () => {
    const { run, directory } = await letterSetting(someLetters());
    const left = await run('replay', '--destination', 'mlflow', '--not-repaired');
    expect(left).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('replayed 1 of 1') });
    expect((await lettersIn(directory)).map(({ text }) => text)).toEqual(['middle', 'new']);
  });

  test('an id that is not there: nothing is done, and it is named', async () => {
    const { run, directory } = await letterSetting(someLetters());
    const before = await lettersIn(directory);
    const { code, stderr } = await run('discard', '--id', before[0]!.meta.id, '--id', 'nonsense');
    expect(code).toBe(2);
    expect(stderr).toContain('there is no dead letter nonsense in');
    expect(await lettersIn(directory)).toEqual(before);
  });

  test.each<[string, readonly string[], string]>([
    ['nothing is chosen', ['discard'], 'say which dead letters to discard'],
    ['all and a filter', ['replay', '--all', '--sender', 'a'], '--all and a filter exclude each other'],
    ['an age is none', ['discard', '--older-than', 'yesterday'], 'as in 90s, 30m, 36h or 7d'],
    [
      'a filter is empty',
      ['discard', '--reason', ''],
      "'--reason <text>' argument '' is invalid. It is empty",
    ],
    ['an option has a slip', ['list', '--sendr', 'a'], '(Did you mean --sender?)'],
  ])('wrong usage: %s', async (_, args, words) => {
    const { run, directory } = await letterSetting(someLetters());
    const { code, stdout, stderr } = await run(...(args as [string, ...string[]]));
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(words);
    expect(await lettersIn(directory)).toHaveLength(3);
  });
});
