import { RelayError, messageOf } from '../errors.ts';

/** `skipped`: what it needs has failed, or cannot be seen from here. */
export type State = 'ok' | 'warning' | 'failed' | 'skipped';

/** One line of the report. Names stay as they are: people and scripts look for them. */
export type Check = {
  readonly name: string;
  /** Undefined where it is about the relay itself. */
  readonly destination?: string;
  readonly state: State;
  readonly words: string;
  /** What to do; always there where it failed. */
  readonly fix?: string;
};

/** What a check comes to, with what later checks need of it. */
export type Verdict<T> =
  /** Skipped with a value: it cannot be seen from here, and what needs it finds it out. */
  | { readonly state: 'ok' | 'skipped'; readonly words: string; readonly value: T }
  | { readonly state: 'warning'; readonly words: string; readonly fix: string; readonly value: T }
  | { readonly state: 'failed'; readonly words: string; readonly fix: string }
  | { readonly state: 'skipped'; readonly words: string };

export function ok(words: string): Verdict<undefined>;
export function ok<T>(words: string, value: T): Verdict<T>;
export function ok(words: string, value?: unknown): Verdict<unknown> {
  return { state: 'ok', words, value };
}

export function warning(words: string, fix: string): Verdict<undefined>;
export function warning<T>(words: string, fix: string, value: T): Verdict<T>;
export function warning(words: string, fix: string, value?: unknown): Verdict<unknown> {
  return { state: 'warning', words, fix, value };
}

export function failed(words: string, fix: string): Verdict<never> {
  return { state: 'failed', words, fix };
}

export function skipped(words: string): Verdict<never>;
export function skipped<T>(words: string, value: T): Verdict<T>;
export function skipped(words: string, ...value: [unknown?]): Verdict<unknown> {
  return value.length === 0 ? { state: 'skipped', words } : { state: 'skipped', words, value: value[0] };
}

/** A check that is over; without `found`, what needs it is skipped. */
export type Done<T> = { readonly name: string; readonly found?: { readonly value: T } };

type ValuesOf<N extends readonly Done<unknown>[]> = {
  [I in keyof N]: N[I] extends Done<infer T> ? T : never;
};

/** Does checks one after the other and tells of each as soon as it is over. */
export class Checkup {
  readonly #tell: (check: Check) => void;
  readonly #destination: string | undefined;

  constructor(tell: (check: Check) => void, destination?: string) {
    this.#tell = tell;
    this.#destination = destination;
  }

  of(destination: string): Checkup {
    return new Checkup(this.#tell, destination);
  }

  /** @param run is given the values of those that it needs, and is not called unless all of them were good */
  async check<const N extends readonly Done<unknown>[], T>(
    name: string,
    needs: N,
    run: (...values: ValuesOf<N>) => Verdict<T> | Promise<Verdict<T>>,
  ): Promise<Done<T>> {
    const verdict = await this.#verdict(needs, run);
    const { state, words } = verdict;
    this.#tell({
      name,
      ...(this.#destination !== undefined && { destination: this.#destination }),
      state,
      words,
      ...('fix' in verdict && { fix: verdict.fix }),
    });
    return 'value' in verdict ? { name, found: { value: verdict.value } } : { name };
  }

  async #verdict<T>(
    needs: readonly Done<unknown>[],
    run: (...values: never) => Verdict<T> | Promise<Verdict<T>>,
  ): Promise<Verdict<T>> {
    const missing = needs.find(({ found }) => found === undefined);
    if (missing !== undefined) return skipped(`needs "${missing.name}"`);
    try {
      return await run(...(needs.map(({ found }) => found?.value) as never));
    } catch (error) {
      return verdictOf(error);
    }
  }
}

/** Errors for people say what is wrong, and after a semicolon what to do. */
function verdictOf(error: unknown): Verdict<never> {
  const message = messageOf(error);
  const end = error instanceof RelayError ? message.indexOf('; ') : -1;
  return end === -1
    ? failed(message, 'run doctor as the user of the relay, with the files that it has')
    : failed(message.slice(0, end), message.slice(end + 2));
}
