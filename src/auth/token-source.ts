/** Expected outcomes of asking for a token. */
export type TokenResult =
  | { readonly kind: 'token'; readonly value: string }
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
  /** When the current token ends, in milliseconds since the epoch; undefined without one. */
  expiresAt(): number | undefined;
  close(): Promise<void>;
}
