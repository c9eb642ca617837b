import { afterEach, describe, expect, it, vi } from 'vitest';
import { createExperimentResolver } from '../../src/destinations/experiment.ts';
import type { RestCall } from '../../src/destinations/experiment.ts';
import type { ExperimentChoice } from '../../src/destinations/experiment-words.ts';
import { createHttpClient } from '../../src/destinations/http-client.ts';
import { memoryLog, sendHtml, sendJson } from '../auth/support.ts';
import { startUpstream } from './support.ts';

const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function resolver(
  choice: ExperimentChoice,
  answer?: Parameters<typeof startUpstream>[0],
  recheckMs?: number,
) {
  const upstream = await startUpstream(answer);
  const { log, lines } = memoryLog();
  const http = createHttpClient({ name: 'mlflow', tls: {}, timeoutMs: 10_000, maxResponseSize: 65_536 }, log);
  ends.push(
    () => upstream.stop(),
    () => http.close(),
  );
  const call: RestCall = (method, url, body) =>
    http.ask(
      {
        method,
        url,
        headers: {},
        ...(body === undefined ? {} : { body: Buffer.from(JSON.stringify(body)) }),
      },
      new AbortController().signal,
    );
  const experiment = createExperimentResolver(choice, new URL(`${upstream.url}/`), log, recheckMs);
  return {
    ...upstream,
    lines,
    forget: () => experiment.forget(),
    resolve: () => experiment.resolve(call, 'the service account otel-relay'),
  };
}

const blocked = (words: string) => ({
  ok: false,
  outcome: { kind: 'blocked', reason: expect.stringContaining(words) },
});

describe('by name', () => {
  const name = 'agents: ä/b & "c"';

  it('is found, once however many ask, and kept', async () => {
    const { resolve, experiments, counts } = await resolver({ name });
    experiments.push({ experiment_id: '7', name, lifecycle_stage: 'active' });
    const all = await Promise.all(Array.from({ length: 20 }, resolve));
    expect(new Set(all.map((one) => one.ok && one.id))).toEqual(new Set(['7']));
    await resolve();
    expect(counts()).toEqual({ 'GET get-by-name': 1 });
  });

  it('is created when it is missing', async () => {
    const { resolve, experiments, counts, lines } = await resolver({ name });
    expect(await resolve()).toEqual({ ok: true, id: '1' });
    expect(experiments).toEqual([{ experiment_id: '1', name, lifecycle_stage: 'active' }]);
    expect(counts()).toEqual({ 'GET get-by-name': 1, 'POST create': 1 });
    expect(lines).toMatchObject([{ msg: 'created the experiment in MLflow', experimentId: '1' }]);
  });

  it('is looked up again when somebody else was quicker', async () => {
    const { resolve, experiments, counts } = await resolver({ name }, ({ what }) => {
      if (what === 'POST create') experiments.push({ experiment_id: '9', name, lifecycle_stage: 'active' });
      return false;
    });
    expect(await resolve()).toEqual({ ok: true, id: '9' });
    expect(counts()).toEqual({ 'GET get-by-name': 2, 'POST create': 1 });
  });

  it('is not found, and cannot be created as it exists: blocked', async () => {
    const { resolve } = await resolver({ name }, ({ what }, response) => {
      if (what !== 'POST create') return false;
      sendJson(response, 409, { error_code: 'RESOURCE_ALREADY_EXISTS', message: 'exists' });
      return true;
    });
    expect(await resolve()).toEqual(blocked('cannot be created'));
  });

  it('is looked up again after forget', async () => {
    const { resolve, forget, experiments, counts } = await resolver({ name });
    experiments.push({ experiment_id: '7', name, lifecycle_stage: 'active' });
    await resolve();
    experiments.splice(0, 1, { experiment_id: '8', name, lifecycle_stage: 'active' });
    expect(await resolve()).toEqual({ ok: true, id: '7' });
    forget();
    expect(await resolve()).toEqual({ ok: true, id: '8' });
    expect(counts()).toEqual({ 'GET get-by-name': 2 });
  });

  it.each<[string, number, unknown, string, string]>([
    [
      '403',
      403,
      { message: 'Permission denied' },
      'blocked',
      'the service account otel-relay needs EDIT on experiment "agents',
    ],
    ['401', 401, { detail: 'Authentication required' }, 'unauthorized', 'Authentication required'],
    ['500', 500, { error_code: 'INTERNAL_ERROR', message: 'boom' }, 'retry', 'boom'],
    ['503', 503, {}, 'retry', 'answers 503'],
    [
      '400 of the store',
      400,
      { error_code: 'BAD_REQUEST', message: 'deadlock detected' },
      'retry',
      'deadlock',
    ],
    [
      '400 workspace',
      400,
      { error_code: 'INVALID_PARAMETER_VALUE', message: 'Active workspace' },
      'blocked',
      'workspace',
    ],
    [
      '404 of another server',
      404,
      { detail: 'Not Found' },
      'blocked',
      "no answer of MLflow's REST API: check url",
    ],
    ['200 of another server', 200, { ok: true }, 'blocked', "no answer of MLflow's REST API: check url"],
  ])('%s', async (_, status, body, kind, words) => {
    const { resolve } = await resolver({ name }, (_asked, response) => {
      sendJson(response, status, body);
      return true;
    });
    expect(await resolve()).toMatchObject({
      ok: false,
      outcome: { kind, reason: expect.stringContaining(words) },
    });
  });

  it.each(['GET get-by-name', 'POST create'])(
    'a page that forbids is of what stands before MLflow: %s',
    async (endpoint) => {
      const { resolve } = await resolver({ name }, ({ what }, response) => {
        if (what === endpoint) sendHtml(response, 403);
        return what === endpoint;
      });
      expect(await resolve()).toMatchObject(
        blocked(
          'answers 403 (a page of HTML): a proxy or firewall before MLflow does not let the request through',
        ),
      );
    },
  );

  it('may not be created: blocked', async () => {
    const { resolve } = await resolver({ name }, ({ what }, response) => {
      if (what === 'POST create') sendJson(response, 403, { message: 'Permission denied' });
      return what === 'POST create';
    });
    expect(await resolve()).toMatchObject(blocked('or the right to create it'));
  });
});

