import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { realFileSystem } from '../../src/queue/filesystem.ts';
import type { FileSystem } from '../../src/queue/filesystem.ts';
import { inboxDirectory, inboxFiles, putFile } from '../../src/queue/letter-inbox.ts';
import { lockDirectory } from '../../src/queue/lock.ts';
import { waitFor } from '../stack/processes.ts';
import { tracesProtobuf } from '../receiver/payloads.ts';
import { letterOf, lettersIn } from '../queue/letters.ts';
import { readAll, textOf } from '../queue/support.ts';
import { MAIN, start } from './child.ts';
import { letterSetting } from './letter-setting.ts';

/** The longest that anything is waited for; far above what it takes. */
const DEADLINE_MS = 50_000;

/** Enough for several requests of a command. */
const MANY = 1800;
const manyLetters = () => [Array.from({ length: MANY }, (_, i) => letterOf(`letter ${i};`))];

/** A disk on which the second request is not done before it is let on. */
function diskThatWaits(): { fs: FileSystem; letOn: () => void } {
  const gate = Promise.withResolvers<void>();
  onTestFinished(() => gate.resolve());
  let rewritten = 0;
  const fs: FileSystem = {
    ...realFileSystem,
    async rename(from, to) {
      if (from.endsWith('.segment.new') && ++rewritten === 2) await gate.promise;
      await realFileSystem.rename(from, to);
    },
  };
  return { fs, letOn: gate.resolve };
}

