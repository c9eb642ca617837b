/*
 * Transcripts as the README has them: in a block of the language `console`, each command behind `$ `, then what it
 * prints. In that, a line `…` stands for one or more lines, and `…` within a line for any text of it. Pure.
 */

export type Transcript = {
  readonly command: string;
  /** Ends with a line break, unless it is empty. */
  readonly output: string;
  /** That it stands under. */
  readonly heading: string;
};

/** What is another at each run, by what it looks like; what stands for it in a transcript looks the same. */
const VARYING = {
  time: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/,
  duration: /\d+(?:\.\d+)? (?:ms|s)\b/,
};

/** Another at each run too; but where transcripts have one twice, so has a run. Of dead letters, traces and spans. */
const IDS = [/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/, /[0-9a-f]{32}/, /[0-9a-f]{16}/];
const ID = new RegExp(`(?<![0-9a-f])(?:${IDS.map(({ source }) => source).join('|')})(?![0-9a-f])`);

const ANY_LINES = '…\n';
const KINDS: Readonly<Record<string, RegExp>> = { id: ID, any: /…/, ...VARYING };
const PARTS = new RegExp(
  Object.entries(KINDS)
    .map(([kind, { source }]) => `(?<${kind}>${source})`)
    .join('|'),
  'g',
);

/** The transcripts of a Markdown text, in its order. */
export function transcriptsIn(markdown: string): Transcript[] {
  const transcripts: Transcript[] = [];
  let heading = '';
  for (const [, title, language, block = ''] of markdown.matchAll(/^#+ ([^\n]+)$|^```(\S*)\n(.*?)^```$/gms)) {
    if (title !== undefined) heading = title;
    if (language !== 'console') continue;
    const [before, ...commands] = block.split(/^\$ /m);
    if (before !== '') throw new Error(`a console block under "${heading}" does not begin with a command`);
    for (const text of commands) {
      const end = text.indexOf('\n');
      transcripts.push({ command: text.slice(0, end), output: text.slice(end + 1), heading });
    }
  }
  return transcripts;
}

/** Ids that stand in transcripts, and what they are at this run. */
export class SeenIds {
  readonly #ids = new Map<string, string>();

  /** Whether this was printed where the transcript has that. If so, the ids in it are seen. */
  matches(output: string, printed: string): boolean {
    const inOutput: string[] = [];
    const lines = output
      .split(/(?<=\n)/)
      .map((line) => (line === ANY_LINES ? '(?:.*\\n)+?' : this.#patternOf(line, inOutput)));
    const found = new RegExp(`^${lines.join('')}$`).exec(printed);
    if (found === null) return false;
    for (const [at, id] of inOutput.entries()) this.#ids.set(id, found[at + 1]!);
    return true;
  }

  /** A command of a transcript, as it is to be run. */
  inCommand(command: string): string {
    return command.replaceAll(new RegExp(ID, 'g'), (id) => this.#ids.get(id) ?? id);
  }

  /** @param inOutput ids so far, in the order of their groups */
  #patternOf(line: string, inOutput: string[]): string {
    let pattern = '';
    let end = 0;
    for (const { 0: part, index, groups = {} } of line.matchAll(PARTS)) {
      pattern += escape(line.slice(end, index));
      end = index + part.length;
      const kind = Object.keys(groups).find((name) => groups[name] !== undefined)!;
      if (kind === 'id') pattern += this.#idPattern(part, inOutput);
      else pattern += kind === 'any' ? '.*' : KINDS[kind]!.source;
    }
    return pattern + escape(line.slice(end));
  }

  #idPattern(id: string, inOutput: string[]): string {
    const seen = this.#ids.get(id);
    if (seen !== undefined) return seen;
    if (inOutput.includes(id)) return `\\${inOutput.indexOf(id) + 1}(?!\\d)`;
    inOutput.push(id);
    const kind = IDS.find(({ source }) => new RegExp(`^${source}$`).test(id))!;
    return `(${kind.source})`;
  }
}

/** The first whole line that has these words, with its line break. */
export function lineWith(printed: string, words: string): string | undefined {
  return new RegExp(`^.*${escape(words)}.*\\n`, 'm').exec(printed)?.[0];
}

/** For a regular expression. */
function escape(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}
