import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createMlflowClient } from '../stack/mlflow-client.ts';
import type { StoredAttributes } from '../stack/mlflow-client.ts';
import { waitFor } from '../stack/processes.ts';
import { createOtherOwner } from './support/other-owner.ts';
import type { OtherOwner } from './support/other-owner.ts';
import { createReader } from './support/reader.ts';
import type { Reader } from './support/reader.ts';
import { DEADLINE_MS, temporaryFolder } from './support/relay.ts';
import { useSharedStack } from './support/stack.ts';
import { requestToken } from './support/token.ts';
import { makeTrace, requestOf } from './support/traces.ts';
import { SeenIds, transcriptsIn } from './support/transcript.ts';

/* The README's transcripts are what its commands print, one after the other, between the real counterparts. */

const ACCOUNT = 'service-account-otel-relay';
const README = await readFile(resolve(import.meta.dirname, '../../README.md'), 'utf8');

/** The first fenced block of a language that has this. */
function block(language: string, text: string): string {
  const blocks = [...README.matchAll(/^```(\S*)\n(.*?)^```$/gms)];
  return blocks.find(([, name, content]) => name === language && content?.includes(text))![2]!;
}

const cleanUps: (() => Promise<void>)[] = [];
const whenAllIsOver = (finish: () => Promise<void>) => void cleanUps.push(finish);
let reader: Reader;
let owner: OtherOwner;
let experiment: string;
beforeAll(async () => {
  const stack = await useSharedStack();
  whenAllIsOver(() => stack.stop());
  owner = createOtherOwner(stack, ACCOUNT);
  experiment = await owner.mlflow.ensureExperiment('traces');
  reader = await createReader(
    await temporaryFolder(whenAllIsOver),
    block('yaml', 'allowed_clients:'),
    experiment,
  );
  whenAllIsOver(() => reader.stop());
  // As somebody has done who has followed it up to here.
  await reader.types(reader.toHere(block('sh', 'OTEL_EXPORTER_OTLP_CERTIFICATE')));
  // MLflow knows an account from its first request on.
  const token = () => requestToken(`${stack.issuer}/token`, inject('stack').readmeClient);
  await createMlflowClient(stack.mlflowUrl, token).findExperiment('traces');
  await owner.mlflow.grant(experiment, ACCOUNT, 'EDIT');
});
afterAll(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

/** Sends a span that becomes the dead letter of that number. */
async function refused(attributes: StoredAttributes, count: number): Promise<void> {
  await reader.sender.send(requestOf(makeTrace(1, { attributes }).spans));
  await waitFor('no dead letter came of it', DEADLINE_MS, async () => {
    // Good ones beside it show that MLflow is well.
    await reader.sender.send(requestOf(makeTrace().spans));
    const { printed } = await reader.types('mlflow-trace-relay dead-letters list --config relay.yaml');
    return printed.includes(`mlflow: ${count} letter`) ? true : undefined;
  });
}

/** What must have happened before a command, by how it begins. */
const BEFORE: Readonly<Record<string, () => Promise<unknown>>> = {
  'dead-letters list': async () => {
    await owner.changePermission(experiment, 'EDIT');
    await refused({ 'session.id': 'x'.repeat(300) }, 1);
    // Python reads no number of more than 4,300 digits.
    await refused({ text: '9'.repeat(5000) }, 2);
  },
  doctor: () => owner.changePermission(experiment, 'READ'),
};

/** Whose transcript another test holds. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'token revoke': 'keycloak.test.ts, as the provider here cannot take back a token',
};

/** What doctor names again at its end where the disk of the machine is slow, small or in memory. */
const OF_THIS_MACHINE = /^warning: queue (?:disk|speed|space)\n/gm;

const EXIT_CODES: Readonly<Record<string, number>> = { doctor: 1 };

/** Of a command, in a table by how commands begin. */
function of<T>(table: Readonly<Record<string, T>>, command: string): T | undefined {
  return Object.entries(table).find(([name]) => command.startsWith(`mlflow-trace-relay ${name} `))?.[1];
}

const ids = new SeenIds();

/** What the transcript has, where that was printed; else what was, in the README's words. */
function compared(output: string, printed: string): string {
  const inReadme = reader.toReadme(printed).replaceAll(OF_THIS_MACHINE, '');
  return ids.matches(output, inReadme) ? output : inReadme;
}

const here = transcriptsIn(README).filter(({ command }) => of(ELSEWHERE, command) === undefined);

test.each(here)('$heading: $command', async ({ command, output }) => {
  await of(BEFORE, command)?.();
  const { printed, code } = await reader.types(reader.toHere(ids.inCommand(command)));
  expect(compared(output, printed)).toBe(output);
  expect(code).toBe(of(EXIT_CODES, command) ?? 0);
});
