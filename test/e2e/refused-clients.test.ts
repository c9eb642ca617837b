import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { Status } from '../../src/otlp/schema.ts';
import { createCertificateAuthority, writeKeyPair } from '../stack/certificates.ts';
import type { CertificateRequest } from '../stack/certificates.ts';
import type { ClientFiles } from '../stack/otlp-client.ts';
import { waitFor } from '../stack/processes.ts';
import { DEADLINE_MS, accountOf, startTestRelay, temporaryFolder } from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { createSender } from './support/sender.ts';
import { SENDER, useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from './support/traces.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

const DAY = 86_400_000;
const BODY = toProtobuf(requestOf(makeTrace().spans));

async function filesOf(
  request: Partial<CertificateRequest>,
  authority: Pick<typeof stack.certificates.ca, 'issue'> = stack.certificates.ca,
): Promise<ClientFiles> {
  const directory = await temporaryFolder();
  const files = { certFile: join(directory, 'client.crt'), keyFile: join(directory, 'client.key') };
  const pair = await authority.issue({ commonName: 'client', uris: [SENDER], usage: 'client', ...request });
  await writeKeyPair(files.certFile, files.keyFile, pair);
  return { caFile: stack.certificates.caFile, ...files };
}

async function post(relay: TestRelay, files: ClientFiles, headers?: Record<string, string>) {
  const sender = await createSender(relay.url, files);
  onTestFinished(() => sender.close());
  return sender.post(BODY, headers);
}

/** Nothing was taken from those who were refused, and whoever may send is served as before. */
async function expectWell(relay: TestRelay): Promise<void> {
  expect(await accountOf(relay)).toMatchObject({ accepted: 0 });
  const trace = makeTrace();
  await relay.sender.send(requestOf(trace.spans));
  await stack.mlflow.waitForTrace(trace.traceId, { spans: 2 });
  expect(await accountOf(relay)).toMatchObject({ accepted: 2 });
}

test('without a certificate of the CA, or with one that is over or of a server, there is no connection', async () => {
  const relay = await startTestRelay(stack);
  const other = await createCertificateAuthority('another CA');
  const cases: [string, ClientFiles, RegExp][] = [
    ['no certificate', { caFile: stack.certificates.caFile }, /PEER_DID_NOT_RETURN_A_CERTIFICATE/],
    ['another CA', await filesOf({}, other), /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|SIGNATURE/],
    [
      'expired',
      await filesOf({ notBefore: new Date(Date.now() - 2 * DAY), notAfter: new Date(Date.now() - DAY) }),
      /CERT_HAS_EXPIRED/,
    ],
    ['not valid yet', await filesOf({ notBefore: new Date(Date.now() + DAY) }), /CERT_NOT_YET_VALID/],
    ['for servers', await filesOf({ usage: 'server' }), /INVALID_PURPOSE/],
  ];
  for (const [name, files, reason] of cases) {
    const answer = await post(relay, files).then(
      ({ status }) => status,
      () => 'no connection',
    );
    expect([name, answer]).toEqual([name, 'no connection']);
    await waitFor(`the log does not say why (${name})`, DEADLINE_MS, async () => {
      const lines = (await relay.logLines()).filter(({ msg }) => msg === 'connection refused');
      return lines.some((line) => reason.test(String(line['reason']))) ? true : undefined;
    });
  }
  await expectWell(relay);
});

test('a certificate of the CA that is not among allowed_clients gets 403 and is told who it is', async () => {
  const relay = await startTestRelay(stack, {
    allowedClients: ['spiffe://e2e.example/ns/test/sa/*', '*.senders.example'],
  });
  const stranger = 'spiffe://e2e.example/ns/other/sa/stranger';
  const cases: [Partial<CertificateRequest>, string][] = [
    [{ uris: [stranger] }, stranger],
    [{ uris: [`${SENDER}/more`] }, `${SENDER}/more`],
    [{ uris: [], dnsNames: ['a.b.senders.example'] }, 'a.b.senders.example'],
    [{ uris: [], commonName: 'only a name' }, 'only a name'],
  ];
  for (const [request, identity] of cases) {
    const files = await filesOf(request);
    const answer = await post(relay, files);
    expect(answer.status).toBe(403);
    const status = Status.toObject(Status.decode(answer.body));
    expect(status).toMatchObject({ code: 7, message: expect.stringContaining(identity) as string });
    const json = await post(relay, files, { 'content-type': 'application/json' });
    expect(json.status).toBe(403);
    expect(JSON.parse(json.body.toString())).toEqual(status);
    await expect
      .poll(() => relay.logLines(), { timeout: DEADLINE_MS })
      .toContainEqual(
        expect.objectContaining({ msg: 'request refused', status: 403, reason: 'not_allowed' }) as object,
      );
  }
  const byDns = await post(relay, await filesOf({ uris: [], dnsNames: ['one.senders.example'] }));
  expect(byDns.status).toBe(200);
  expect(await accountOf(relay)).toMatchObject({ accepted: 2 });
});
