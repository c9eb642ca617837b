import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Destination } from '../destinations/destination.ts';
import { messageOf } from '../errors.ts';
import { indexSpans } from '../otlp/wire.ts';
import type { Lease, QueueReader } from '../queue/queue.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Burial } from './burial.ts';
import { Notice } from '../telemetry/notice.ts';
import { pause } from './pause.ts';
import type { TraceWindow, WindowEntry } from './trace-window.ts';

/** How much is read before answers of the upstream get their turn; a record counts as some bytes more than it has. */
const TURN_BYTES = 1024 * 1024;
const RECORD_WEIGHT = 1024;
const READ_AGAIN_MS = 1000;

export type IntakeDeps = {
  readonly reader: QueueReader;
  readonly window: TraceWindow<Lease>;
  readonly destination: Destination;
  readonly burial: Burial;
  readonly log: Logger;
  readonly stopping: AbortSignal;
  /** Something was added to the window, or all there is has been. */
  readonly onProgress: () => void;
};

/** Reads a destination's records from the queue into the window, as long as there is room. */
export class Intake {
  readonly #deps: IntakeDeps;
  readonly #failed = new Notice();
  #isAtTail = false;
  #wake: (() => void) | undefined;

  constructor(deps: IntakeDeps) {
    this.#deps = deps;
  }

  /** All that is in the queue is in the window. */
  get isAtTail(): boolean {
    return this.#isAtTail;
  }

  /** Nothing more is read until the oldest records are settled. */
  get isStuck(): boolean {
    return this.#deps.reader.isStuck;
  }

  /** To be called when the window may have room again, and when the relay stops. */
  wake(): void {
    this.#wake?.();
  }

  /** Reads until the relay stops. */
  async run(): Promise<void> {
    const { reader, window, stopping, onProgress } = this.#deps;
    let sinceTurn = 0;
    while (!stopping.aborted) {
      if (window.isFull) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        continue;
      }
      if (reader.isHeldBack) {
        onProgress();
        await reader.waitForMore(stopping);
        continue;
      }
      const lease = await this.#next();
      if (stopping.aborted) return;
      if (lease === undefined) {
        this.#isAtTail = true;
        onProgress();
        await reader.waitForMore(stopping);
        this.#isAtTail = false;
      } else {
        await this.#admit(lease);
        onProgress();
        sinceTurn += lease.record.payload.byteLength + RECORD_WEIGHT;
      }
      if (lease === undefined || sinceTurn > TURN_BYTES) {
        sinceTurn = 0;
        await setImmediate();
      }
    }
  }

  async #next(): Promise<Lease | undefined> {
    const { reader, log, stopping } = this.#deps;
    while (!stopping.aborted) {
      try {
        return await reader.next();
      } catch (error) {
        const times = this.#failed.due(performance.now());
        const details = { reason: messageOf(error), times };
        if (times !== undefined)
          log.error(details, 'the queue could not be read: see to the disk of the queue directory');
        await pause(READ_AGAIN_MS, stopping);
      }
    }
    return undefined;
  }

  async #admit(lease: Lease): Promise<void> {
    const { destination, window, burial } = this.#deps;
    const { payload, receivedAt, route, spanCount, sender } = lease.record;
    let entry: WindowEntry<Lease>;
    try {
      entry = {
        handle: lease,
        target: destination.targetOf(route),
        payload,
        spans: indexSpans(payload),
        receivedAt,
      };
    } catch (error) {
      // Validated on arrival, so this is a bug. It must cost neither the record nor those behind it.
      const reason = `this relay could not read the record that it had accepted: ${messageOf(error)}`;
      const letter = {
        payload,
        spanCount,
        sender,
        route,
        receivedAt,
        reason,
        id: randomUUID(),
        status: undefined,
        repaired: undefined,
        attempts: 0,
        refusedAt: Date.now(),
      };
      const isKept = await burial.bury(() => [
        { ...letter, destination: destination.name, target: `route ${route.name}` },
      ]);
      if (isKept) lease.settle();
      return;
    }
    if (entry.spans.length === 0) lease.settle();
    else window.add(entry);
  }
}
