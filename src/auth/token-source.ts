/**
 * What an access token says of itself (RFC 9068), for words to people and nothing else: its signature is not checked
 * here. All texts are fit for a log line, and long lists are cut.
 */
export type TokenClaims = {
  readonly issuer: string | undefined;
  /** That the token was given to. */
  readonly client: string | undefined;
  /** From when on it is valid by the issuer's clock (`iat` and `nbf`), in seconds since the epoch. */
  readonly validFrom?: number;
  /** Until when (`exp`), as those. */
  readonly expiresAt?: number;
  /** Empty without one. */
  readonly audience: readonly string[];
  /** Undefined where there is no such claim. */
  readonly groups: readonly string[] | undefined;
  /** `email`, or else `preferred_username`, as mlflow-oidc-auth looks for it. */
  readonly username: string | undefined;
};

/** Expected outcomes of asking for a token. */
export type TokenResult =
  /** `claims` only of a token that is a JWT. */
  | { readonly kind: 'token'; readonly value: string; readonly claims?: TokenClaims }
  /** The issuer is away or failing: ask again later. */
  | { readonly kind: 'unavailable'; readonly reason: string }
  /** The issuer refuses this client, or the set-up cannot work: a person has to act. */
  | { readonly kind: 'rejected'; readonly reason: string };

/** Bearer tokens (RFC 6750) for one upstream. */
export interface TokenSource {
  /** A token that is valid now; fetched once however many ask. */
  token(): Promise<TokenResult>;
  /** The upstream did not take this token: the next `token()` is a fresh one. Ignored if it is no longer the current one. */
  drop(value: string): void;
  /**
   * The upstream may not take this token: the next `token()` is a fresh one, or still this one where the issuer has no
   * other. Ignored if it is no longer the current one.
   */
  doubt(value: string): void;
  /**
   * The upstream, whose clock is behind the issuer's, takes this token only after so many ms. Until then `token()` is
   * the one before, while that one is good, or there is none; later ones are held back as long. Ignored if it is no
   * longer the current one.
   */
  postpone(value: string, ms: number): void;
  /** When the current token ends, in milliseconds since the epoch; undefined without one. */
  expiresAt(): number | undefined;
  close(): Promise<void>;
}
