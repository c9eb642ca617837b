import type { Check, State } from './checkup.ts';

/* What the checks have come to, for people and for scripts. Pure. */

const STATES: readonly State[] = ['failed', 'warning', 'ok', 'skipped'];
/** What is named again at the end, the worst first. */
const TROUBLES = ['failed', 'warning'] as const;

/** One line, and one for what to do; further lines of the words stand below. */
export function lineOf({ name, destination, state, words, fix }: Check): string {
  const text = `${state.padEnd(7)}  ${whatOf(name, destination)}: ${shown(words).replaceAll('\n', '\n           ')}\n`;
  return fix === undefined ? text : `${text}           fix: ${shown(fix).replaceAll('\n', ' ')}\n`;
}

/** How many of each state, and below that the names of what is wrong. */
export function summaryOf(checks: readonly Check[]): string {
  const counts = STATES.map((state) => {
    const count = checks.filter((check) => check.state === state).length;
    return `${count} ${state === 'warning' && count !== 1 ? 'warnings' : state}`;
  });
  const troubles = TROUBLES.flatMap((trouble) => checks.filter(({ state }) => state === trouble)).map(
    ({ state, name, destination }) => `${state}: ${whatOf(name, destination)}`,
  );
  return `${[counts.join(', '), ...troubles].join('\n')}\n`;
}

/** The worst of them; what was skipped is no worse than what it was skipped for. */
export function resultOf(checks: readonly Check[]): 'ok' | 'warning' | 'failed' {
  for (const state of TROUBLES) {
    if (checks.some((check) => check.state === state)) return state;
  }
  return 'ok';
}

/** One document: `{configuration, result, checks: [{name, destination?, state, words, fix?}]}`. */
export function documentOf(file: string, checks: readonly Check[]) {
  return { configuration: file, result: resultOf(checks), checks };
}

function whatOf(name: string, destination: string | undefined): string {
  return destination === undefined ? name : `${destination}: ${name}`;
}

/** Without what would control a terminal: names of files and hosts may hold anything. */
function shown(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => (character === '\n' ? '\n' : ' '));
}