describe('by id', () => {
  it('is checked once', async () => {
    const { resolve, experiments, counts } = await resolver({ id: '7' });
    experiments.push({ experiment_id: '7', name: 'x', lifecycle_stage: 'active' });
    await Promise.all([resolve(), resolve()]);
    expect(await resolve()).toEqual({ ok: true, id: '7' });
    expect(counts()).toEqual({ 'GET get': 1 });
  });

  it('does not exist: blocked, until it does', async () => {
    const { resolve, experiments, url } = await resolver({ id: '7' });
    expect(await resolve()).toEqual(blocked('experiment 7 does not exist there'));
    expect(await resolve()).toEqual(blocked(url));
    experiments.push({ experiment_id: '7', name: 'x', lifecycle_stage: 'active' });
    expect(await resolve()).toEqual({ ok: true, id: '7' });
  });

  it('is no id', async () => {
    const { resolve } = await resolver({ id: 'abc' }, (_, response) => {
      sendJson(response, 400, {
        error_code: 'INVALID_PARAMETER_VALUE',
        message: "Invalid experiment ID 'abc'.",
      });
      return true;
    });
    expect(await resolve()).toEqual(blocked("Invalid experiment ID 'abc'."));
  });

  it.each<[string, Parameters<typeof startUpstream>[0]]>([
    ['may not be read', (_, response) => (sendJson(response, 403, { message: 'Permission denied' }), true)],
    ['is behind a proxy that knows traces only', (_, response) => (sendHtml(response, 404), true)],
    ['is behind a login', (_, response) => (response.writeHead(302, { location: '/login' }).end(), true)],
  ])('%s: the answer to traces will tell', async (_, answer) => {
    const { resolve, counts } = await resolver({ id: '7' }, answer);
    expect(await resolve()).toEqual({ ok: true, id: '7' });
    await resolve();
    expect(counts()).toEqual({ 'GET get': 1 });
  });

  it('cannot be asked now: retry', async () => {
    const { resolve, stop } = await resolver({ id: '7' });
    await stop();
    expect(await resolve()).toEqual({
      ok: false,
      outcome: { kind: 'retry', reason: expect.stringContaining('nothing listens') },
    });
  });
});

it.each<ExperimentChoice>([{ id: '7' }, { name: 'traces' }])(
  '%o is deleted: blocked, until it is restored',
  async (choice) => {
    const { resolve, experiments } = await resolver(choice);
    experiments.push({ experiment_id: '7', name: 'traces', lifecycle_stage: 'deleted' });
    expect(await resolve()).toEqual(blocked('restore it, or configure another'));
    experiments[0]!.lifecycle_stage = 'active';
    expect(await resolve()).toEqual({ ok: true, id: '7' });
  },
);

describe.each<ExperimentChoice>([{ id: '7' }, { name: 'traces' }])(
  '%o, looked at again after a while',
  (choice) => {
    it('was deleted: blocked', async () => {
      const { resolve, experiments } = await resolver(choice, undefined, 0);
      experiments.push({ experiment_id: '7', name: 'traces', lifecycle_stage: 'active' });
      expect(await resolve()).toEqual({ ok: true, id: '7' });
      experiments[0]!.lifecycle_stage = 'deleted';
      expect(await resolve()).toEqual(blocked('is deleted in MLflow'));
    });

    it('asks for a pause: is given it, and the id is not forgotten', async () => {
      let isAsking = false;
      const answer: Parameters<typeof startUpstream>[0] = (_, response) => {
        if (isAsking) response.writeHead(503, { 'retry-after': '3' }).end();
        return isAsking;
      };
      const { resolve, experiments, stop } = await resolver(choice, answer, 0);
      experiments.push({ experiment_id: '7', name: 'traces', lifecycle_stage: 'active' });
      await resolve();
      isAsking = true;
      expect(await resolve()).toMatchObject({ ok: false, outcome: { kind: 'retry', after: 3000 } });
      await stop();
      expect(await resolve()).toEqual({ ok: true, id: '7' });
    });

    it('cannot be asked now: the id that is known is used', async () => {
      let isAway = false;
      const answer: Parameters<typeof startUpstream>[0] = (_, response) => {
        if (isAway) response.writeHead(503).end();
        return isAway;
      };
      const { resolve, forget, experiments } = await resolver(choice, answer, 0);
      experiments.push({ experiment_id: '7', name: 'traces', lifecycle_stage: 'active' });
      await resolve();
      isAway = true;
      expect(await resolve()).toEqual({ ok: true, id: '7' });
      forget();
      expect(await resolve()).toMatchObject({ ok: false, outcome: { kind: 'retry' } });
    });
  },
);

it('is read of an answer that is parsed once: a large one takes long', async () => {
  const text = JSON.stringify({
    experiment: { experiment_id: '7', name: 'traces' },
    more: 'x'.repeat(1_000),
  });
  const { resolve } = await resolver({ name: 'traces' }, (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(text);
    return true;
  });
  const parse = vi.spyOn(JSON, 'parse');
  try {
    expect(await resolve()).toEqual({ ok: true, id: '7' });
    expect(parse.mock.calls.filter(([parsed]) => parsed === text)).toHaveLength(1);
  } finally {
    parse.mockRestore();
  }
});
