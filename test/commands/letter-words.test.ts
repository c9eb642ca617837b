import { expect, test } from 'vitest';
import { unknownDestination } from '../../src/commands/letter-words.ts';

test.each([
  ['of the configuration', 'mlflow', false],
  ['of a letter', 'phoenix', false],
  ['none asked for', undefined, false],
  ['of nobody', 'phenix', true],
  ['of what every object has', 'constructor', true],
])('a destination that is not known: %s', (_, name, isTold) => {
  const words = unknownDestination(name, { mlflow: {} }, new Set(['phoenix']));
  expect(words).toBe(
    isTold
      ? `there is no destination ${name} in the configuration (mlflow), and no dead letter of such a one\n`
      : undefined,
  );
});
