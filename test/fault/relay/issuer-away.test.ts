import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectStored } from '../../e2e/support/compare.ts';
import {
  DEADLINE_MS,
  accountOf,
  expectBalanced,
  isReady,
  metric,
  startTestRelay,
  waitForDestination,
} from '../../e2e/support/relay.ts';
import { streamTraces } from '../../e2e/support/sender.ts';
import { startOwnStack } from '../../e2e/support/stack.ts';
import type { OwnStack } from '../../e2e/support/stack.ts';
import { waitFor } from '../../stack/processes.ts';
import { figure, howMany } from '../support/run.ts';

/* The issuer is away for so long that the token ends, while traces come. */

const LIFETIME_S = 5;
/** From the moment that there is no token any more. */
const AWAY_S = howMany({ short: 2, long: 60 });

let stack: OwnStack;
beforeAll(async () => {
  stack = await startOwnStack();
});
afterAll(() => stack?.stop());

test(
  `an issuer that is away for ${AWAY_S} s longer than tokens live: all is kept, one token is asked for when it is back`,
  { timeout: 300_000 },
  async () => {
    const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    stack.oidc.setTokenLifetime(LIFETIME_S);
    const relay = await startTestRelay(stack, { experiment: { id: experiment } });
    const stream = streamTraces(relay.sender, 200);
    await waitFor('nothing was delivered', DEADLINE_MS, async () =>
      (await accountOf(relay)).delivered > 0 ? true : undefined,
    );

    await stack.oidc.stop();
    const before = stack.oidc.tokenRequests();
    await waitForDestination(relay, 'without a token', ({ state, reason, token_expires_at: end }) => {
      return state === 'retrying' && end === undefined && reason?.startsWith('no access token') === true;
    });
    const endedAt = Date.now();
    await waitFor('time did not pass', 2 * AWAY_S * 1000 + DEADLINE_MS, async () => {
      expect(await isReady(relay)).toBe(true);
      expectBalanced(await accountOf(relay));
      return Date.now() - endedAt >= AWAY_S * 1000 ? true : undefined;
    });
    const { delivered, waiting } = await accountOf(relay);
    expect(waiting).toBeGreaterThan(0);
    const asked = await metric(relay, 'token_requests_total{destination="mlflow",result="unavailable"}');

    await stack.oidc.start();
    const backAt = Date.now();
    await waitFor('nothing of the backlog was delivered', DEADLINE_MS, async () =>
      (await accountOf(relay)).delivered > delivered ? true : undefined,
    );
    const seconds = (Date.now() - backAt) / 1000;
    await stream.stop();
    await waitForDestination(relay, 'done', (status) => status.waiting_spans === 0);
    const lifetimes = (Date.now() - backAt) / 1000 / LIFETIME_S;
    expect(stack.oidc.tokenRequests() - before).toBeLessThanOrEqual(2 + lifetimes / 0.75);

    const account = await accountOf(relay);
    expect(account).toMatchObject({ rejected: 0, deadLetters: 0 });
    expectBalanced(account);
    await expectStored(stack.mlflow, experiment, stream.acknowledged);
    figure('from the return of the issuer to the first delivery', `${seconds.toFixed(2)} s`, '1 s');
    figure(`times that the issuer was asked while it was away for ${AWAY_S} s`, `${asked}`, `${2 * AWAY_S}`);
  },
);
