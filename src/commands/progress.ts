const BAR_WIDTH = 20;

/** How far a command is, on standard error: a bar in place on a terminal, else a line each time. */
export class Progress {
  readonly #total: number;
  readonly #wordsOf: (done: number) => string;
  #done = 0;

  constructor(total: number, wordsOf: (done: number) => string) {
    this.#total = total;
    this.#wordsOf = wordsOf;
    // The work goes on when nobody reads any more how far it is.
    if (process.stderr.listenerCount('error') === 0) process.stderr.on('error', () => {});
  }

  get done(): number {
    return this.#done;
  }

  get words(): string {
    return this.#wordsOf(this.#done);
  }

  /** Of the last one the result tells. */
  add(count: number): void {
    this.#done += count;
    if (process.stderr.isTTY) process.stderr.write(`\r${barOf(this.#done, this.#total)} ${this.words}`);
    else if (count > 0 && this.#done < this.#total) process.stderr.write(`${this.words}\n`);
  }

  /** A line of its own. */
  say(words: string): void {
    this.end();
    process.stderr.write(`${words}\n`);
  }

  end(): void {
    if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
  }
}

/** As in `[#####---------------]`. */
export function barOf(done: number, total: number): string {
  const filled = done < total ? Math.floor((BAR_WIDTH * done) / total) : BAR_WIDTH;
  return `[${'#'.repeat(filled)}${'-'.repeat(BAR_WIDTH - filled)}]`;
}
