import type { TokenClaims } from '../auth/token-source.ts';

/* Why a token may not have been taken, by what it says of itself. Pure. */

/** What a 401 may mean of a token that lacks nothing, seen with mlflow-oidc-auth 11.0. */
const OTHER_CAUSES =
  // It does not ask for the keys again for a key id that is not among them.
  "After a change of the issuer's signing key mlflow-oidc-auth takes up to OIDC_JWKS_CACHE_TTL_SECONDS (300) to take its tokens, " +
  "and while MLflow's database is away, or without a working OIDC_DISCOVERY_URL, it takes none; see MLflow's log";

/** Of one list in a message. */
const LONGEST_LIST = 200;

/**
 * To be said after "the access token is not taken". mlflow-oidc-auth answers the same to whatever is wrong, so this is
 * what it looks for unless set otherwise, and what the token has; its settings are not known here.
 * @param claims undefined of a token that tells nothing
 */
export function refusalWords(claims: TokenClaims | undefined): string {
  if (claims === undefined) {
    return `compare the issuer and audience that MLflow expects with those of the token. ${OTHER_CAUSES}`;
  }
  const { client, issuer, audience, groups, username } = claims;
  const lacks = Object.values(lacksOf(claims)).map(({ what, remedy }) => `${what}: ${remedy}`);
  const has = [
    ...(audience.length === 0 ? [] : [`aud ${list(audience)} (OIDC_AUDIENCE)`]),
    ...(groups === undefined || groups.length === 0 ? [] : [`groups ${list(groups)} (OIDC_GROUP_NAME)`]),
    ...(username === undefined ? [] : [`user name "${username}"`]),
    ...(issuer === undefined ? [] : [`issuer "${issuer}" (OIDC_ISSUER)`]),
  ];
  const where = client === undefined ? 'the client' : `the client "${client}"`;
  return [
    ...(lacks.length === 0 ? [] : [`${lacks.join('; ')}. Correct ${where} at the issuer`]),
    ...(has.length === 0 ? [] : [`Compare with the settings of mlflow-oidc-auth: it has ${has.join(', ')}`]),
    OTHER_CAUSES,
  ].join('. ');
}

/** Whose permissions count. */
export function accountWords(claims: TokenClaims | undefined): string {
  return claims?.username === undefined ? "the relay's account" : `the service account ${claims.username}`;
}

/** What is wrong with a claim, and what to do. */
export type Lack = { readonly what: string; readonly remedy: string };

/** What mlflow-oidc-auth will not do without, by the names that its settings have unless changed. */
export function lacksOf({ audience, groups, username }: TokenClaims): {
  readonly audience?: Lack;
  readonly username?: Lack;
  readonly groups?: Lack;
} {
  const groupsLack = lackOfGroups(groups);
  return {
    ...(audience.length === 0 && {
      audience: {
        what: 'it has no aud claim',
        remedy:
          'add an audience mapper (Keycloak: "Audience" in the dedicated scope of the client), for what mlflow-oidc-auth has as OIDC_AUDIENCE',
      },
    }),
    ...(username === undefined && {
      username: {
        what: 'it has neither an email nor a preferred_username claim (OIDC_USERNAME_FIELD), by which mlflow-oidc-auth knows an account',
        remedy: 'add a mapper for the user name (Keycloak: the client scope profile has one)',
      },
    }),
    ...(groupsLack && { groups: groupsLack }),
  };
}

function lackOfGroups(groups: TokenClaims['groups']): Lack | undefined {
  if (groups === undefined) {
    return {
      what: 'it has no groups claim (OIDC_GROUPS_ATTRIBUTE), without which mlflow-oidc-auth lets no new account in',
      remedy:
        'add a group mapper (Keycloak: "Group Membership" in the dedicated scope of the client, with the claim name groups and "Full group path" off)',
    };
  }
  if (groups.length === 0) {
    return {
      what: 'its groups claim is empty, and mlflow-oidc-auth lets no new account in without a group',
      remedy: 'put the service account into one that OIDC_GROUP_NAME names',
    };
  }
  if (groups.every((group) => group.startsWith('/'))) {
    return {
      what: `its groups claim has full paths (${list(groups)}), which are other names to mlflow-oidc-auth`,
      remedy: 'turn "Full group path" off in the group mapper',
    };
  }
  return undefined;
}

function list(texts: readonly string[]): string {
  const all = texts.map((text) => `"${text}"`).join(', ');
  return all.length > LONGEST_LIST ? `${all.slice(0, LONGEST_LIST)}…` : all;
}