/** Starts `dead-letters replay --all`, and waits until it says something. */
async function startReplay(cwd: string) {
  const command = spawn(
    process.execPath,
    [MAIN, 'dead-letters', 'replay', '--all', '--config', 'relay.yaml'],
    { cwd, env: { ...process.env, NODE_NO_WARNINGS: '1' }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  onTestFinished(() => void command.kill('SIGKILL'));
  let stderr = '';
  command.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const closed = once(command, 'close') as Promise<[number | null]>;
  await once(command.stderr, 'data');
  return {
    said: stderr,
    kill: (signal: NodeJS.Signals) => command.kill(signal),
    ended: async () => ({ code: (await closed)[0], stderr }),
  };
}

async function inboxOf(directory: string): Promise<string[]> {
  return readdir(join(directory, 'dead-letters', 'inbox'));
}

describe('beside a queue that is open', () => {
  test('list needs nobody, replay and discard are done by who has it open, and counted', async () => {
    const { run, open, directory } = await letterSetting([]);
    const { queue, metrics } = await open();
    await queue.deadLetters.append([letterOf('a'), letterOf('b', { spanCount: 3 }), letterOf('c')]);
    expect((await run('list')).stdout).toContain('mlflow: 3 letters, 5 spans, 3 bytes');

    expect(await run('replay', '--reason', 'refused: a')).toMatchObject({
      code: 0,
      stdout: 'replayed 1 of 1 letter (1 span); the relay delivers them, now or when it starts\n',
    });
    expect((await readAll(queue.reader('mlflow'))).map(textOf)).toEqual(['a']);
    expect(await run('discard', '--reason', 'REFUSED: B')).toMatchObject({
      code: 0,
      stdout: 'discarded 1 of 1 letter (3 spans)\n',
    });
    expect((await metrics.discardedSpans.get()).values).toMatchObject([{ value: 3 }]);
    expect(queue.deadLetters.status().spans).toEqual({ mlflow: 1 });
    expect(queue.status().destinations['mlflow']?.waitingSpans).toBe(1);
    expect((await lettersIn(directory)).map(({ text }) => text)).toEqual(['c']);
    expect(await inboxOf(directory)).toEqual([]);
  });

  test('tells how far it is, and what is killed goes on when it is run again', async () => {
    const { run, cwd, open, directory } = await letterSetting(manyLetters());
    const { fs, letOn } = diskThatWaits();
    const { queue } = await open(fs);
    const command = await startReplay(cwd);
    expect(command.said).toBe(`replayed 500 of ${MANY} letters\n`);
    command.kill('SIGKILL');
    await command.ended();
    letOn();
    // A request that was under way is done, and its answer is for nobody.
    await waitFor('the request stayed', DEADLINE_MS, async () =>
      (await inboxOf(directory)).some((name) => name.endsWith('.json')) ? undefined : true,
    );
    expect([MANY - 500, MANY - 1000]).toContain((await lettersIn(directory)).length);

    expect(await run('replay', '--all')).toMatchObject({ code: 0 });
    expect(await lettersIn(directory)).toEqual([]);
    const came = (await readAll(queue.reader('mlflow'))).map(textOf);
    expect(came.toSorted()).toEqual(Array.from({ length: MANY }, (_, i) => `letter ${i};`).toSorted());
  });

  test('SIGINT stops it between two requests, and it says how far it got', async () => {
    const { cwd, open, directory } = await letterSetting(manyLetters());
    const { fs, letOn } = diskThatWaits();
    const { queue } = await open(fs);
    const command = await startReplay(cwd);
    command.kill('SIGINT');
    letOn();
    const { code, stderr } = await command.ended();
    expect(code).toBe(1);
    const done = Number(
      /error: replayed (\d+) of 1800 letters .*, then stopped: it was inter/.exec(stderr)?.[1],
    );
    expect(done).toBeLessThan(MANY);
    expect(await lettersIn(directory)).toHaveLength(MANY - done);
    expect(queue.deadLetters.status().spans).toEqual({ mlflow: MANY - done });
    expect(await inboxOf(directory)).toEqual([]);
  });
});

test('letters that are gone when their turn comes are told', async () => {
  const { run, directory } = await letterSetting([[letterOf('a'), letterOf('b')]]);
  // In the place of a relay, whose letters others change as well.
  onTestFinished(lockDirectory(directory));
  const inbox = inboxDirectory(join(directory, 'dead-letters'));
  const command = run('discard', '--all');
  const request = await waitFor('nothing was asked', DEADLINE_MS, async () =>
    (await readdir(inbox).catch(() => [])).find((name) => name.endsWith('.json')),
  );
  const files = inboxFiles(inbox, request.slice(0, -'.json'.length));
  await putFile(realFileSystem, files.answer, { letters: 1, spans: 1, unconfigured: 0 });
  expect(await command).toMatchObject({
    code: 0,
    stdout:
      'discarded 1 of 2 letters (1 span); 1 letter had been replayed or discarded meanwhile, or cannot be read\n',
  });
});

test('a replay goes on when nobody reads any more how far it is', async () => {
  const { cwd, directory } = await letterSetting(manyLetters());
  const command = spawn(
    process.execPath,
    [MAIN, 'dead-letters', 'replay', '--all', '--config', 'relay.yaml'],
    { cwd, env: { ...process.env, NODE_NO_WARNINGS: '1' }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  onTestFinished(() => void command.kill('SIGKILL'));
  command.stderr.destroy();
  expect(await once(command, 'close')).toEqual([0, null]);
  expect(await lettersIn(directory)).toEqual([]);
});

/** A server where MLflow would be. It takes what it is told to, and refuses the rest for good. */
async function startUpstream() {
  let takesAll = false;
  const taken: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.once('end', () => {
      const body = Buffer.concat(chunks);
      const text = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString(
        'latin1',
      );
      if (!takesAll && text.includes('bad span;')) {
        response.writeHead(400, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ detail: 'Invalid OpenTelemetry format' }));
      } else {
        taken.push(...(text.match(/\w+ span;/g) ?? []));
        response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
      }
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    takeAll: () => (takesAll = true),
    taken,
  };
}

/** A relay as a process of its own; its ports stand in its first log line. */
async function startRelay(config: string) {
  const child = spawn(process.execPath, [MAIN, 'run', '--config', config], {
    env: { ...process.env, NODE_NO_WARNINGS: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let log = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (log += text));
  const line = await waitFor('the relay did not start', DEADLINE_MS, () =>
    Promise.resolve(/^.*"relay started".*$/m.exec(log)?.[0]),
  );
  const ports = JSON.parse(line) as { receiver_port: number; admin_port: number };
  let sent = 0;
  return {
    hang: () => child.kill('SIGSTOP'),
    kill: async () => {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
    async send(...names: string[]) {
      const { status } = await fetch(`http://127.0.0.1:${ports.receiver_port}/v1/traces`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-protobuf' },
        body: new Uint8Array(tracesProtobuf(names, { firstId: sent })),
      });
      sent += names.length;
      expect(status).toBe(200);
    },
    async metrics() {
      const text = await (await fetch(`http://127.0.0.1:${ports.admin_port}/metrics`)).text();
      const value = (name: string) =>
        Number(new RegExp(`^mlflow_trace_relay_${name} (\\S+)$`, 'm').exec(text)?.[1] ?? 0);
      const of = (name: string) => value(`${name}\\{destination="mlflow"\\}`);
      return {
        accepted: value('accepted_spans_total'),
        delivered: of('delivered_spans_total'),
        rejected: of('rejected_spans_total'),
        discarded: of('discarded_spans_total'),
        waiting: of('waiting_spans'),
        dead: of('dead_letter_spans'),
      };
    },
  };
}

test('beside a relay: replayed is delivered, discarded is counted, and the account holds at any moment', async () => {
  const upstream = await startUpstream();
  const { run, config } = await letterSetting([], upstream.url);
  const relay = await startRelay(config);
  let sent = 0;
  // Good ones beside the bad ones: who refuses everything may be out of order itself.
  await waitFor('there were no dead letters', DEADLINE_MS, async () => {
    await relay.send('good span;');
    await relay.send('bad span;');
    sent += 2;
    return (await relay.metrics()).dead >= 2 ? true : undefined;
  });
  await waitFor('something waits', DEADLINE_MS, async () =>
    (await relay.metrics()).waiting === 0 ? true : undefined,
  );
  upstream.takeAll();

  const sums: number[] = [];
  const over = new AbortController();
  const watching = (async () => {
    while (!over.signal.aborted) {
      const { delivered, rejected, discarded, waiting, dead } = await relay.metrics();
      sums.push(delivered + rejected + discarded + waiting + dead);
      await pause(10);
    }
  })();
  const [first] = (await run('list', '--json')).stdout.split('\n');
  const { id, spans } = JSON.parse(first!) as { id: string; spans: number };
  expect(await run('discard', '--id', id)).toMatchObject({ code: 0 });
  expect(await run('replay', '--all')).toMatchObject({ code: 0 });
  await waitFor('not all was delivered', DEADLINE_MS, async () =>
    (await relay.metrics()).delivered === sent - spans ? true : undefined,
  );
  over.abort();
  await watching;
  expect(new Set(sums)).toEqual(new Set([sent]));
  expect(await relay.metrics()).toEqual({
    accepted: sent,
    delivered: sent - spans,
    rejected: 0,
    discarded: spans,
    waiting: 0,
    dead: 0,
  });
  expect(upstream.taken).toHaveLength(sent - spans);
});

test('a relay that is killed in the midst of a replay, and started again: each letter is dead, waiting or delivered', async () => {
  const upstream = await startUpstream();
  upstream.takeAll();
  const letters = Array.from({ length: MANY }, (_, i) =>
    letterOf(`${i}`, { payload: tracesProtobuf([`letter ${i} span;`], { firstId: i }) }),
  );
  const { run, config, directory, cwd } = await letterSetting([letters], upstream.url);
  const relay = await startRelay(config);
  const command = start(MAIN, ['dead-letters', 'replay', '--all', '--config', 'relay.yaml'], { cwd });
  await waitFor('nothing was replayed', DEADLINE_MS, async () =>
    (await lettersIn(directory)).length < MANY ? true : undefined,
  );
  await relay.kill();
  const again = await startRelay(config);
  // The one that is there now does nothing that another was asked for.
  await command.ended();
  expect(await run('replay', '--all')).toMatchObject({ code: 0 });
  await waitFor('something waits', DEADLINE_MS, async () =>
    (await again.metrics()).waiting === 0 ? true : undefined,
  );
  expect(await lettersIn(directory)).toEqual([]);
  expect(new Set(upstream.taken)).toEqual(new Set(letters.map((_, i) => `${i} span;`)));
});

test('a relay that hangs, and then is killed: what it had not begun is withdrawn, and never done', async () => {
  const { config, directory, cwd } = await letterSetting([[letterOf('a'), letterOf('b')]]);
  const relay = await startRelay(config);
  relay.hang();
  const discard = async () => {
    const args = ['dead-letters', 'discard', '--all', '--config', 'relay.yaml'];
    const command = start(MAIN, args, { cwd });
    await waitFor('nothing was asked', DEADLINE_MS, async () =>
      (await inboxOf(directory).catch(() => [])).some((name) => name.endsWith('.json')) ? true : undefined,
    );
    return command;
  };
  const interrupted = await discard();
  interrupted.kill('SIGINT');
  const { code, stderr } = await interrupted.ended();
  expect(code).toBe(1);
  expect(stderr).toContain(
    'discarded 0 of 2 letters (0 spans), then stopped: it was interrupted; withdrawn: the',
  );
  expect(await inboxOf(directory)).toEqual([]);

  const waiting = await discard();
  await relay.kill();
  const { stderr: told } = await waiting.ended();
  expect(told).toMatch(
    /^waiting for the relay \(process \d+ on .*\)…\nerror: .* has gone; withdrawn: the relay had/,
  );
  expect(await inboxOf(directory)).toEqual([]);
  expect(await lettersIn(directory)).toHaveLength(2);
});
