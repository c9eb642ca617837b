import { textAttribute } from './text-attribute.ts';

/** The attribute that says what the relay did to a span, to a resource or to a scope. */
export const REPAIR_MARK = 'relay.repaired';

/** What was done, in words: of each repair where, and what. */
export function repairWords(words: Iterable<string>): string {
  return [...words].join('; ');
}

/** The mark as a field of the message that has attributes under this tag. */
export function repairMarkOf(words: Iterable<string>, attributesTag: number): Uint8Array {
  return textAttribute(attributesTag, REPAIR_MARK, repairWords(words));
}
