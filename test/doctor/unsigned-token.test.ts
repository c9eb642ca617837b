import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { sendHtml, sendJson } from '../auth/support.ts';
import { instead, refuse } from './broken.ts';
import { examineBroken, useShared } from './setting.ts';
import type { Setting } from './setting.ts';

/*
 * Whether MLflow takes a token that anybody can write. What mlflow-oidc-auth does, before and after it was mended,
 * test/e2e/oidc-auth-versions.test.ts shows.
 */

const shared = useShared();

type Caller = 'nobody' | 'unsigned' | 'signed';

/** Answers the list of experiments by who asks. */
function answering(answers: Record<Caller, (response: ServerResponse) => unknown>) {
  return (setting: Setting) => {
    setting.answer = ({ what, headers: { authorization } }, response) => {
      if (what !== 'GET search') return false;
      answers[callerOf(authorization)](response);
      return true;
    };
  };
}

function callerOf(authorization: string | undefined): Caller {
  if (authorization === undefined) return 'nobody';
  return authorization.endsWith('.') ? 'unsigned' : 'signed';
}

const jsonIn = (part = '') => JSON.parse(Buffer.from(part, 'base64url').toString()) as object;

const list = (response: ServerResponse) => sendJson(response, 200, { experiments: [] });
const toLogin = (response: ServerResponse) => response.writeHead(302, { location: '/login' }).end();
const forbid = (response: ServerResponse) => sendJson(response, 403, { message: 'Permission denied' });
const page = (response: ServerResponse) => sendHtml(response, 200);

test.each<[string, (setting: Setting) => unknown, string, RegExp]>([
  [
    'taken',
    answering({ nobody: refuse, unsigned: list, signed: list }),
    'warning',
    /^MLflow takes a token without a signature .* whoever reaches it can be anybody/,
  ],
  [
    'taken, where others are sent to a login',
    answering({ nobody: toLogin, unsigned: list, signed: list }),
    'warning',
    /^MLflow takes a token without a signature/,
  ],
  ['refused', answering({ nobody: refuse, unsigned: refuse, signed: list }), 'ok', /^is refused \(401\)$/],
  ['forbidden', answering({ nobody: refuse, unsigned: forbid, signed: list }), 'ok', /^is refused \(403\)$/],
  [
    'sent to a login',
    answering({ nobody: toLogin, unsigned: toLogin, signed: list }),
    'ok',
    /^is refused \(302\)$/,
  ],
  ['shown a login', answering({ nobody: page, unsigned: page, signed: list }), 'ok', /^is refused \(200\)$/],
  [
    'needed by nobody',
    answering({ nobody: list, unsigned: list, signed: list }),
    'skipped',
    /^MLflow lets in who has no token at all$/,
  ],
  [
    'no worse than the signed one',
    answering({ nobody: refuse, unsigned: forbid, signed: forbid }),
    'skipped',
    /^cannot be told by the answer to the signed one: 403$/,
  ],
  [
    'not tried where the signed one is not taken',
    (setting) => instead(setting, /v1\/traces/, refuse),
    'skipped',
    /^needs "token"$/,
  ],
])('%s', async (_, breakIt, state, words) => {
  const { checks } = await examineBroken(shared, breakIt);
  expect(checks.find(({ name }) => name === 'unsigned token')).toMatchObject({
    state,
    words: expect.stringMatching(words) as string,
  });
});

test('its claims are those of the signed one', async () => {
  const { asked } = await examineBroken(shared, () => {});
  const tokens = asked.flatMap(({ what, headers: { authorization = '' } }) =>
    what === 'GET search' ? [authorization.replace('Bearer ', '').split('.')] : [],
  );
  const [, signed, unsigned] = tokens;
  expect(unsigned).toEqual([expect.any(String), signed?.[1], '']);
  expect(jsonIn(unsigned?.[0])).toEqual({ ...jsonIn(signed?.[0]), alg: 'none' });
});
