import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../e2e/support/relay.ts';
import { ATTACKS } from './attacks/all.ts';
import { runAttack } from './run-attack.ts';

// Short forms, whose goals are far from what a relay does that stands; `npm run test:hostile` runs all at length.

const stopping = new AbortController();
const cleanUps: (() => Promise<void>)[] = [];
let directory: string;
beforeAll(async () => {
  directory = await temporaryFolder((finish) => cleanUps.push(finish));
});
afterAll(async () => {
  stopping.abort();
  for (const cleanUp of cleanUps) await cleanUp();
});

describe('others are served, and the relay lives', () => {
  const attacks = Object.values(ATTACKS).flatMap((make) => make('short'));

  test.each(attacks)('$name', async (attack) => {
    const { figures } = await runAttack(attack, { directory, signal: stopping.signal });
    expect(figures.filter(({ isMet }) => !isMet)).toEqual([]);
  });
});
