import { failed, ok, warning } from './checkup.ts';
import type { Verdict } from './checkup.ts';

/* How far clocks are apart. Pure: times are milliseconds since the epoch, differences milliseconds. */

/**
 * Less is of no consequence to tokens that live for minutes, and a busy server's Date may be so old (uvicorn makes one
 * a second, when it comes to it).
 */
export const NOTABLE_MS = 5_000;

/** One reading of another clock: it showed `from` to `to` some time between two moments of this machine's clock. */
export type Reading = {
  readonly from: number;
  readonly to: number;
  readonly askedAt: number;
  readonly answeredAt: number;
};

/** RFC 9110 section 6.6.1: the Date header, in whole seconds. */
export function readingOfDate(
  date: string | undefined,
  askedAt: number,
  answeredAt: number,
): Reading | undefined {
  return readingOfSeconds(Date.parse(date ?? '') / 1000, askedAt, answeredAt);
}

/** As `iat` of a token that was asked for. */
export function readingOfSeconds(
  seconds: number | undefined,
  askedAt: number,
  answeredAt: number,
): Reading | undefined {
  return seconds === undefined || Number.isNaN(seconds)
    ? undefined
    : { from: seconds * 1000, to: seconds * 1000 + 999, askedAt, answeredAt };
}

/** The least by which that clock is ahead of this machine's; negative: behind. */
export function aheadBy({ from, to, askedAt, answeredAt }: Reading): number {
  if (from > answeredAt) return from - answeredAt;
  if (to < askedAt) return to - askedAt;
  return 0;
}

/**
 * @param whose as in "the issuer"
 * @param tells what the readings come from; undefined ones were not to be had
 */
export function checkClock(
  whose: string,
  tells: Readonly<Record<string, Reading | undefined>>,
): Verdict<undefined> {
  const known = Object.entries(tells).filter((entry): entry is [string, Reading] => entry[1] !== undefined);
  const [source, reading] =
    known.toSorted(([, a], [, b]) => Math.abs(aheadBy(b)) - Math.abs(aheadBy(a)))[0] ?? [];
  if (reading === undefined) return ok(`${whose} does not tell the time`);
  const ahead = aheadBy(reading);
  return Math.abs(ahead) < NOTABLE_MS
    ? ok(`${whose} and this machine have the same time`)
    : warning(
        `${source} shows that the clock of ${whose} is ${apart(ahead)} that of this machine`,
        SET_CLOCKS,
      );
}

/**
 * Whether tokens are valid for MLflow when they come; mlflow-oidc-auth gives no leeway.
 * @param issuer by what its token says
 */
export function checkTokenTimes(
  issuer: Reading | undefined,
  mlflow: Reading | undefined,
  lifetimeMs: number,
): Verdict<undefined> {
  if (issuer === undefined || mlflow === undefined) {
    return ok(`${issuer === undefined ? 'the token' : 'MLflow'} does not tell the time`);
  }
  const early = earlyBy(issuer, mlflow);
  if (-early >= lifetimeMs) {
    return failed(
      `tokens are over for MLflow when they come: its clock is ${inSeconds(-early)} ahead of that of the issuer, and they live ${inSeconds(lifetimeMs)}`,
      SET_CLOCKS,
    );
  }
  if (early >= NOTABLE_MS) {
    return warning(
      `the clock of MLflow is ${inSeconds(early)} behind that of the issuer: it takes each token only so long after it was issued`,
      SET_CLOCKS,
    );
  }
  return -early < NOTABLE_MS
    ? ok('MLflow and the issuer have the same time')
    : warning(
        `the clock of MLflow is ${inSeconds(-early)} ahead of that of the issuer: tokens end so much earlier for it`,
        SET_CLOCKS,
      );
}

/** For how long a token that was just issued is not valid yet for MLflow; negative: its clock is ahead. */
export function earlyBy(issuer: Reading, mlflow: Reading): number {
  return aheadBy(issuer) - aheadBy(mlflow);
}

export const SET_CLOCKS = 'set the clocks of MLflow, the issuer and this machine by NTP';

function apart(ahead: number): string {
  return `${inSeconds(Math.abs(ahead))} ${ahead > 0 ? 'ahead of' : 'behind'}`;
}

function inSeconds(ms: number): string {
  return `${Math.ceil(ms / 1000)} s`;
}
