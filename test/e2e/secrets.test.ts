import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { sendJson } from '../auth/support.ts';
import { startUpstream } from '../destinations/support.ts';
import { runCommand } from './support/command.ts';
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

test('an upstream that says again what it was sent does not make the token known', async () => {
  let sent = '';
  const upstream = await startUpstream(({ what, body, headers: { authorization = '' } }, response) => {
    // It would take what carries nothing.
    if (what.startsWith('GET get') || body.length === 2) return false;
    sent ||= authorization.slice('Bearer '.length);
    const words = what === 'POST /v1/traces' ? 'Invalid OpenTelemetry format' : 'no such page';
    sendJson(response, 400, { detail: `${words}: ${authorization}, ${encodeURIComponent(authorization)}` });
    return true;
  });
  onTestFinished(() => upstream.stop());
  upstream.experiments.push({ experiment_id: '1', name: 'traces', lifecycle_stage: 'active' });
  const relay = await startTestRelay(
    { ...stack, mlflowUrl: upstream.url },
    { experiment: { name: 'traces' }, more: { log: { level: 'trace' } } },
  );
  await relay.sender.send(requestOf(makeTrace().spans));
  await waitUntilDelivered(relay);

  const of = async (...args: string[]) => {
    const { stdout, stderr } = await runCommand(...args, '--config', relay.configFile);
    return stdout + stderr;
  };
  const outputs = {
    letters: await of('dead-letters', 'list', '--json'),
    doctor: await of('doctor'),
    status: JSON.stringify(await relay.status()),
    log: await readFile(relay.logFile, 'utf8'),
  };
  expect(outputs.letters).toContain('Invalid OpenTelemetry format: Bearer [secret], Bearer%20[secret]');
  expect(outputs.doctor).toContain('[secret]');
  const [, payload = '', signature = ''] = sent.split('.');
  expect(payload.length).toBeGreaterThan(16);
  expect(findSecrets(outputs, { token: sent, payload, signature })).toEqual([]);
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
