import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { watchMemory } from '../bench/cost/memory.ts';
import { writeDevelopmentCertificates, writeKeyPair } from '../stack/certificates.ts';
import type { DevelopmentCertificates } from '../stack/certificates.ts';
import { startRelayProcess } from '../stack/relay-process.ts';
import type { RelayProcess } from '../stack/relay-process.ts';
import { createAttacker } from './attacker.ts';
import type { Attacker, Identity } from './attacker.ts';
import { child, news } from './child.ts';
import { createHonestSender } from './honest-sender.ts';
import type { Seen, SinkNews, SinkOrder } from './sink.ts';
import type { GoodBody, WitnessReport } from './witness.ts';

/** What V8 takes for its heap where a container may have 1536 MiB, as in k8s/base/statefulset.yaml: half of it. */
const POD_HEAP_MIB = 768;

const WATCH_TURNS = new URL('./watch-turns.ts', import.meta.url).href;
/** For what was sent to be in the buffers of the system. */
const SENT_MS = 300;

const CLIENT = { clientId: 'hostile', secret: 'hostile-secret' };
const DOMAIN = 'spiffe://hostile.example';

export type ArenaOptions = {
  /** What the upstream takes for each request; 0 unless given. */
  readonly upstreamMs?: number;
  /** Good traces a second; 20 unless given. */
  readonly perSecond?: number;
  /** What the good sender sends; small requests in protobuf unless given. */
  readonly body?: GoodBody;
};

/** A relay with the heap of the pod, between an upstream and senders: an honest one, and whoever attacks. */
export type Arena = {
  readonly relay: RelayProcess;
  /** May send. */
  readonly attacker: Attacker;
  /** Keeps its connections. */
  readonly busyAttacker: Attacker;
  /** Has a certificate of the same CA, and may not send. */
  readonly stranger: Attacker;
  seen(): Promise<Seen>;
  logBytes(): Promise<number>;
  /** From now on turns of the event loop count: what the start of the relay takes is over. */
  beginWatch(): void;
  /** Stops the relay, as a busy machine may do, until all is sent: so its event loop has all of it at once. */
  whileStopped(send: () => void): Promise<void>;
  /** Ends early when the relay has died. */
  watch(ms: number): Promise<void>;
  isDead(): boolean;
  /**
   * Kills the relay, if it lives, and starts it on the same queue; resolves to the seconds until it was ready, or to
   * undefined where it died or did not get ready. The honest sender waits meanwhile.
   */
  restart(): Promise<number | undefined>;
  /** Ends the good sender, after what it has in hand. */
  finish(): Promise<Observed>;
  close(): Promise<void>;
};

/** What others saw of an attack. */
export type Observed = {
  readonly witness: WitnessReport;
  /** What good traces took to the upstream, in ms; those that are not there, until now. */
  readonly delays: readonly number[];
  /** Good traces that were taken and did not reach the upstream. */
  readonly undelivered: number;
  readonly peakBytes: number;
  readonly deaths: number;
  /** CPU time of the longest turn of the relay's event loop since `beginWatch`, in ms; 0 where none was long. */
  readonly longestTurnMs: number;
};

/** For what was taken, to reach the upstream. */
const SETTLE_MS = 10_000;

export async function startArena(
  options: ArenaOptions,
  parentDirectory: string,
  signal: AbortSignal,
): Promise<Arena> {
  const directory = await mkdtemp(join(parentDirectory, 'hostile-'));
  const cleanUps: (() => unknown)[] = [() => rm(directory, { recursive: true, force: true })];
  const close = async () => {
    for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
  };
  try {
    return await start(options, { directory, signal, cleanUps, close });
  } catch (error) {
    await close();
    throw error;
  }
}

type Surroundings = {
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly cleanUps: (() => unknown)[];
  readonly close: () => Promise<void>;
};

