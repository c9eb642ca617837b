import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { obtainToken } from '../../src/auth/obtain-token.ts';
import type { GrantRequest } from '../../src/auth/obtain-token.ts';
import { createTokenCache } from '../../src/auth/token-cache.ts';
import type { KeptToken } from '../../src/auth/token-cache.ts';
import { NEVER_ABORTS } from '../../src/never-aborts.ts';
import { issuerOptions, startIssuer } from './support.ts';

const MINUTE = 60_000;

/** What comes of it while another command is at it with the same token, for as long as it takes. */
async function obtainBeside(kept: KeptToken, grant: GrantRequest) {
  const issuer = await startIssuer({});
  onTestFinished(() => issuer.stop());
  const folder = mkdtempSync(join(tmpdir(), 'obtain-token-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const cache = () => createTokenCache(join(folder, 'tokens'), {});
  await cache().write(kept);
  const warnings: string[] = [];
  const token = await cache().alone(
    () =>
      obtainToken(
        {
          issuer: issuerOptions(issuer.url),
          secret: async () => 'secret',
          kind: grant.kind,
          grant: () => grant,
        },
        {
          cache: cache(),
          now: Date.now,
          tell: () => {},
          warn: (words) => warnings.push(words),
          signal: NEVER_ABORTS,
        },
      ),
    () => {},
  );
  return { value: token.accessToken, warnings, asked: issuer.asked.token };
}

test('a kept token that is still valid is used, where another command is at it to renew it', async () => {
  const at = Date.now();
  const kept = {
    accessToken: 'kept',
    refreshToken: 'refresh',
    obtainedAt: at - 50 * MINUTE,
    expiresAt: at + 10 * MINUTE,
  };
  expect(await obtainBeside(kept, { kind: 'device_code' })).toEqual({
    value: 'kept',
    warnings: [expect.stringMatching(/^the kept token is used, which ends soon: another command /)],
    asked: 0,
  });
});

test('one that nothing is used up for is fetched without waiting for another command', async () => {
  const kept = { accessToken: 'kept', obtainedAt: Date.now() - 2 * MINUTE, expiresAt: Date.now() - MINUTE };
  expect(await obtainBeside(kept, { kind: 'client_credentials' })).toEqual({
    value: 't1',
    warnings: [],
    asked: 1,
  });
});
