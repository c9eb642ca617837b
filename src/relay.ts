import type { Config } from './config/schema.ts';
import { tlsFilesOf } from './config/tls-files.ts';
import { startDelivery } from './delivery/dispatcher.ts';
import { createTokens } from './destination-tokens.ts';
import type { Destination } from './destinations/destination.ts';
import { createMlflowDestination } from './destinations/mlflow.ts';
import { messageOf } from './errors.ts';
import type { DeadLetters, Queue } from './queue/queue.ts';
import { openQueue } from './queue/segment-queue.ts';
import { startReceiver } from './receiver/server.ts';
import type { Receiver } from './receiver/server.ts';
import { countFromStart, fillGauges, statusOf } from './relay-status.ts';
import type { ShownUpstream } from './relay-status.ts';
import { createRouteTable } from './routing/route-table.ts';
import { startAdminServer } from './telemetry/admin-server.ts';
import { createLogger } from './telemetry/logger.ts';
import type { Logger } from './telemetry/logger.ts';
import { createMetrics } from './telemetry/metrics.ts';
import type { Metrics } from './telemetry/metrics.ts';

export type Relay = {
  readonly receiverPort: number;
  readonly adminPort: number;
  /**
   * Refuses new requests, lets those in hand finish until the deadline (milliseconds), closes the log. Nothing
   * is drained: the disk remembers. May be called again; never rejects.
   */
  stop(deadlineMs?: number): Promise<void>;
};

type DestinationConfig = Config['destinations'][string];

/** One configured upstream with all that belongs to it. */
type Upstream = ShownUpstream & { readonly destination: Destination };

/** What has been started so far. */
type Running = {
  receiver?: Receiver;
  readonly upstreams: Upstream[];
  queue?: Queue;
  admin?: { stop(): Promise<void> };
};

/**
 * Wires the rooms of the house and starts them from the back to the front, so that whatever comes in finds its
 * way out open. Neither issuer nor upstream has to be there.
 *
 * @throws RelayError if the queue, a certificate or a port cannot be used; what was started is stopped again
 */
export async function startRelay(
  config: Config,
  log: Logger = createLogger(config.log.level),
): Promise<Relay> {
  const metrics = createMetrics();
  const running: Running = { upstreams: [] };
  let stopping: Promise<void> | undefined;
  const stop = (deadlineMs = config.shutdown_timeout) => {
    stopping ??= stopAll(running, deadlineMs, log);
    return stopping;
  };

  try {
    const names = Object.keys(config.destinations);
    const queue = await openQueue(
      {
        directory: config.queue.directory,
        maxBytes: config.queue.max_size,
        destinations: names,
        maxRepeatedBytes: config.delivery.window_size,
      },
      { log, metrics },
    );
    running.queue = queue;
    countFromStart(metrics, queue, log);

    const { upstreams } = running;
    for (const [name, destination] of Object.entries(config.destinations)) {
      upstreams.push(startUpstream(name, destination, config, { queue, metrics, log }));
    }

    const admin = await startAdminServer(config.admin.listen, {
      metrics,
      log,
      status: () => statusOf(queue, upstreams, running.receiver !== undefined && stopping === undefined),
      beforeScrape: () => fillGauges(metrics, queue, upstreams),
    });
    running.admin = admin;

    const receiver = await startReceiver(
      {
        ...config.receiver.listen,
        tls: config.receiver.tls && {
          certFile: config.receiver.tls.cert_file,
          keyFile: config.receiver.tls.key_file,
          clientCaFile: config.receiver.tls.client_ca_file,
        },
        allowedClients: config.receiver.allowed_clients,
        maxRequestBodySize: config.receiver.max_request_body_size,
        maxResourceSize: config.receiver.max_resource_size,
        repair: config.receiver.repair,
      },
      { queue, route: createRouteTable(names), metrics, log },
    );
    running.receiver = receiver;

    log.info({ receiver_port: receiver.port, admin_port: admin.port }, 'relay started');
    return { receiverPort: receiver.port, adminPort: admin.port, stop };
  } catch (error) {
    await stop(0);
    throw error;
  }
}

function startUpstream(
  name: string,
  destinationConfig: DestinationConfig,
  { delivery }: Config,
  { queue, metrics, log }: { queue: Queue & { deadLetters: DeadLetters }; metrics: Metrics; log: Logger },
): Upstream {
  const { url, experiment, workspace, tls, timeout, max_response_size, repair } = destinationConfig;
  const tokens = createTokens(name, destinationConfig, { metrics, log });
  const destination = createMlflowDestination(
    {
      name,
      url: new URL(url),
      experiment,
      workspace,
      tls: tlsFilesOf(tls),
      timeoutMs: timeout,
      maxResponseSize: max_response_size,
      repair,
    },
    { tokens, log },
  );
  return {
    name,
    tokens,
    destination,
    delivery: startDelivery(
      {
        traceWaitMs: delivery.trace_wait,
        maxBatchSpans: delivery.max_batch_spans,
        maxBatchSize: delivery.max_batch_size,
        maxInFlight: delivery.max_in_flight,
        timeoutMs: timeout,
        windowSize: delivery.window_size,
      },
      { reader: queue.reader(name), destination, deadLetters: queue.deadLetters, metrics, log },
    ),
  };
}

/** From the front to the back; in front, requests in hand on both sides of the queue share the deadline. */
async function stopAll(running: Running, deadlineMs: number, log: Logger): Promise<void> {
  const { receiver, upstreams, queue, admin } = running;
  const attempt = async (what: string, work: Promise<void> | undefined) => {
    await work?.catch((error: unknown) => log.error({ reason: messageOf(error) }, `could not stop ${what}`));
  };
  await Promise.all([
    attempt('the receiver', receiver?.stop(deadlineMs)),
    ...upstreams.map(({ name, delivery }) => attempt(`delivery to ${name}`, delivery.stop(deadlineMs))),
  ]);
  for (const { name, destination, tokens } of upstreams) {
    await attempt(`the connections to ${name}`, destination.close());
    await attempt(`fetching tokens for ${name}`, tokens?.close());
  }
  await attempt('the queue', queue?.close());
  await attempt('the admin server', admin?.stop());
  // A start that failed has its own words.
  if (receiver !== undefined) log.info('relay stopped');
}
