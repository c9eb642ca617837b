import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants } from 'node:os';
import { Command, InvalidArgumentError } from 'commander';
import type { TokenSource } from '../auth/token-source.ts';
import { tlsFilesOf } from '../config/tls-files.ts';
import { RelayError, messageOf } from '../errors.ts';
import { createLogger } from '../telemetry/logger.ts';
import type { Logger } from '../telemetry/logger.ts';
import { withDestination } from './destination-option.ts';
import type { ChosenDestination } from './destination-option.ts';
import { print } from './print.ts';
import { tokenWish } from './token-options.ts';
import { untilStopped } from './until-stopped.ts';

const DEFAULT_PORT = 5001;
const STOP_WITHIN_MS = 5_000;
const USERNAME = 'relay';
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** As a shell has it (POSIX 2.8.2). */
const EXIT = { notFound: 127, cannotRun: 126, bySignal: 128 };

/** A door on loopback to MLflow, behind which requests have a fresh token. */
export function proxyCommand(): Command {
  const command = new Command('proxy')
    .summary('open a door to MLflow that adds a fresh token to all requests')
    .description(
      'open a door on loopback to MLflow that adds a fresh token to all that goes through it, for clients that outlive a token; with a command, run that with the variables set, and end with it',
    )
    // The flags behind the command are its own, with or without --.
    .passThroughOptions()
    .argument('[command...]', 'program and arguments, behind --')
    .option(
      '-p, --port <port>',
      `port on 127.0.0.1 (default: ${DEFAULT_PORT}, or a free one for a command)`,
      toPort,
    )
    .addHelpText(
      'after',
      `
Examples:
  mlflow-trace-relay proxy --config relay.yaml -- python train.py
  mlflow-trace-relay proxy --config relay.yaml          # prints the variables, until it is stopped

The door asks for a user name and password, made for this run, which the command gets as MLFLOW_TRACKING_USERNAME and
MLFLOW_TRACKING_PASSWORD, beside MLFLOW_TRACKING_URI. It exits as its command does; 126 and 127 as a shell would.
Where the issuer refuses the client, it exits 1 and runs nothing.`,
    );
  return withDestination(command, async (chosen) => {
    const [program, ...args] = command.args;
    const port = command.opts<{ port?: number }>().port ?? (program === undefined ? DEFAULT_PORT : 0);
    const log = createLogger('warn', 2);
    const start = async () => {
      const tokens = await tokensOf(chosen, log);
      await refuseEarly(chosen);
      const { startProxy } = await import('../proxy/proxy-server.ts');
      const door = { username: USERNAME, password: randomBytes(24).toString('base64url') };
      const { url, tls } = chosen.config;
      const proxy = await startProxy(
        { name: chosen.name, upstream: new URL(url), tls: tlsFilesOf(tls), port, door },
        tokens,
      );
      const variables = {
        MLFLOW_TRACKING_URI: proxy.url,
        MLFLOW_TRACKING_USERNAME: door.username,
        MLFLOW_TRACKING_PASSWORD: door.password,
      };
      const stop = async () => {
        await proxy.stop();
        await tokens.close();
      };
      return { variables, stop };
    };
    if (program === undefined) {
      await untilStopped(
        async () => {
          const { variables, stop } = await start();
          await print(
            Object.entries(variables)
              .map(([name, value]) => `${name}=${value}\n`)
              .join(''),
          );
          process.stderr.write(
            'the door is open until Ctrl-C: set these variables where your program runs\n',
          );
          return { stop };
        },
        STOP_WITHIN_MS,
        log,
      );
      return;
    }
    const { variables, stop } = await start();
    try {
      process.exitCode = await runWith(program, args, variables);
    } finally {
      await stop();
    }
  });
}

/** Only this command pays for loading what asks issuers. */
async function tokensOf({ name, config, file }: ChosenDestination, log: Logger): Promise<TokenSource> {
  const { createTokens } = await import('../destination-tokens.ts');
  const { createMetrics } = await import('../telemetry/metrics.ts');
  const tokens = createTokens(name, config, { log, metrics: createMetrics() });
  if (tokens !== undefined) return tokens;
  throw new RelayError(
    'USAGE',
    `${file}: destination ${name} needs no token (auth is {kind: none}): use ${config.url} as it is`,
  );
}

/**
 * Clients of MLflow would ask again and again for what only a person can mend; an issuer that is away comes back.
 * @throws RelayError NO_TOKEN, or what a secret file throws when it is read
 */
async function refuseEarly(chosen: ChosenDestination): Promise<void> {
  const { wantedToken } = await import('./wanted-token.ts');
  const { IssuerProblem } = await import('../auth/issuer-words.ts');
  try {
    // A kept one would hide that the secret is wrong.
    await wantedToken(tokenWish(chosen, { grant: 'client_credentials', cache: false }));
  } catch (error) {
    const cause = error instanceof RelayError ? error.cause : undefined;
    if (!(cause instanceof IssuerProblem && cause.kind === 'away')) throw error;
  }
}

/** Signals go to it, and its end is this one's. @returns the exit code */
function runWith(
  program: string,
  args: readonly string[],
  variables: Record<string, string>,
): Promise<number> {
  // MLflow's clients would take these in place of the user name.
  const { MLFLOW_TRACKING_TOKEN: _token, MLFLOW_TRACKING_AUTH: _auth, ...env } = process.env;
  // Python's clients send to a proxy of the environment what these do not name, loopback too.
  const noProxy = [env['no_proxy'] ?? env['NO_PROXY'], '127.0.0.1'].filter(Boolean).join(',');
  const child = spawn(program, args, {
    stdio: 'inherit',
    env: { ...env, ...variables, NO_PROXY: noProxy, no_proxy: noProxy },
  });
  const forward = (signal: NodeJS.Signals) => {
    // A terminal sends it to both.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
  };
  for (const signal of SIGNALS) process.on(signal, forward);
  const stopForwarding = () => {
    for (const signal of SIGNALS) process.off(signal, forward);
  };
  return new Promise((resolve) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      stopForwarding();
      const isMissing = error.code === 'ENOENT';
      const words = isMissing
        ? `${program}: command not found`
        : `cannot run ${program}: ${messageOf(error)}`;
      process.stderr.write(`error: ${words}\n`);
      resolve(isMissing ? EXIT.notFound : EXIT.cannotRun);
    });
    child.once('exit', (code, signal) => {
      stopForwarding();
      resolve(code ?? EXIT.bySignal + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

function toPort(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw new InvalidArgumentError('expected a port, 0 to 65535');
  return port;
}
