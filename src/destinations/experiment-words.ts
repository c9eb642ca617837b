import { quote } from '../network-words.ts';

export type ExperimentChoice = { readonly id: string } | { readonly name: string };

/** As people know it. */
export function experimentWords(choice: ExperimentChoice): string {
  return 'id' in choice ? `experiment ${quote(choice.id)}` : `experiment "${quote(choice.name)}"`;
}
