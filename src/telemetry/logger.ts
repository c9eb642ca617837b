import { pino } from 'pino';
import type { Logger, LoggerOptions } from 'pino';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * JSON lines on standard output (or standard error, file descriptor 2), one event a line, times in ISO 8601.
 * What could carry a secret is cut out by name, whoever logs it.
 */
export function createLogger(level: LogLevel, descriptor: 1 | 2 = 1): Logger {
  const options: LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: {
      paths: [
        'authorization',
        '*.authorization',
        'token',
        '*.token',
        'access_token',
        '*.access_token',
        'client_secret',
        '*.client_secret',
      ],
      censor: '[redacted]',
    },
  };
  return descriptor === 1 ? pino(options) : pino(options, pino.destination({ fd: descriptor, sync: true }));
}
