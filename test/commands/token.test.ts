import { chmod, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { startOidcProvider } from '../stack/oidc-provider.ts';
import type { OidcProvider } from '../stack/oidc-provider.ts';
import { folder as newFolder } from '../config/folder.ts';
import { relay } from './child.ts';

const CLIENT = { clientId: 'relay', secret: 'a-secret-of-the-relay', username: 'service-account-relay' };
const MLFLOW = 'https://mlflow.example';

let oidc: OidcProvider;
beforeAll(async () => {
  oidc = await startOidcProvider({ port: 0, services: [CLIENT] });
});
afterAll(() => oidc?.stop());

let folder: string;
let config: string;
beforeEach(async () => {
  folder = newFolder({ 'relay.yaml': stringify({ destinations: { mlflow: destination() } }) });
  config = join(folder, 'relay.yaml');
  await writeFile(join(folder, 'secret'), CLIENT.secret, { mode: 0o600 });
});

function destination() {
  return {
    kind: 'mlflow',
    url: MLFLOW,
    experiment: { id: '0' },
    auth: {
      kind: 'client_credentials',
      issuer: oidc.issuer,
      client_id: CLIENT.clientId,
      client_secret_file: 'secret',
    },
  };
}

/** With a cache that is this test's alone. */
function token(...args: readonly string[]) {
  return relay(['token', ...args, '-c', config], { env: { XDG_CACHE_HOME: folder } });
}

async function printed(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await token(...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.trimEnd();
}

async function cacheFile(): Promise<string> {
  const directory = join(folder, 'mlflow-trace-relay', 'tokens');
  const [name = ''] = await readdir(directory);
  return join(directory, name);
}

describe('a token for the configured destination', () => {
  test('is printed in each format, and fetched once', async () => {
    const before = oidc.tokenRequests();
    const value = await printed();
    expect(await printed('--format', 'header')).toBe(`Authorization: Bearer ${value}`);
    expect(await printed('--format', 'env')).toBe(
      `MLFLOW_TRACKING_URI=${MLFLOW}\nMLFLOW_TRACKING_TOKEN=${value}`,
    );
    const json = JSON.parse(await printed('--format', 'json')) as Record<string, string>;
    expect(json).toMatchObject({
      access_token: value,
      token_type: 'Bearer',
      username: 'service-account-relay',
      audience: ['mlflow'],
      groups: ['mlflow'],
    });
    expect(Date.parse(json['expires_at'] ?? '')).toBeGreaterThan(Date.now() + 200_000);
    expect(oidc.tokenRequests() - before).toBe(1);
  });

  test('is kept for this user alone; one that others could have read or written is not used', async () => {
    const first = await printed();
    const file = await cacheFile();
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(join(file, '..'))).mode & 0o777).toBe(0o700);

    await chmod(file, 0o644);
    const second = await printed();
    expect(second).not.toBe(first);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await printed()).toBe(second);

    await writeFile(file, 'damaged');
    expect(await printed()).not.toBe(second);
    expect(await printed('--no-cache')).not.toBe(JSON.parse(await readFile(file, 'utf8')).accessToken);
  });

  test('is replaced before it ends; and used to its end while the issuer is away', async () => {
    const value = await printed();
    const file = await cacheFile();
    const kept = JSON.parse(await readFile(file, 'utf8')) as { obtainedAt: number; expiresAt: number };
    // As if four fifths of its life were over.
    const earlier = { ...kept, obtainedAt: kept.obtainedAt - 240_000, expiresAt: kept.expiresAt - 240_000 };
    await writeFile(file, JSON.stringify(earlier));
    await oidc.stop();
    try {
      const { code, stdout, stderr } = await token();
      expect({ code, stdout }).toEqual({ code: 0, stdout: `${value}\n` });
      expect(stderr).toContain('warning: the kept token is used, which ends soon: nothing listens at');
      const none = await token('--no-cache');
      expect({ code: none.code, stdout: none.stdout }).toEqual({ code: 1, stdout: '' });
      expect(none.stderr).toMatch(/^error: nothing listens at .*\ncode: NO_TOKEN\n$/);
    } finally {
      await oidc.start();
    }
    expect(await printed()).not.toBe(value);
  });

  test('is not to be had without right, without flags that belong together, or where none is needed', async () => {
    await writeFile(join(folder, 'secret'), 'wrong', { mode: 0o600 });
    const wrong = await token();
    expect({ code: wrong.code, stdout: wrong.stdout }).toEqual({ code: 1, stdout: '' });
    expect(wrong.stderr).toMatch(/refuses the client relay .*check client_id and client_secret_file/);
    expect(wrong.stderr).not.toContain(CLIENT.secret);

    const grant = await token('--grant', 'password', '--username', 'somebody');
    expect(grant.code).toBe(2);
    expect(grant.stderr).toContain('--grant password needs --password-file');

    await writeFile(
      config,
      stringify({ destinations: { mlflow: { ...destination(), auth: { kind: 'none' } } } }),
    );
    const none = await token();
    expect(none.code).toBe(2);
    expect(none.stderr).toContain('destination mlflow needs no token');
  });
});

describe('token inspect', () => {
  test('shows what the token says and what MLflow will take, and never the token', async () => {
    const value = await printed();
    const shown = await printed('inspect');
    expect(shown).toContain('user name for MLflow  service-account-relay\n');
    expect(shown).toContain('audience              mlflow\n');
    expect(shown).toContain('groups                mlflow\n');
    expect(shown).toMatch(/^expires +\d{4}-.*Z \(in \d+ s\)$/m);
    expect(shown).not.toContain(value);
    expect(JSON.parse(await printed('inspect', '--json'))).toMatchObject({
      username: 'service-account-relay',
      issuer: oidc.issuer,
      valid_from: expect.any(Number) as number,
      expires_at: expect.any(Number) as number,
      lacks: [],
    });
  });

  test('reads one from standard input, and says what MLflow will miss', async () => {
    const poor = `${part({ alg: 'none' })}.${part({ iss: 'https://issuer.example', exp: 1 })}.x`;
    const { code, stdout } = await relay(['token', 'inspect', '--stdin', '-c', config], { input: poor });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^expires +1970-01-01T00:00:01\.000Z \(\d+ s ago\)$/m);
    expect(stdout).toContain('missing: it has no aud claim');
    expect(stdout).toContain('missing: it has no groups claim');

    const opaque = await relay(['token', 'inspect', '--stdin', '-c', config], { input: 'opaque\n' });
    expect(opaque.code).toBe(2);
    expect(opaque.stderr).toMatch(/this is no signed JWT.*\ncode: USAGE\n$/);

    const nothing = await relay(['token', 'inspect', '--stdin', '-c', config], { input: '\n' });
    expect(nothing.code).toBe(2);
    expect(nothing.stderr).toMatch(/there is nothing on standard input.*\ncode: USAGE\n$/);
  });
});

test('token revoke removes what is kept, whatever the issuer says to it', async () => {
  expect(await printed('revoke')).toBe('no token is kept: nothing to revoke');
  const value = await printed();
  const { code, stderr } = await token('revoke');
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /^error: removed from this disk, and not revoked at the issuer: .* names no revocation_endpoint: its tokens end by themselves\ncode: NOT_REVOKED\n$/,
  );
  expect(await printed()).not.toBe(value);
});

function part(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
