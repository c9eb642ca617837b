import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createClientCredentials } from '../../src/auth/client-credentials.ts';
import { createMlflowDestination } from '../../src/destinations/mlflow.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { issuerOptions, memoryLog, sendJson, startIssuer, startServer } from './support.ts';

/*
 * An issuer and an upstream whose clocks are apart, over real sockets. The upstream takes tokens as mlflow-oidc-auth
 * does: none that has ended, and none that was issued in its future, by its own clock and without leeway.
 */

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

const never = new AbortController().signal;

/** @param apart seconds by which the issuer's clock is ahead of the upstream's */
async function setUp({ lifetime, apart }: { lifetime: number; apart: number }) {
  // Time passes by this alone, for the relay too, whose wall clock is not asked. Whole, so that sums of it are exact.
  const time = { now: Math.ceil(performance.now()) };
  vi.spyOn(performance, 'now').mockImplementation(() => time.now);
  ends.push(async () => void vi.restoreAllMocks());
  const upstreamClock = () => 1_800_000_000 + Math.floor(time.now / 1000);
  const clocks = { apart };

  const issuer = await startIssuer({
    token: (_, response) => {
      const iat = upstreamClock() + clocks.apart;
      const payload = { iat, exp: iat + lifetime, serial: issuer.asked.token };
      const token = ['{}', JSON.stringify(payload), 'signature'].map(base64url).join('.');
      sendJson(response, 200, { access_token: token, token_type: 'Bearer', expires_in: lifetime });
    },
  });
  ends.push(() => issuer.stop());

  const answers: number[] = [];
  const upstream = await startServer((request: IncomingMessage, response: ServerResponse) => {
    request.resume();
    response.setHeader('date', new Date(upstreamClock() * 1000).toUTCString());
    const [, payload = ''] = (request.headers.authorization ?? '').split('.');
    const { iat, exp } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, number>;
    const now = upstreamClock();
    const status = iat !== undefined && exp !== undefined && iat <= now && now < exp ? 200 : 401;
    if (request.url !== '/v1/traces') {
      const experiment = { experiment_id: '1', name: 'traces', lifecycle_stage: 'active' };
      sendJson(response, status, status === 200 ? { experiment } : { detail: 'Authentication required' });
      if (status === 401) answers.push(status);
      return;
    }
    answers.push(status);
    if (status === 401) sendJson(response, 401, { detail: 'Authentication required' });
    else response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
  });
  ends.push(() => upstream.stop());

  const { log, lines } = memoryLog();
  const metrics = createMetrics();
  let fetchesBegun = 0;
  const tokens = createClientCredentials(
    {
      destination: 'mlflow',
      ...issuerOptions(issuer.url),
      // Read first thing in each fetch.
      clientSecret: async () => {
        fetchesBegun++;
        return 'secret';
      },
    },
    { log, metrics },
  );
  ends.push(() => tokens.close());
  const mlflow = createMlflowDestination(
    {
      name: 'mlflow',
      url: new URL(upstream.url),
      experiment: { id: '1' },
      workspace: undefined,
      tls: {},
      timeoutMs: 10_000,
      maxResponseSize: 65_536,
      repair: false,
    },
    { tokens, log },
  );
  ends.push(() => mlflow.close());

  /** A request every `everyS` seconds, twice where the token was not taken, as the dispatcher sends them. */
  async function send(seconds: number, everyS = 5): Promise<Sent[]> {
    const sent: Sent[] = [];
    for (let second = 0; second < seconds; second += everyS) {
      const one = () => mlflow.send(mlflow.targetOf(ROUTE), [Buffer.from([0x0a, 0x00])], never);
      let outcome = await one();
      if (outcome.kind === 'unauthorized') outcome = await one();
      const reason = outcome.kind === 'delivered' ? '' : outcome.reason;
      sent.push({ second, kind: outcome.kind, reason });
      await settled();
      time.now += everyS * 1000;
    }
    return sent;
  }
  /** What is fetched in the background is there. */
  async function settled(): Promise<void> {
    await tokens.token();
    await vi.waitFor(
      async () => {
        const { values } = await metrics.tokenRequests.get();
        expect(values.reduce((sum, { value }) => sum + value, 0)).toBe(fetchesBegun);
      },
      { timeout: 10_000 },
    );
  }

  return { send, clocks, lines, answers, tokenRequests: () => issuer.asked.token };
}

type Sent = { second: number; kind: string; reason: string };

const ROUTE = { name: 'default', destinations: ['mlflow'], variables: {} };

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url');
}

const isDelivered = ({ kind }: Sent) => kind === 'delivered';
const refusals = (answers: readonly number[]) => answers.filter((status) => status === 401).length;

describe('an issuer whose clock is', () => {
  it.each([0, 1])('%s s ahead: a token an expiry, and at most one refusal', async (apart) => {
    const { send, answers, tokenRequests } = await setUp({ lifetime: 300, apart });
    const sent = await send(1200);
    expect(sent.slice(apart).every(isDelivered)).toBe(true);
    expect(refusals(answers)).toBe(apart);
    // Fetched anew when three quarters to four fifths of their life are over.
    expect(tokenRequests()).toBeGreaterThanOrEqual(5);
    expect(tokenRequests()).toBeLessThanOrEqual(6);
  });

  it('120 s ahead: the first token is used when its time has come, and later ones without a gap', async () => {
    const { send, answers, tokenRequests, lines } = await setUp({ lifetime: 300, apart: 120 });
    const sent = await send(1500);
    const late = sent.filter(({ second }) => second < 120);
    expect(late.every(({ kind }) => kind === 'retry')).toBe(true);
    expect(late[0]?.reason).toContain('the clock of the upstream is 120 s behind that of the issuer');
    expect(sent.filter(({ second }) => second >= 120).every(isDelivered)).toBe(true);
    expect(refusals(answers)).toBe(1);
    expect(tokenRequests()).toBeGreaterThanOrEqual(6);
    expect(tokenRequests()).toBeLessThanOrEqual(7);
    expect(lines.filter(({ level }) => level === 40)).toHaveLength(1);
  });

  it('120 s ahead, with tokens of a minute: one token for each that has ended', async () => {
    const { send, answers, tokenRequests } = await setUp({ lifetime: 60, apart: 120 });
    const sent = await send(1200);
    expect(sent.filter(isDelivered).length).toBeGreaterThan(sent.length / 3);
    expect(refusals(answers)).toBe(1);
    expect(tokenRequests()).toBeLessThanOrEqual(1200 / 60);
  });

  it('120 s behind: a token ends so much earlier, and the next comes at once', async () => {
    const { send, answers, tokenRequests } = await setUp({ lifetime: 300, apart: -120 });
    const sent = await send(1750);
    expect(sent.every(isDelivered)).toBe(true);
    // Each lives 180 s there.
    expect(tokenRequests()).toBe(10);
    expect(refusals(answers)).toBe(9);
  });

  it('set right while the relay waits for tokens to become ready: the next one is tried at once', async () => {
    const { send, clocks, answers, tokenRequests } = await setUp({ lifetime: 300, apart: 120 });
    await send(200);
    clocks.apart = 0;
    const sent = await send(1200);
    expect(sent.every(isDelivered)).toBe(true);
    expect(refusals(answers)).toBeLessThanOrEqual(3);
    expect(tokenRequests()).toBeLessThanOrEqual(8);
  });
});
