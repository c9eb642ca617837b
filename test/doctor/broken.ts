import type { ServerResponse } from 'node:http';
import { expect, onTestFinished } from 'vitest';
import { sendJson, startIssuer, startServer } from '../auth/support.ts';
import type { IssuerBehaviour } from '../auth/support.ts';
import { SECRET, examineBroken, problemsIn } from './setting.ts';
import type { Setting, Shared } from './setting.ts';

/* Ways to break a set-up, and what is to be said of one that is broken. */

/** What is wrong, as `state name` in the order of the report, and what is said of the first of these. */
export type Case = [
  what: string,
  breakIt: (setting: Setting) => unknown,
  problems: string[],
  words: RegExp,
  fix: RegExp,
];

/**
 * What is named as wrong, once it is seen to be named in these words, and that nothing was stored to find it out.
 * @returns to be compared with the problems of the case
 */
export async function diagnose(shared: Shared, [, breakIt, problems, words, fix]: Case): Promise<string[]> {
  const { checks, asked, isUsable } = await examineBroken(shared, breakIt);
  const named = problemsIn(checks);
  const first = checks.find(({ state, name }) => problems[0] === `${state} ${name}`);
  if (first === undefined) return named;
  expect(first.words).toMatch(words);
  expect(first.fix).toMatch(fix);
  expect(isUsable).toBe(problems[0] !== 'failed configuration');
  expect(checks.filter(({ state, fix: todo }) => state === 'failed' && !todo)).toEqual([]);
  // The only traces are none, and no experiment is made.
  for (const { what, body } of asked.filter(({ what: it }) => !it.startsWith('GET '))) {
    expect({ what, body: body.toString('hex') }).toEqual({
      what: expect.stringMatching(/^POST (\/mlflow)?\/v1\/traces$/) as string,
      body: '0a00',
    });
  }
  expect(JSON.stringify(checks)).not.toContain(SECRET);
  expect(JSON.stringify(checks)).not.toContain('hunter2');
  return named;
}

export const auth = ({ config }: Setting) => config.destinations.mlflow.auth;
export const mlflow = ({ config }: Setting) => config.destinations.mlflow;

export async function issuer(setting: Setting, behaviour: IssuerBehaviour): Promise<void> {
  const started = await startIssuer(behaviour);
  onTestFinished(() => started.stop());
  auth(setting)['issuer'] = started.url;
}

const MLFLOW = { commonName: 'mlflow', usage: 'server' } as const;
const DAY = 86_400_000;

/** For the loopback interface, and nearly over. */
export async function endingSoon({ shared }: Setting): Promise<{ cert: string; key: string }> {
  const { certPem: cert, keyPem: key } = await shared.ca.issue({
    ...MLFLOW,
    ips: ['127.0.0.1'],
    notBefore: new Date(Date.now() - 60 * DAY),
    notAfter: new Date(Date.now() + 3 * DAY),
  });
  return { cert, key };
}

/** MLflow at an address with a certificate for these names. */
export async function overTls(setting: Setting, ips: string[], more: object = {}): Promise<void> {
  const { certPem: cert, keyPem: key } = await setting.shared.ca.issue({ ...MLFLOW, ips });
  const server = await startServer((_, response) => void response.writeHead(200).end('OK'), {
    cert,
    key,
    ...more,
  });
  onTestFinished(() => server.stop());
  mlflow(setting).url = server.url;
}

/** Answers what the path asks for, in MLflow's place. */
export function instead(
  setting: Setting,
  what: RegExp,
  answer: (response: ServerResponse, isKnown: boolean) => void,
) {
  setting.answer = (asked, response) => {
    if (!what.test(asked.what)) return false;
    answer(response, asked.headers.authorization !== undefined);
    return true;
  };
}

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** As an issuer gives it: MLflow's stand-in does not look at the signature. */
export function tokenWith(
  claims: object,
  answer: object = { expires_in: 300 },
): NonNullable<IssuerBehaviour['token']> {
  return (_, response) => {
    const body = { iss: 'x', iat: Math.floor(Date.now() / 1000), ...claims };
    const token = `${part({ alg: 'RS256' })}.${part(body)}.c2ln`;
    sendJson(response, 200, { access_token: token, token_type: 'Bearer', ...answer });
  };
}

export const GOOD_CLAIMS = { aud: 'mlflow', groups: ['mlflow'], preferred_username: 'relay' };
export const refuse = (response: ServerResponse) =>
  sendJson(response, 401, { detail: 'Authentication required' });

/** A token that MLflow does not take, which lacks what is undefined here. */
export async function refused(setting: Setting, claims: object): Promise<void> {
  await issuer(setting, { token: tokenWith({ ...GOOD_CLAIMS, ...claims }) });
  instead(setting, /v1\/traces|server-info|experiments/, refuse);
}
