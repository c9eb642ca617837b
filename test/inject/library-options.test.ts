import { expect, test } from 'vitest';
import { injectTrace, injectTraces } from '../../src/testing.ts';

/** As a program gives them that no compiler has looked at. */
const never = (options: unknown) => options as never;

test.each<[object | undefined, string]>([
  [undefined, 'options: expected an object, got nothing'],
  [{}, 'config: expected a text that is not empty, got nothing'],
  [{ config: 'f', wait: '30s' }, 'wait: expected milliseconds, up to 3600000, or false, got "30s"'],
  [{ config: 'f', wait: Number.NaN }, 'wait: expected milliseconds, up to 3600000, or false, got NaN'],
  [{ config: 'f', wait: 3_600_001 }, 'wait: expected milliseconds, up to 3600000, or false, got 3600001'],
  [{ config: 'f', wiat: 1 }, 'wiat: unknown option; did you mean wait?'],
  [{ config: 'f', cafile: 'ca.crt' }, 'cafile: unknown option; did you mean caFile?'],
  [{ config: 'f', count: 2 }, 'count: unknown option; known are config, destination, '],
  [{ config: 'f', attributes: { n: 1 } }, 'attributes.n: expected a text, got 1'],
  [{ config: 'f', endpoint: {} }, 'endpoint: expected a text that is not empty, got an object'],
])('one trace with %o is refused', async (options, words) => {
  await expect(injectTrace(never(options))).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringContaining(words) as string,
  });
});

test.each<[object, string]>([
  [{ count: 0 }, 'count: expected 1 to 10000, got 0'],
  [{ count: '2' }, 'count: expected 1 to 10000, got "2"'],
  [{}, 'count: expected 1 to 10000, got nothing'],
  [{ count: 1, rate: 0 }, 'rate: expected above 0, up to 1000, got 0'],
  [{ cuont: 1, wait: true }, 'cuont: unknown option; did you mean count?'],
])('several with %o are refused', async (options, words) => {
  await expect(injectTraces(never({ config: 'f', ...options }))).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringContaining(words) as string,
  });
});

test('what is right, and undefined where it may be left out, is taken', async () => {
  const options = { config: '/nowhere.yaml', endpoint: 'https://relay', wait: false, attributes: { a: '' } };
  for (const call of [
    () => injectTrace(never({ ...options, service: undefined })),
    () => injectTraces(never({ ...options, wait: 1.5, count: 2, rate: 0.5 })),
  ]) {
    await expect(call()).rejects.toMatchObject({
      code: 'CONFIG_UNREADABLE',
      message: expect.stringMatching(/; name another one with the option config$/) as string,
    });
  }
});
