import type { ExperimentChoice } from '../destinations/experiment-words.ts';

/** Digits are the id of an experiment, anything else is its name. */
export function experimentOf(text: string): ExperimentChoice {
  return /^[0-9]+$/.test(text) ? { id: text } : { name: text };
}
