import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { start } from './child.ts';

const FIXTURE = fileURLToPath(new URL('service.fixture.ts', import.meta.url));
const service = (behaviour: string) => start(FIXTURE, [behaviour]);

describe('a process around a service', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('%s stops it within its time, with code 0', async (signal) => {
    const process = service('stops');
    await process.says('started');
    process.kill(signal);
    const { code, stdout } = await process.ended();
    expect(code).toBe(0);
    expect(stdout).toContain('stop within 1234\n');
    expect(stdout).toContain(`"signal":"${signal}"`);
  });

  test('a signal while it starts is remembered', async () => {
    const process = service('starts slowly');
    await process.says('starting');
    process.kill('SIGTERM');
    const { code, stdout } = await process.ended();
    expect(code).toBe(0);
    expect(stdout).toContain('stop within 1234\n');
  });

  test.each([
    ['hangs in stop', 'started'],
    ['hangs in start', 'starting'],
  ])('a second signal ends one that %s, with code 1', async (behaviour, ready) => {
    const process = service(behaviour);
    await process.says(ready);
    process.kill('SIGTERM');
    process.kill('SIGINT');
    const { code, stdout } = await process.ended();
    expect(code).toBe(1);
    expect(stdout).toContain('second signal');
  });

  test.each([
    ['throws later', '"origin":"uncaughtException"'],
    ['rejects later', '"origin":"unhandledRejection"'],
  ])('one that %s is logged as fatal, with code 1', async (behaviour, origin) => {
    const { code, stdout, stderr } = await service(behaviour).ended();
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    expect(stdout).toContain('"level":"fatal"');
    expect(stdout).toContain(origin);
    expect(stdout).toContain('a bug');
  });

  test('one that fails to stop ends with code 1 and says why', async () => {
    const process = service('fails to stop');
    await process.says('started');
    process.kill('SIGTERM');
    const { code, stdout } = await process.ended();
    expect(code).toBe(1);
    expect(stdout).toContain('could not stop cleanly: disk gone');
  });

  test('one that fails to start leaves it to the caller', async () => {
    const { code, stdout } = await service('fails to start').ended();
    expect(code).toBe(7);
    expect(stdout).toContain('rejected: port taken');
  });
});
