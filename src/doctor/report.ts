import type { Check, State } from './checkup.ts';

/* What the checks have come to, for people and for scripts. Pure. */

const STATES: readonly State[] = ['failed', 'warning', 'ok', 'skipped'];

/** One line, and one for what to do; further lines of the words stand below. */
export function lineOf({ name, destination, state, words, fix }: Check): string {
  const what = destination === undefined ? name : `${destination}: ${name}`;
  const text = `${state.padEnd(7)}  ${what}: ${shown(words).replaceAll('\n', '\n           ')}\n`;
  return fix === undefined ? text : `${text}           fix: ${shown(fix).replaceAll('\n', ' ')}\n`;
}

export function summaryOf(checks: readonly Check[]): string {
  const counts = STATES.map((state) => `${checks.filter((check) => check.state === state).length} ${state}`);
  return `${counts.join(', ')}\n`;
}

/** The worst of them; what was skipped is no worse than what it was skipped for. */
export function resultOf(checks: readonly Check[]): 'ok' | 'warning' | 'failed' {
  for (const state of ['failed', 'warning'] as const) {
    if (checks.some((check) => check.state === state)) return state;
  }
  return 'ok';
}

/** One document: `{configuration, result, checks: [{name, destination?, state, words, fix?}]}`. */
export function documentOf(file: string, checks: readonly Check[]) {
  return { configuration: file, result: resultOf(checks), checks };
}

/** Without what would control a terminal: names of files and hosts may hold anything. */
function shown(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => (character === '\n' ? '\n' : ' '));
}
