import { child, news } from './child.ts';
import type { WitnessOrder, WitnessReport } from './witness.ts';

/** The good sender; it can pause while the relay is away. */
export type HonestSender = {
  start(): void;
  /** Ends, after what is in hand. */
  stop(): Promise<void>;
  /** Of all times together. */
  report(): WitnessReport;
};

/** Requests in hand end within ten seconds. */
const STOP_MS = 30_000;
/** More traces than it sends in one time. */
const NUMBERS_EACH = 1_000_000;

export function createHonestSender(
  order: Omit<WitnessOrder, 'first'>,
  cleanUps: (() => unknown)[],
): HonestSender {
  const reports: WitnessReport[] = [];
  let running: ReturnType<typeof child> | undefined;
  let first = 1;
  return {
    start() {
      running = child('witness.ts', cleanUps);
      running.send({ ...order, first } satisfies WitnessOrder);
      first += NUMBERS_EACH;
    },
    async stop() {
      const stopped = running;
      if (stopped === undefined) return;
      running = undefined;
      const report = news<WitnessReport>(stopped, STOP_MS);
      stopped.send('stop');
      reports.push(await report);
      stopped.disconnect();
    },
    report: () => merged(reports),
  };
}

function merged(reports: readonly WitnessReport[]): WitnessReport {
  const sum = (key: 'lost' | 'refused') => {
    const counts: Record<string, number> = {};
    for (const report of reports) {
      for (const [word, count] of Object.entries(report[key])) counts[word] = (counts[word] ?? 0) + count;
    }
    return counts;
  };
  return {
    waits: reports.flatMap(({ waits }) => waits),
    lost: sum('lost'),
    refused: sum('refused'),
    acknowledged: reports.flatMap(({ acknowledged }) => acknowledged),
    livez: reports.flatMap(({ livez }) => livez),
    livezFailures: reports.reduce((all, { livezFailures }) => all + livezFailures, 0),
  };
}
