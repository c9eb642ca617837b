import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { startOidcProvider } from '../stack/oidc-provider.ts';
import type { OidcProvider } from '../stack/oidc-provider.ts';
import { folder as newFolder } from '../config/folder.ts';
import { MAIN, relay, start } from './child.ts';

/* Before the door is open. */

const CLIENT = { clientId: 'relay', secret: 'a-secret-of-the-relay', username: 'service-account-relay' };

let oidc: OidcProvider;
beforeAll(async () => {
  oidc = await startOidcProvider({ port: 0, services: [CLIENT] });
});
afterAll(() => oidc?.stop());

let folder: string;
let config: string;
beforeEach(() => {
  const auth = {
    kind: 'client_credentials',
    issuer: oidc.issuer,
    client_id: CLIENT.clientId,
    client_secret_file: 'secret',
  };
  const mlflow = { kind: 'mlflow', url: 'https://mlflow.example', experiment: { id: '0' }, auth };
  folder = newFolder({ 'relay.yaml': stringify({ destinations: { mlflow } }), secret: CLIENT.secret });
  config = join(folder, 'relay.yaml');
});

const PROGRAM = ['--', process.execPath, '-e', 'console.log("it runs")'];

test('an issuer that refuses ends it before the command runs, in the words of `token`, though a token is kept', async () => {
  const env = { XDG_CACHE_HOME: folder };
  expect((await relay(['token', '-c', config], { env })).code).toBe(0);
  await writeFile(join(folder, 'secret'), 'wrong', { mode: 0o600 });
  const asked = await relay(['token', '-c', config, '--no-cache'], { env });
  expect(asked.stderr).toMatch(/^error: .*refuses the client relay .*\ncode: NO_TOKEN\n$/);
  expect(await relay(['proxy', '-c', config, ...PROGRAM], { env })).toEqual(asked);
  expect(asked).toMatchObject({ code: 1, stdout: '' });
});

test('an issuer that is away does not keep the command from running', async () => {
  await oidc.stop();
  try {
    const { code, stdout, stderr } = await relay(['proxy', '-c', config, ...PROGRAM]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'it runs\n', stderr: '' });
  } finally {
    await oidc.start();
  }
});

test('without a command it says that it is open, and until when', async () => {
  const door = start(MAIN, ['proxy', '-c', config, '--port', '0']);
  await door.says('MLFLOW_TRACKING_PASSWORD=');
  door.kill('SIGTERM');
  const { code, stderr } = await door.ended();
  expect({ code, stderr }).toEqual({
    code: 0,
    stderr: 'the door is open until Ctrl-C: set these variables where your program runs\n',
  });
});
