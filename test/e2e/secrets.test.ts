import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestRelay, waitForDestination, waitUntilDelivered } from './support/relay.ts';
import { findSecrets, pemSecrets } from './support/secrets.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from './support/traces.ts';

// Every relay of every other test is searched as well, when its test is over.

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

test('a relay that logs all it can, in good times and bad, tells no secret', async () => {
  const relay = await startTestRelay(stack, {
    client: { ...stack.client, secret: 'a-wrong-client-secret' },
    more: { log: { level: 'trace' } },
  });
  await relay.sender.send(requestOf(makeTrace().spans));
  await waitForDestination(relay, 'blocked', ({ state }) => state === 'blocked');
  await writeFile(relay.secretFile, stack.client.secret);
  await waitUntilDelivered(relay);
  const refused = makeTrace(1, { attributes: { 'session.id': 'x'.repeat(300) } });
  await relay.sender.send(requestOf(refused.spans));
  await waitUntilDelivered(relay);
  const token = await stack.token();
  const body = toProtobuf(requestOf(makeTrace().spans));
  const authorization = `Bearer ${token}`;
  expect((await relay.sender.post(body, { authorization })).status).toBe(200);
  expect((await relay.sender.post('no OTLP', { authorization })).status).toBe(400);
  await waitUntilDelivered(relay);

  const levels = new Set((await relay.logLines()).map(({ level }) => level));
  expect(levels).toContain('debug');
  const log = await readFile(relay.logFile, 'utf8');
  const secrets = { ...stack.client, wrong: 'a-wrong-client-secret', token };
  const { clientId: _, ...toSearch } = secrets;
  expect(findSecrets({ log, status: JSON.stringify(await relay.status()) }, toSearch)).toEqual([]);
});

test('the search finds what it is for', async () => {
  const pem = await readFile(stack.certificates.keyFile, 'utf8');
  const secrets = { secret: 'pässword/+&', ...pemSecrets('key', pem) };
  const token = await stack.token();
  const basic = Buffer.from('relay:pässword/+&').toString('base64');
  const planted: Record<string, string> = {
    plain: 'it is pässword/+&!',
    form: `client_secret=${encodeURIComponent('pässword/+&')}&x=1`,
    header: `Basic ${basic}`,
    token: `{"authorization":"Bearer ${token}"}`,
    pem,
    'pem in JSON': JSON.stringify({ pem }),
    'pem without marks': pem.replace(/-----[^-]+-----/g, ''),
    'key in one line': pem.replace(/-----[^-]+-----|\n/g, ''),
  };
  const missed = Object.entries(planted).filter(([, text]) => findSecrets({ text }, secrets).length === 0);
  expect(missed).toEqual([]);
  expect(findSecrets({ other: 'client_id=relay, expires at 2026-01-01' }, secrets)).toEqual([]);
});
