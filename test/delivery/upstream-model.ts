import { Pacing } from '../../src/delivery/pacing.ts';
import type { Ticket } from '../../src/delivery/pacing.ts';
import { seeded } from '../fault/support/random.ts';

/** How a model of an upstream answers: when, and whether it had taken the request. */
export type ModelAnswer = { readonly at: number; readonly isTaken: boolean };

/** @returns what becomes of a request that comes at `now`, while `others` are under way */
export type UpstreamModel = (request: { now: number; spans: number; others: number }) => ModelAnswer;

/** Values in [0, 1) that follow from the seed. */
export function randomOf(seed: number): () => number {
  const { below } = seeded(seed);
  return () => below(2 ** 32) / 2 ** 32;
}

/** Up to a fifth more or less. */
function noise(random: () => number): number {
  return 0.8 + 0.4 * random();
}

/** So many workers, each with one request at a time: as MLflow on PostgreSQL. */
export function workersModel(workers: number, random: () => number): UpstreamModel {
  const freeAt: number[] = Array.from({ length: workers }, () => 0);
  return ({ now, spans }) => {
    const next = freeAt.indexOf(Math.min(...freeAt));
    const at = Math.max(now, freeAt[next] as number) + (50 + 0.8 * spans) * noise(random);
    freeAt[next] = at;
    return { at, isTaken: true };
  };
}

/** One writer at a time, who is the slower the more others want its lock, and some of whom give up: as on SQLite. */
export function lockModel(random: () => number, chanceOfLocked = 0.05): UpstreamModel {
  let freeAt = 0;
  return ({ now, spans, others }) => {
    const at = Math.max(now, freeAt) + (50 + 0.8 * spans) * (1 + 0.2 * others) * noise(random);
    freeAt = at;
    return { at, isTaken: random() >= chanceOfLocked * others };
  };
}

/** How a simulated upstream was used. */
export type Use = {
  /** At each moment at which something happened, requests that were allowed and that were under way. */
  readonly moments: readonly { readonly now: number; readonly limit: number; readonly inFlight: number }[];
  readonly spans: number;
};

/** Requests of 500 to 1,000 spans each, as many as pacing lets go, for so long. */
export function simulate(
  upstream: UpstreamModel,
  options: { maxInFlight: number; forMs: number; random: () => number },
): Use {
  const { maxInFlight, forMs, random } = options;
  const pacing = new Pacing({ maxInFlight, canProbe: false, random });
  const underWay: { ticket: Ticket; spans: number; at: number; isTaken: boolean }[] = [];
  const moments: { now: number; limit: number; inFlight: number }[] = [];
  let now = 0;
  let stored = 0;
  while (now < forMs) {
    while (pacing.slots(now) > 0) {
      const spans = 500 + Math.floor(500 * random());
      const ticket = pacing.begin(now);
      underWay.push({ ticket, spans, ...upstream({ now, spans, others: underWay.length }) });
    }
    moments.push({ now, limit: pacing.limit, inFlight: underWay.length });
    const answersAt = Math.min(...underWay.map(({ at }) => at));
    const resumesAt = pacing.resumesAt() ?? Infinity;
    if (resumesAt > now && resumesAt < answersAt) {
      now = resumesAt;
      continue;
    }
    now = answersAt;
    const [answer] = underWay.splice(
      underWay.findIndex(({ at }) => at === now),
      1,
    );
    if (answer === undefined) throw new Error('the simulation stands still');
    if (answer.isTaken) {
      stored += answer.spans;
      pacing.answered(answer.ticket, { now, spans: answer.spans, moreWaits: true });
    } else {
      pacing.failed(answer.ticket, 'retrying', now, 0);
    }
  }
  return { moments, spans: stored };
}

/** The share of time from `since` on in which the limit was as wanted. */
export function shareOfTime(
  { moments }: Use,
  [since, until]: readonly [number, number],
  isWanted: (limit: number) => boolean,
): number {
  let wanted = 0;
  for (const [index, { now, limit }] of moments.entries()) {
    const end = Math.min(moments[index + 1]?.now ?? until, until);
    if (isWanted(limit)) wanted += Math.max(0, end - Math.max(now, since));
  }
  return wanted / (until - since);
}
