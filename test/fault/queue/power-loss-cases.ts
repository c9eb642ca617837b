import type { Action, End, RecordSpec, Sequence, Step } from './power-loss-actions.ts';

const ALL = 7;
const LARGER_THAN_A_SEGMENT = 65 * 1024;

const append = (...appends: RecordSpec[][]): Action => ({ do: 'append', appends });
const record = (bytes: number, to = ALL): RecordSpec[] => [{ bytes, spans: 1, to }];
const deliverAll: Step[] = [0, 1, 2].flatMap((destination): Step[] => [
  { do: 'read', destination, most: Infinity },
  { do: 'settle', destination, share: 1, seed: 1 },
]);
const end = (by: End['by'], afterCalls: number, seed = 0): End => ({
  by,
  afterCalls,
  afterwards: 'hangs',
  seed,
});
const crash = (by: End['by'], options: Partial<Step & { do: 'crash' }> = {}): Step => ({
  do: 'crash',
  during: [],
  closing: false,
  end: end(by, 0),
  starts: [],
  destinations: ALL,
  ...options,
});

/**
 * Sequences that once broke a promise, of this code or of code that was broken for a test, by what went wrong. Some
 * count the disk's calls and need its chance: they fail for certain only with the code that they were found with.
 */
export const KEPT_CASES: Readonly<Record<string, Sequence>> = {
  'segments are gone with all that was in them, and saved positions must not cover new ones': {
    seed: 0,
    destinations: ALL,
    steps: [
      append(record(LARGER_THAN_A_SEGMENT)),
      ...deliverAll,
      { do: 'wait' },
      crash('power loss'),
      append(record(100)),
      crash('power loss'),
    ],
  },
  'a start seals what a killed process had not synced, and power fails before that is on disk': {
    seed: 5,
    destinations: ALL,
    steps: [
      append(record(100, 1)),
      crash('kill', {
        during: [append(record(9000, 1))],
        end: end('kill', 1),
        starts: [end('power loss', 29, 5)],
      }),
    ],
  },
  'a destination is new, and power fails right behind its first record': {
    seed: 0,
    destinations: 1,
    steps: [
      append(record(100)),
      { do: 'close and open', destinations: ALL },
      append(record(100)),
      crash('power loss', { end: end('power loss', 0, 4) }),
    ],
  },
  'appends share a write that is torn, and a whole record lies behind a broken one': {
    seed: 0,
    destinations: ALL,
    steps: [
      append(record(100)),
      ...Array.from({ length: 12 }, (_, seed) =>
        crash('power loss', {
          during: [append(record(100), record(20_000), record(100))],
          end: end('power loss', 3, seed),
        }),
      ),
    ],
  },
};
