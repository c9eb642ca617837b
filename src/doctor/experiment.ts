import type { TokenSource } from '../auth/token-source.ts';
import type { SendOutcome } from '../destinations/destination.ts';
import { createExperimentResolver } from '../destinations/experiment.ts';
import { experimentWords } from '../destinations/experiment-words.ts';
import { NOTHING, createMlflowDestination } from '../destinations/mlflow.ts';
import type { MlflowOptions } from '../destinations/mlflow.ts';
import { readJsonObject } from '../destinations/mlflow-error.ts';
import { NEVER_ABORTS } from '../never-aborts.ts';
import type { Logger } from '../telemetry/logger.ts';
import { failed, ok, skipped, warning } from './checkup.ts';
import type { Verdict } from './checkup.ts';
import type { Granted } from './issuer.ts';
import { ask } from './upstream.ts';
import type { Upstream } from './upstream.ts';
import { wayFix } from './way.ts';

/* Experiment and permission, by the relay's own code, kept from making anything. */

/** @returns its id; undefined where the relay is to make it */
export async function checkExperiment(upstream: Upstream, log: Logger): Promise<Verdict<string | undefined>> {
  const { experiment, base, account } = upstream;
  const words = experimentWords(experiment);
  let isMissing = false;
  let isSeen = false;
  const resolved = await createExperimentResolver(experiment, base, log).resolve(async (method, url) => {
    if (method === 'GET') {
      const { result } = await ask(upstream, method, url, { accept: 'application/json' });
      isSeen = result.kind === 'answer' && readJsonObject(result)?.['experiment'] !== undefined;
      return result;
    }
    isMissing = true;
    return { kind: 'no answer', reason: 'nothing is made here' };
  }, account);
  if (isMissing) {
    return warning(
      `${words} is not there, or ${account} may not see it; the relay makes it with the first traces`,
      `if it should be there, correct experiment, or give ${account} EDIT on it`,
      undefined,
    );
  }
  if (!resolved.ok) return outcomeFailed(resolved.outcome, upstream);
  if ('name' in experiment) return ok(`${words} has the id ${resolved.id}`, resolved.id);
  return isSeen
    ? ok(`${words} is there`, resolved.id)
    : skipped(
        `MLflow does not show ${words} to ${account}, be it there or not; "permission" tells whether it can be written`,
        resolved.id,
      );
}

/** Sends what leaves nothing there, as the relay does to learn whether it may write. */
export async function checkPermission(
  upstream: Upstream,
  id: string | undefined,
  options: Omit<MlflowOptions, 'experiment'>,
  granted: Granted | undefined,
  log: Logger,
): Promise<Verdict<undefined>> {
  if (id === undefined) return skipped('who makes an experiment may write it');
  const destination = createMlflowDestination(
    { ...options, experiment: { id } },
    { tokens: granted && tokensOf(granted), log },
  );
  try {
    const target = destination.targetOf({ name: 'doctor', destinations: [options.name], variables: {} });
    const outcome = await destination.send(target, NOTHING, NEVER_ABORTS);
    return outcome.kind === 'delivered'
      ? ok(`${upstream.account} may write experiment ${id}`)
      : outcomeFailed(outcome, upstream);
  } finally {
    await destination.close();
  }
}

/** What to do goes by the relay's own words (destinations/experiment.ts, mlflow-answers.ts). */
function outcomeFailed(outcome: SendOutcome, upstream: Upstream): Verdict<never> {
  const { account, experiment, base, keys } = upstream;
  const words = experimentWords(experiment);
  const reason = 'reason' in outcome ? outcome.reason : '';
  if (/ is deleted in MLflow /.test(reason)) {
    return failed(reason, `restore ${words} in MLflow (mlflow experiments restore), or configure another`);
  }
  if (/ does not exist there| answers 404 /.test(reason)) {
    return failed(reason, 'set experiment to the id, or name, of one that is there, in this workspace');
  }
  if (/ answers 403\b.* needs EDIT /.test(reason)) {
    return failed(
      reason,
      `give ${account} EDIT or MANAGE on ${words} (mlflow-oidc-auth: in its permissions page, by who manages it)${'id' in experiment ? ', and see that the id is right' : ''}`,
    );
  }
  if (/ answers 401/.test(reason)) return failed(reason, 'see what is said of the token');
  return outcome.kind === 'retry'
    ? failed(reason, `${wayFix(reason, base, keys)}; see MLflow's log`)
    : failed(reason, "see MLflow's log, and that of what stands before it");
}

function tokensOf({ value, claims }: Granted): TokenSource {
  return {
    token: () => Promise.resolve({ kind: 'token', value, ...(claims && { claims }) }),
    drop: () => {},
    doubt: () => {},
    postpone: () => {},
    expiresAt: () => undefined,
    close: () => Promise.resolve(),
  };
}
