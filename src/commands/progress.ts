/** How far a command is, on standard error: in place on a terminal, else a line each time. */
export class Progress {
  readonly #total: number;
  readonly #wordsOf: (done: number) => string;
  #done = 0;

  constructor(total: number, wordsOf: (done: number) => string) {
    this.#total = total;
    this.#wordsOf = wordsOf;
  }

  get words(): string {
    return this.#wordsOf(this.#done);
  }

  /** Of the last one the result tells. */
  add(count: number): void {
    this.#done += count;
    if (process.stderr.isTTY) process.stderr.write(`\r${this.words}`);
    else if (this.#done < this.#total) process.stderr.write(`${this.words}\n`);
  }

  end(): void {
    if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
  }
}
