import { withoutSignature } from '../auth/token-claims.ts';
import type { HttpResult } from '../destinations/http-client.ts';
import { readJsonObject } from '../destinations/mlflow-error.ts';
import { ok, skipped, warning } from './checkup.ts';
import type { Verdict } from './checkup.ts';
import { get, withoutToken } from './upstream.ts';
import type { Upstream } from './upstream.ts';

/** Reads, and is answered to every account that is let in, with what it may see. */
const ANY_ACCOUNT_MAY = 'api/2.0/mlflow/experiments/search?max_results=1';

/**
 * Whether a token is taken that anybody can write, as mlflow-oidc-auth 3.0.0 to 7.12.1 does with Authlib 1.6.0 to 1.6.6
 * (GHSA-g765-w658-6cr2). It tells neither version, so it is tried, with the relay's own claims: nobody is let in who would
 * not be otherwise. That the signed token is taken, and none is not, shows what the answer means.
 */
export async function checkUnsigned(upstream: Upstream, token: string): Promise<Verdict<undefined>> {
  const forged = withoutSignature(token);
  if (forged === undefined) return skipped('the token is no JWT, so that it cannot be without a signature');
  const without = (await get(withoutToken(upstream), ANY_ACCOUNT_MAY)).result;
  if (isLetIn(without)) return skipped('MLflow lets in who has no token at all');
  const signed = (await get(upstream, ANY_ACCOUNT_MAY)).result;
  if (!isLetIn(signed)) return skipped(`cannot be told by the answer to the signed one: ${wordsOf(signed)}`);
  const unsigned = (await get({ ...upstream, token: forged }, ANY_ACCOUNT_MAY)).result;
  return isLetIn(unsigned)
    ? warning(
        'MLflow takes a token without a signature (alg none): whoever reaches it can be anybody, also an administrator',
        'upgrade mlflow-oidc-auth to 7.12.2 or newer (GHSA-g765-w658-6cr2), or correct what else checks the tokens for MLflow',
      )
    : ok(`is refused (${wordsOf(unsigned)})`);
}

function isLetIn(result: HttpResult): boolean {
  return result.kind === 'answer' && result.status === 200 && readJsonObject(result) !== undefined;
}

function wordsOf(result: HttpResult): string {
  return result.kind === 'answer' ? String(result.status) : result.reason;
}
