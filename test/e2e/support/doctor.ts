import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { parse, stringify } from 'yaml';
import { examine } from '../../../src/doctor/doctor.ts';
import { problemsIn } from '../../doctor/setting.ts';
import { temporaryFolder } from './relay.ts';

/** What tests change of a destination. */
export type Destination = {
  url: string;
  experiment: { id: string } | { name: string };
  auth: Record<string, string>;
};

/** The configuration of a running relay, with one thing changed. @returns its file */
export async function configurationWith(
  configFile: string,
  change: (destination: Destination, directory: string) => unknown,
): Promise<string> {
  const directory = await temporaryFolder();
  const config = parse(await readFile(configFile, 'utf8')) as { destinations: { mlflow: Destination } };
  await change(config.destinations.mlflow, directory);
  const file = join(directory, 'relay.yaml');
  await writeFile(file, stringify(config));
  return file;
}

/**
 * @param said words and fix of some checks, as they must be
 * @returns all that doctor finds, as `state name`
 */
export async function diagnosed(
  configFile: string,
  said: Readonly<Record<string, readonly [words: RegExp, fix: RegExp]>>,
): Promise<string[]> {
  const { checks } = await examine(configFile, {}, (destinations) => destinations);
  for (const [name, [words, fix]] of Object.entries(said)) {
    const check = checks.find((one) => one.name === name);
    expect(check?.words).toMatch(words);
    expect(check?.fix).toMatch(fix);
  }
  return problemsIn(checks);
}
