import { join } from 'node:path';
import { expect, test } from 'vitest';
import { chooseDestination } from '../../src/commands/destination-option.ts';
import { loadDestinations } from '../../src/config/load.ts';
import { LEAST } from '../config/configurations.ts';
import { folder } from '../config/folder.ts';

const ONLY_DESTINATIONS = LEAST.slice(LEAST.indexOf('destinations:'));
const SECOND = `${ONLY_DESTINATIONS}  team-b:
    kind: mlflow
    url: https://other
    experiment: {id: "7"}
    auth: {kind: none}
`;

function destinationsOf(yaml: string) {
  const file = join(folder({ 'relay.yaml': yaml }), 'relay.yaml');
  return { file, destinations: loadDestinations(file, {}) };
}

test('nothing else of a configuration has to be there, nor be right', () => {
  const broken = 'receiver: {tls: {cert_file: missing.crt}}\nqueue: ${env:NOT_SET}\n';
  expect(destinationsOf(broken + ONLY_DESTINATIONS).destinations).toEqual(destinationsOf(LEAST).destinations);
});

test.each([
  ['destinations: {}\n', 'destinations: must have 1 to 16 destinations'],
  ['queue: {directory: queue}\n', 'relay.yaml:1:1 destinations: is missing: expected a map'],
  [ONLY_DESTINATIONS.replace('https://mlflow', '${env:NOT_SET}'), 'NOT_SET'],
])('of the destinations what is wrong is named: %j', (yaml, words) => {
  expect(() => destinationsOf(yaml)).toThrow(words);
});

test('the only destination is meant, of several the one that is named', () => {
  const { file, destinations } = destinationsOf(ONLY_DESTINATIONS);
  expect(chooseDestination(file, destinations, undefined)).toMatchObject({ name: 'mlflow', file });
  const two = destinationsOf(SECOND).destinations;
  expect(chooseDestination(file, two, 'team-b')).toMatchObject({
    name: 'team-b',
    config: { url: 'https://other' },
  });
  expect(() => chooseDestination(file, two, undefined)).toThrow(
    `${file} has several destinations: say which by --destination (mlflow, team-b)`,
  );
  expect(() => chooseDestination(file, two, 'team_b')).toThrow(
    `${file} has no destination "team_b"; did you mean team-b?`,
  );
  expect(() => chooseDestination(file, two, 'constructor')).toThrow('it has mlflow, team-b');
});
