import { crc32 } from 'node:zlib';
import { seeded } from '../fault/support/random.ts';
import { compare } from './differential.ts';
import type { Asked, Google } from './google.ts';
import { inspect, isFinding } from './inspect.ts';
import type { Finding, Inspected, Subject } from './inspect.ts';
import { mutatedBody } from './mutate.ts';
import { shrink } from './shrink.ts';

export type Tally = {
  bodies: number;
  /** Bodies that the relay takes. */
  accepted: number;
  /** Texts that became protobuf, of the JSON of those bodies with changes. */
  changedTexts: number;
  /** Bodies of which a part was taken. */
  rests: number;
  /** By name. */
  readonly disagreements: Record<string, number>;
};

export type Failure = Finding & {
  /** Which body of the run it was. */
  readonly index: number;
  readonly body: Uint8Array;
  /** The smallest that was found to fail in the same way. */
  readonly shrunk: Uint8Array;
};

export type FuzzOptions = {
  readonly subject: Subject;
  /** Left out: only what needs no other parser. */
  readonly google?: Google;
  readonly seed: number;
  readonly count: number;
  /** Told of each body before anything is done with it, so that one that ends the process is known. */
  readonly onBody?: (index: number, body: Uint8Array) => void;
  /** Told when the body is through the relay's code. */
  readonly onInspected?: () => void;
  readonly onBatch?: (tally: Tally) => void;
};

const BATCH = 1_000;
const SHRINKING = { tries: 3_000, ms: 60_000 };

/** Body by body, the same ones for the same seed, until one fails. */
export async function fuzz(options: FuzzOptions): Promise<{ tally: Tally; failure?: Failure }> {
  const { subject, google, seed, count } = options;
  const tally: Tally = { bodies: 0, accepted: 0, changedTexts: 0, rests: 0, disagreements: {} };
  // While Google's runtime has one batch in hand, the next one is made.
  let underWay: Promise<Failure | undefined> = Promise.resolve(undefined);

  async function failed(index: number, body: Uint8Array, finding: Finding): Promise<Failure> {
    const stillFails = async (candidate: Uint8Array) =>
      (await findingOf(subject, google, candidate))?.kind === finding.kind;
    return { ...finding, index, body, shrunk: await shrink(body, stillFails, SHRINKING) };
  }

  for (let from = 0; from < count; from += BATCH) {
    const items: Item[] = [];
    let own: Failure | undefined;
    for (let index = from; index < Math.min(count, from + BATCH); index++) {
      const body = bodyOf(seed, index);
      options.onBody?.(index, body);
      const inspected = inspect(subject, body);
      options.onInspected?.();
      if (isFinding(inspected)) {
        own = await failed(index, body, inspected);
        break;
      }
      tally.bodies++;
      if (inspected.accepted) {
        tally.accepted++;
        tally.changedTexts += inspected.fromChangedJson.length;
      } else if (inspected.rest !== undefined) {
        tally.rests++;
      }
      items.push({ index, body, inspected });
    }
    const earlier = await underWay;
    const failure = earlier ?? own;
    if (failure !== undefined) return { tally, failure };
    underWay = google === undefined ? underWay : judge(google, items, tally, failed);
    underWay.catch(() => {});
    options.onBatch?.(tally);
  }
  const failure = await underWay;
  return { tally, ...(failure && { failure }) };
}

/** By its place in the run alone, so that one body can be had again without those before it. */
export function bodyOf(seed: number, index: number): Uint8Array {
  return mutatedBody(seeded(crc32(`${seed}:${index}`)));
}

/** What is wrong with one body by all checks. */
export async function findingOf(
  subject: Subject,
  google: Google | undefined,
  body: Uint8Array,
): Promise<Finding | undefined> {
  const inspected = inspect(subject, body);
  if (isFinding(inspected) || google === undefined) return isFinding(inspected) ? inspected : undefined;
  const [item, ...payloads] = questionsOf([{ index: 0, body, inspected }]);
  const [facts, ...others] = await google.ask([item!, ...payloads]);
  const result = compare(inspected, facts!);
  if (isFinding(result)) return result;
  return others.every(({ accepted }) => accepted) ? undefined : refusedByGoogle(inspected);
}

function refusedByGoogle({ accepted }: Inspected): Finding {
  return accepted
    ? {
        kind: 'JSON: refused by Google',
        detail: 'JSON that was changed became protobuf that only the relay takes',
      }
    : { kind: 'rest: refused by Google', detail: 'what is left of the body is taken by the relay only' };
}

type Item = { readonly index: number; readonly body: Uint8Array; readonly inspected: Inspected };

/** Each body, then what was made of it: of its JSON with changes, or what is left of it. */
function questionsOf(items: readonly Item[]): Asked[] {
  return items.flatMap(({ body, inspected }): Asked[] => [
    { body, inspected },
    ...madeOf(inspected).map((payload) => ({ body: payload })),
  ]);
}

function madeOf(inspected: Inspected): readonly Uint8Array[] {
  if (inspected.accepted) return inspected.fromChangedJson;
  return inspected.rest === undefined ? [] : [inspected.rest];
}

async function judge(
  google: Google,
  items: readonly Item[],
  tally: Tally,
  failed: (index: number, body: Uint8Array, finding: Finding) => Promise<Failure>,
): Promise<Failure | undefined> {
  const answers = (await google.ask(questionsOf(items)))[Symbol.iterator]();
  const next = () => answers.next().value!;
  for (const { index, body, inspected } of items) {
    const result = compare(inspected, next());
    const areTaken = madeOf(inspected).map(() => next().accepted);
    if (isFinding(result)) return failed(index, body, result);
    if (areTaken.includes(false)) return failed(index, body, refusedByGoogle(inspected));
    if (result !== undefined) tally.disagreements[result] = (tally.disagreements[result] ?? 0) + 1;
  }
  return undefined;
}
