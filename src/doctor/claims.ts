import type { TokenClaims } from '../auth/token-source.ts';
import type { Lack } from '../destinations/token-words.ts';
import { lacksOf } from '../destinations/token-words.ts';
import { failed, ok, skipped, warning } from './checkup.ts';
import type { Verdict } from './checkup.ts';

/* What mlflow-oidc-auth looks for in a token. Pure. */

export type ClaimName = 'audience' | 'username' | 'groups';

/**
 * What is missing matters where MLflow does not take the token; an MLflow behind something else may need none of it.
 * @param claims undefined of a token that is no JWT
 * @param isTaken undefined: MLflow could not be asked
 */
export function checkClaim(
  name: ClaimName,
  claims: TokenClaims | undefined,
  isTaken: boolean | undefined,
): Verdict<undefined> {
  if (claims === undefined) {
    return isTaken === true
      ? skipped('the token is no JWT, so what it says cannot be seen; MLflow takes it')
      : lacking(
          { what: 'the token is no JWT, and mlflow-oidc-auth takes no other', remedy: AS_JWT },
          isTaken,
        );
  }
  const lack = lacksOf(claims)[name];
  if (lack !== undefined) return lacking(lack, isTaken);
  switch (name) {
    case 'audience':
      return ok(`aud is ${quoted(claims.audience)}, which OIDC_AUDIENCE of mlflow-oidc-auth must be`);
    case 'username':
      return ok(`the token names the relay ${claims.username}`);
    case 'groups':
      return ok(`groups are ${quoted(claims.groups ?? [])}, of which OIDC_GROUP_NAME must name one`);
  }
}

const AS_JWT = 'have the issuer give this client signed JWTs (in some by audience or resource under auth)';

function lacking({ what, remedy }: Lack, isTaken: boolean | undefined): Verdict<undefined> {
  return isTaken === false
    ? failed(what, remedy)
    : warning(what, `${remedy}; if MLflow takes the token, this can stay`);
}

function quoted(texts: readonly string[]): string {
  return texts.map((text) => `"${text}"`).join(', ');
}
