import { quote } from '../network-words.ts';
import type { LetterMeta } from '../queue/stored-letters.ts';

/** Longest reason in a line that goes to no terminal. */
const LONGEST_REASON = 160;

/** A letter without its payload, as JSON. */
export function letterToJson(letter: LetterMeta, bytes: number): Record<string, unknown> {
  const { id, refusedAt, receivedAt, destination, target, sender, route, spanCount, attempts } = letter;
  return {
    id,
    refused_at: new Date(refusedAt).toISOString(),
    received_at: new Date(receivedAt).toISOString(),
    destination,
    target,
    sender,
    route: { name: route.name, variables: route.variables },
    spans: spanCount,
    bytes,
    attempts,
    status: letter.status,
    reason: letter.reason,
    repaired: letter.repaired,
  };
}

/** Whether its spans were delivered all the same, without what had been refused. */
export function isRepaired({ repaired }: LetterMeta): boolean {
  return repaired !== undefined;
}

/** A letter in one line, cut to so many columns. */
export function letterToLine(letter: LetterMeta, columns: number | undefined): string {
  const { id, refusedAt, destination, sender, spanCount, status } = letter;
  const reason = quote(letter.reason);
  const line = [
    new Date(refusedAt).toISOString(),
    id,
    quote(destination),
    quote(sender),
    counted(spanCount, 'span'),
    status ?? '-',
    isRepaired(letter) ? 'delivered repaired' : 'not delivered',
    columns === undefined ? cut(reason, LONGEST_REASON) : reason,
  ].join('  ');
  return columns === undefined ? line : cut(line, columns);
}

/** How many letters, spans and bytes there are, by destination. */
export class LetterSums {
  readonly #sums = new Map<string, { letters: number; spans: number; bytes: number }>();
  letters = 0;

  add({ destination, spanCount }: LetterMeta, bytes: number): void {
    let sum = this.#sums.get(destination);
    if (sum === undefined) this.#sums.set(destination, (sum = { letters: 0, spans: 0, bytes: 0 }));
    sum.letters++;
    sum.spans += spanCount;
    sum.bytes += bytes;
    this.letters++;
  }

  get destinations(): readonly string[] {
    return [...this.#sums.keys()];
  }

  toString(): string {
    if (this.letters === 0) return 'no dead letters';
    return [...this.#sums]
      .map(
        ([destination, { letters, spans, bytes }]) =>
          `${quote(destination)}: ${counted(letters, 'letter')}, ${counted(spans, 'span')}, ${inUnits(bytes)}`,
      )
      .join('\n');
  }
}

export function unknownLetters(ids: readonly string[], directory: string): string {
  return `there is no dead letter ${ids.map(quote).join(', ')} in ${directory}: it may have been replayed or discarded; dead-letters list shows those that are there`;
}

/** Whether a name that was asked for is one that nobody knows; then what to say of it. */
export function unknownDestination(
  name: string | undefined,
  configured: Readonly<Record<string, unknown>>,
  ofLetters: ReadonlySet<string>,
): string | undefined {
  if (name === undefined || Object.hasOwn(configured, name) || ofLetters.has(name)) return undefined;
  return `there is no destination ${quote(name)} in the configuration (${Object.keys(configured).map(quote).join(', ')}), and no dead letter of such a one\n`;
}

export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function inUnits(bytes: number): string {
  const exponent = bytes === 0 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), 3);
  const unit = ['bytes', 'KiB', 'MiB', 'GiB'][exponent] ?? 'bytes';
  return `${exponent === 0 ? bytes : (bytes / 1024 ** exponent).toFixed(1)} ${unit}`;
}

function cut(text: string, columns: number): string {
  const characters = [...text];
  return characters.length <= columns ? text : `${characters.slice(0, Math.max(columns - 1, 0)).join('')}…`;
}
