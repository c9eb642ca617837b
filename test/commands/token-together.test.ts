import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { stringify } from 'yaml';
import { sendJson, startIssuer } from '../auth/support.ts';
import { folder as newFolder } from '../config/folder.ts';
import { MAIN, relay, start } from './child.ts';

/**
 * An issuer whose refresh tokens are good for one use, and which ends all that came of one that is used again.
 * @param isHanging it never answers where tokens are revoked
 */
async function startRotatingIssuer(isHanging = false) {
  const revoking = Promise.withResolvers<void>();
  const asked = { password: 0, refresh: 0, revoked: [] as string[] };
  const another = Promise.withResolvers<void>();
  let good: string | undefined;
  const issuer = await startIssuer({
    metadata: (_, response) =>
      sendJson(response, 200, {
        issuer: issuer.url,
        token_endpoint: `${issuer.url}/token`,
        revocation_endpoint: `${issuer.url}/revoke`,
      }),
    token: async (form, response, request) => {
      if (request.url === '/revoke') {
        asked.revoked.push(form.get('token') ?? '');
        revoking.resolve();
        if (!isHanging) response.end();
        return;
      }
      const isRefresh = form.get('grant_type') === 'refresh_token';
      asked[isRefresh ? 'refresh' : 'password'] += 1;
      if (asked.refresh > 1) another.resolve();
      // Time for others to come with the same one, if they do.
      else if (isRefresh) await Promise.race([another.promise, setTimeout(1_000)]);
      if (isRefresh && form.get('refresh_token') !== good) {
        good = undefined;
        sendJson(response, 400, { error: 'invalid_grant' });
        return;
      }
      const serial = asked.password + asked.refresh;
      good = `refresh-${serial}`;
      sendJson(response, 200, {
        access_token: `access-${serial}`,
        refresh_token: good,
        token_type: 'Bearer',
        expires_in: 300,
      });
    },
  });
  onTestFinished(() => issuer.stop());
  const folder = newFolder({
    password: 'p',
    'relay.yaml': stringify({
      destinations: {
        mlflow: {
          kind: 'mlflow',
          url: 'https://mlflow.example',
          experiment: { id: '0' },
          auth: {
            kind: 'client_credentials',
            issuer: issuer.url,
            client_id: 'relay',
            client_secret_file: 'password',
          },
        },
      },
    }),
  });
  const env = { XDG_CACHE_HOME: folder };
  const argsOf = (args: string[]) => ['token', ...args, '-c', join(folder, 'relay.yaml')];
  const token = (...args: string[]) => relay(argsOf(args), { env });
  const begin = (...args: string[]) => start(MAIN, argsOf(args), { env });
  return { asked, folder, token, begin, revoking: revoking.promise, good: () => good };
}

const AS_PERSON = ['--client-id', 'cli', '--grant', 'password', '--username', 'somebody', '--password-file'];

test('of several commands at once with a token that is over one refreshes it, and all print the new one', async () => {
  const { asked, folder, token } = await startRotatingIssuer();
  const asPerson = [...AS_PERSON, join(folder, 'password')];
  expect((await token(...asPerson)).stdout).toBe('access-1\n');
  const directory = join(folder, 'mlflow-trace-relay/tokens');
  const [name = ''] = await readdir(directory);
  const kept = JSON.parse(await readFile(join(directory, name), 'utf8')) as { expiresAt: number };
  await writeFile(join(directory, name), JSON.stringify({ ...kept, expiresAt: Date.now() }));

  const all = await Promise.all(Array.from({ length: 4 }, () => token(...asPerson)));
  expect(all.map(({ code, stdout }) => `${code} ${stdout}`)).toEqual(Array(4).fill('0 access-2\n'));
  expect(asked).toEqual({ password: 1, refresh: 1, revoked: [] });
});

test('a refresh token in a file is revoked at the issuer, with nothing kept of it', async () => {
  const { asked, folder, token, good } = await startRotatingIssuer();
  await token(...AS_PERSON, join(folder, 'password'));
  await writeFile(join(folder, 'refresh'), `${good()}\n`);
  const flags = ['--client-id', 'cli', '--grant', 'refresh_token', '--refresh-token-file'];
  const { code, stdout } = await token('revoke', ...flags, join(folder, 'refresh'));
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'revoked\n' });
  expect(asked).toEqual({ password: 1, refresh: 0, revoked: ['refresh-1'] });
  expect(await readdir(join(folder, 'mlflow-trace-relay/tokens'))).toHaveLength(1);
});

test('a token stays to be revoked again, where the issuer hangs and somebody stops waiting for it', async () => {
  const { folder, token, begin, revoking } = await startRotatingIssuer(true);
  const asPerson = [...AS_PERSON, join(folder, 'password')];
  await token(...asPerson);
  const revoke = begin('revoke', ...asPerson);
  await revoking;
  revoke.kill('SIGINT');
  expect((await revoke.ended()).code).not.toBe(0);
  expect((await token(...asPerson)).stdout).toBe('access-1\n');
});
