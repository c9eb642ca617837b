import { join } from 'node:path';
import { loadConfig } from '../../src/config/load.ts';
import { RelayError } from '../../src/errors.ts';
import { folder } from './folder.ts';

/** The least that a configuration says. */
export const LEAST = `receiver: {plaintext: true}
queue: {directory: queue}
destinations:
  mlflow:
    kind: mlflow
    url: https://mlflow
    experiment: {name: traces}
    auth: {kind: none}
`;

/** The least configuration with one part put in place of another. */
export function changed(from: string, to: string): string {
  if (!LEAST.includes(from)) throw new Error(`not there to be changed: ${from}`);
  return LEAST.replace(from, () => to);
}

export const withAuth = (keys: string) =>
  changed('{kind: none}', `{kind: client_credentials, client_id: relay, ${keys}}`);

export const receiverWith = (keys: string) => changed('{plaintext: true}', `\n  plaintext: true\n  ${keys}`);
export const upstreamWith = (keys: string) => `${LEAST}    ${keys}\n`;

export function load(
  yaml: string | Uint8Array,
  env: NodeJS.ProcessEnv = {},
  files: Record<string, string> = {},
) {
  return loadConfig(join(folder({ ...files, 'relay.yaml': yaml }), 'relay.yaml'), env);
}

/** The message of the refusal, its folder cut out. */
export function problemsOf(
  yaml: string | Uint8Array,
  env: NodeJS.ProcessEnv = {},
  files: Record<string, string> = {},
): string {
  const path = folder({ ...files, 'relay.yaml': yaml });
  const message = messageOfRefusal(() => loadConfig(join(path, 'relay.yaml'), env));
  return message.replaceAll(`${path}/`, '');
}

function messageOfRefusal(attempt: () => unknown): string {
  try {
    attempt();
  } catch (error) {
    if (error instanceof RelayError && error.code === 'CONFIG_INVALID') return error.message;
    throw error;
  }
  throw new Error('was not refused');
}
