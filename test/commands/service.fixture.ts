import { untilStopped } from '../../src/commands/until-stopped.ts';
import { createLogger } from '../../src/telemetry/logger.ts';

/* A process around a service that behaves as its argument says; a child process of until-stopped.test.ts. */

const never = new Promise<never>(() => {});
// What a service has open, and what keeps the process if nothing ends it.
setInterval(() => {}, 60_000);

const stops: Record<string, (deadlineMs: number) => Promise<void>> = {
  stops: async (deadlineMs) => void process.stdout.write(`stop within ${deadlineMs}\n`),
  'hangs in stop': () => never,
  'fails to stop': () => Promise.reject(new Error('disk gone')),
};

const behaviour = process.argv[2] ?? '';
const start = async () => {
  process.stdout.write('starting\n');
  if (behaviour === 'fails to start') throw new Error('port taken');
  if (behaviour === 'hangs in start') await never;
  if (behaviour === 'starts slowly')
    await new Promise<void>((resolve) => process.once('SIGTERM', () => resolve()));
  if (behaviour === 'throws later')
    setImmediate(() => {
      throw new Error('a bug');
    });
  if (behaviour === 'rejects later') void Promise.reject(new Error('a bug'));
  process.stdout.write('started\n');
  return { stop: stops[behaviour] ?? stops['stops']! };
};

untilStopped(start, 1234, createLogger('info')).catch((error: Error) => {
  process.stdout.write(`rejected: ${error.message}\n`);
  process.exit(7);
});
