/** Stable codes of the errors that a person can meet; documented in the README. */
export type ErrorCode =
  | 'CONFIG_INVALID'
  | 'CONFIG_UNREADABLE'
  | 'CERTIFICATE_INVALID'
  | 'LISTEN_FAILED'
  | 'QUEUE_LOCKED'
  | 'QUEUE_UNUSABLE'
  | 'QUEUE_FORMAT'
  | 'DESTINATION_IN_USE'
  | 'DESTINATION_UNKNOWN'
  | 'DEAD_LETTER_UNKNOWN'
  | 'DEAD_LETTERS_LEFT'
  | 'USAGE'
  | 'NO_TOKEN'
  | 'NOT_REVOKED';

/**
 * A condition that stops the relay or a command: what happened, where, and what to do, in one message.
 * Expected outcomes of the way of a trace are values, never errors of this kind.
 */
export class RelayError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RelayError';
    this.code = code;
  }
}

/** @param key of the configuration that names the address */
export function listenFailed(host: string, port: number, key: string, cause: unknown): RelayError {
  const address = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  return new RelayError(
    'LISTEN_FAILED',
    `cannot listen on ${address} (${messageOf(cause)}); free the port, or change ${key}`,
    { cause },
  );
}

/** The message of anything thrown; never its stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