async function start(
  { upstreamMs = 0, perSecond = 20, body }: ArenaOptions,
  { directory, signal, cleanUps, close }: Surroundings,
): Promise<Arena> {
  const certificates = await writeDevelopmentCertificates(join(directory, 'certificates'), {
    clientUri: `${DOMAIN}/good`,
  });
  const sink = child('sink.ts', cleanUps);
  sink.send({ delayMs: upstreamMs } satisfies SinkOrder);
  const { url: sinkUrl } = await news<SinkNews>(sink, 20_000);
  const turnsFile = join(directory, 'turns');
  const relay = await startRelayProcess({
    directory: join(directory, 'relay'),
    certificates,
    mlflowUrl: sinkUrl,
    issuer: sinkUrl,
    experiment: { id: '1' },
    client: CLIENT,
    allowedClients: [`${DOMAIN}/*`],
    environment: {
      NODE_OPTIONS: `--max-old-space-size=${POD_HEAP_MIB} --disable-warning=ExperimentalWarning --import=${WATCH_TURNS}`,
      WATCH_TURNS_FILE: turnsFile,
    },
    signal,
  });
  cleanUps.push(() => relay.stop('SIGKILL'));

  const { caFile, clientCertFile: certFile, clientKeyFile: keyFile } = certificates;
  const { url, adminUrl } = relay;
  const order = { url, adminUrl, caFile, certFile, keyFile, perSecond, ...(body && { body }) };
  const sender = createHonestSender(order, cleanUps);
  sender.start();
  const identities = await writeIdentities(certificates, join(directory, 'certificates'));
  const attacker = createAttacker(url, identities.attacker);
  const busyAttacker = createAttacker(url, identities.attacker, true);
  const stranger = createAttacker(url, identities.stranger);
  cleanUps.push(attacker.close, busyAttacker.close, stranger.close);
  const seen = async () => (await (await fetch(`${sinkUrl}/seen`)).json()) as Seen;
  const lives = watchLives(relay, cleanUps);
  const { isDead } = lives;
  let watchedSince = Date.now();

  return {
    relay,
    attacker,
    busyAttacker,
    stranger,
    seen,
    logBytes: async () => (await stat(relay.logFile)).size,
    beginWatch() {
      watchedSince = Date.now();
    },
    async whileStopped(send) {
      const pid = relay.pid();
      if (pid === undefined) return;
      process.kill(pid, 'SIGSTOP');
      send();
      await pause(SENT_MS);
      if (!isDead()) process.kill(pid, 'SIGCONT');
    },
    async watch(ms) {
      const end = Date.now() + ms;
      while (Date.now() < end && !isDead()) await pause(100, undefined, { signal });
    },
    isDead,
    async restart() {
      await sender.stop();
      const seconds = await lives.restart();
      sender.start();
      return seconds;
    },
    async finish() {
      await sender.stop();
      const witness = sender.report();
      const { delays, undelivered } = await delivered(witness, seen, isDead);
      const longestTurnMs = await longestTurn(turnsFile, watchedSince);
      return { witness, delays, undelivered, longestTurnMs, ...lives.end() };
    },
    close,
  };
}

async function longestTurn(file: string, since: number): Promise<number> {
  // There is none where no turn was long.
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n').map((line) => line.split(' '));
  return Math.max(0, ...lines.filter(([at]) => Number(at) >= since).map(([, ms]) => Number(ms)));
}

type Lives = {
  isDead(): boolean;
  restart(): Promise<number | undefined>;
  end(): { peakBytes: number; deaths: number };
};

/** How often the relay dies, and how much memory it takes, over its starts. */
function watchLives(relay: RelayProcess, cleanUps: (() => unknown)[]): Lives {
  let memory = watchMemory(relay.pid()!);
  let peakBytes = 0;
  let deaths = 0;
  let isStarted = true;
  const isDead = () => relay.pid() === undefined;
  /** Of one start. */
  function closeAccount(): void {
    peakBytes = Math.max(peakBytes, memory.stop().total);
    if (isStarted && isDead()) deaths++;
    isStarted = false;
  }
  cleanUps.push(closeAccount);
  return {
    isDead,
    async restart() {
      closeAccount();
      await relay.stop('SIGKILL');
      const startedAt = Date.now();
      try {
        await relay.start();
      } catch {
        deaths++;
        return undefined;
      }
      memory = watchMemory(relay.pid()!);
      isStarted = true;
      return (Date.now() - startedAt) / 1000;
    },
    end() {
      closeAccount();
      return { peakBytes, deaths };
    },
  };
}

async function delivered(
  { acknowledged }: WitnessReport,
  seen: () => Promise<Seen>,
  isDead: () => boolean,
): Promise<{ delays: number[]; undelivered: number }> {
  const end = Date.now() + SETTLE_MS;
  for (;;) {
    const arrivals = new Map((await seen()).good);
    const now = Date.now();
    const delays = acknowledged.map(([index, dueAt]) => (arrivals.get(index) ?? now) - dueAt);
    const undelivered = acknowledged.filter(([index]) => !arrivals.has(index)).length;
    if (undelivered === 0 || isDead() || Date.now() > end) return { delays, undelivered };
    await pause(200);
  }
}

async function writeIdentities(
  { ca, caFile }: DevelopmentCertificates,
  directory: string,
): Promise<{ attacker: Identity; stranger: Identity }> {
  const identity = async (name: string, uri: string): Promise<Identity> => {
    const files = {
      caFile,
      certFile: join(directory, `${name}.crt`),
      keyFile: join(directory, `${name}.key`),
    };
    const pair = await ca.issue({ commonName: name, uris: [uri], usage: 'client' });
    await writeKeyPair(files.certFile, files.keyFile, pair);
    return files;
  };
  return {
    attacker: await identity('attacker', `${DOMAIN}/attacker`),
    stranger: await identity('stranger', 'spiffe://stranger.example/stranger'),
  };
}
