import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { buffer } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { spansOf } from '../../e2e/support/spans-of.ts';

/** How an upstream answers requests with spans. */
export type Plan =
  | 'takes all'
  | 'leaves some out'
  | 'refuses what is bad'
  | 'refuses all'
  | 'is overloaded'
  | 'hangs up'
  | 'takes and hangs up'
  | 'is slow';

export type PlannedUpstream = {
  readonly url: string;
  become(plan: Plan): void;
  /** Ids of spans that it refuses whenever it refuses anything. */
  readonly bad: Set<string>;
  /** Ids of spans that it has taken, whether its answer arrived or not; those that it left out are among them. */
  readonly taken: ReadonlySet<string>;
};

/** A slow answer comes well within any deadline. */
const SLOW_MS = 300;

/**
 * Stands where MLflow would, for answers that it cannot be brought to give when they are wanted. What it says are the
 * words of MLflow. It ends with the test.
 */
export async function startPlannedUpstream(): Promise<PlannedUpstream> {
  const bad = new Set<string>();
  const taken = new Set<string>();
  let plan: Plan = 'takes all';

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request);
    if (request.url !== '/v1/traces') {
      // The one thing else that a relay with the id of an experiment asks.
      const experiment = { experiment_id: '1', name: 'planned', lifecycle_stage: 'active' };
      sendJson(response, 200, { experiment });
      return;
    }
    const spans = spansOf(request.headers, body).map(({ spanId }) => spanId);
    const take = () => spans.forEach((id) => taken.add(id));
    const hasBad = spans.some((id) => bad.has(id));
    switch (plan) {
      case 'is overloaded':
        response.writeHead(503).end();
        return;
      case 'hangs up':
        request.socket.destroy();
        return;
      case 'takes and hangs up':
        take();
        request.socket.destroy();
        return;
      case 'refuses all':
        // It says so of passing faults of its store as well.
        if (spans.length === 0) break;
        sendJson(response, 422, {
          detail: 'Cannot store OpenTelemetry spans: Failed to log OpenTelemetry spans',
        });
        return;
      case 'refuses what is bad':
        if (!hasBad) break;
        sendJson(response, 400, { error_code: 'INVALID_PARAMETER_VALUE', message: 'a span is not valid' });
        return;
      case 'is slow':
        await pause(SLOW_MS);
        break;
      default:
    }
    take();
    response.writeHead(200, { 'content-type': 'application/x-protobuf' });
    response.end(plan === 'leaves some out' && spans.length > 1 ? leftOut(1) : undefined);
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(async () => {
    server.closeAllConnections();
    await once(server.close(), 'close');
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    become: (next) => (plan = next),
    bad,
    taken,
  };
}

/** ExportTraceServiceResponse.partial_success = 1, ExportTracePartialSuccess.rejected_spans = 1. */
function leftOut(spans: number): Buffer {
  return Buffer.from([0x0a, 0x02, 0x08, spans]);
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
