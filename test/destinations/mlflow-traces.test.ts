import { describe, expect, it } from 'vitest';
import type { SendOutcome } from '../../src/destinations/destination.ts';
import { LARGEST_ERROR } from '../../src/destinations/answer-body.ts';
import { readTracesAnswer } from '../../src/destinations/mlflow-answers.ts';
import { asked, detail, mlflow, text } from './answers.ts';

/* What is said of whole traces, in the words of MLflow 3.13 to 3.18 (store/tracking/sqlalchemy_store.py, log_spans). */

const idOf = (number: number) => number.toString(16).padStart(32, '0');
const listOf = (numbers: readonly number[]) => numbers.map((number) => `'tr-${idOf(number)}'`).join(', ');

const FOREIGN = `Trace with ID 'tr-${idOf(1)}' already exists in another experiment.`;

describe('a refusal of traces', () => {
  it.each<[string, number, SendOutcome, number[], string]>([
    [
      'of another experiment',
      400,
      mlflow(400, 'INVALID_PARAMETER_VALUE', FOREIGN),
      [1],
      `(INVALID_PARAMETER_VALUE: ${FOREIGN}): from MLflow 3.18 on a trace belongs to the experiment`,
    ],
    [
      'archived',
      500,
      mlflow(500, 'INVALID_STATE', `Cannot log spans to archived traces: ${listOf([2, 1])}.`),
      [2, 1],
      'MLflow has archived this trace',
    ],
    [
      'deleted meanwhile',
      404,
      mlflow(
        404,
        'RESOURCE_DOES_NOT_EXIST',
        `Cannot log spans to traces that no longer exist: ${listOf([3])}.`,
      ),
      [3],
      'this trace was deleted at MLflow',
    ],
    [
      'of several kinds',
      500,
      mlflow(
        500,
        'INVALID_STATE',
        `Cannot log spans because one or more traces are unavailable for DB-backed span writes: archived=${listOf([1])}; other=${listOf([2])}; missing=${listOf([3, 1])}`,
      ),
      [1, 2, 3],
      'MLflow takes no span of this trace now',
    ],
    [
      'of several kinds, none of which is to be seen any more',
      500,
      mlflow(
        500,
        'INVALID_STATE',
        'Cannot log spans because one or more traces are unavailable for DB-backed span writes.',
      ),
      [],
      'MLflow takes no span of this trace now',
    ],
    [
      'in other words about one',
      404,
      mlflow(404, 'RESOURCE_DOES_NOT_EXIST', `Trace with ID 'tr-${idOf(5)}' no longer exists.`),
      [5],
      'this trace was deleted at MLflow',
    ],
    [
      'in yet other words about one',
      400,
      mlflow(400, 'RESOURCE_ALREADY_EXISTS', `Trace with ID tr-${idOf(5)} is taken`),
      [5],
      'MLflow takes no span of this trace now',
    ],
  ])('%s', (_, status, outcome, traces, words) => {
    expect(outcome).toEqual({
      kind: 'refused',
      status,
      reason: expect.stringContaining(words) as string,
      traces: traces.map((number) => idOf(number)),
    });
  });

  it('names those that stand whole in what is read of a long answer', () => {
    const numbers = Array.from({ length: 1000 }, (_, index) => index);
    const message = `Cannot log spans to archived traces: ${listOf(numbers)}.`;
    const body = Buffer.from(JSON.stringify({ error_code: 'INVALID_STATE', message }));
    for (let cut = LARGEST_ERROR - 40; cut <= LARGEST_ERROR; cut++) {
      const beginning = body.subarray(0, cut);
      const answer = { kind: 'answer', status: 500, contentType: 'application/json', isCut: true } as const;
      const outcome = readTracesAnswer(
        { ...answer, location: undefined, retryAfter: undefined, body: beginning },
        asked,
      );
      const said = beginning
        .toString()
        .split("'tr-")
        .slice(1)
        .filter((id) => /^[0-9a-f]{32}/.test(id)).length;
      expect(said).toBeGreaterThan(400);
      expect(outcome).toMatchObject({ kind: 'refused', traces: numbers.slice(0, said).map(idOf) });
    }
  });
});

describe('no refusal of traces', () => {
  it.each<[string, SendOutcome, SendOutcome['kind']]>([
    ['the experiment', mlflow(404, 'RESOURCE_DOES_NOT_EXIST', 'No Experiment with id=999 exists'), 'blocked'],
    ['who quotes it', mlflow(400, 'INVALID_PARAMETER_VALUE', `Invalid value "${FOREIGN}"`), 'refused'],
    ['who quotes it as text', text(400, FOREIGN), 'refused'],
    ['who quotes it in a detail', detail(422, FOREIGN), 'refused'],
    ['a trace without an id', mlflow(400, 'INVALID_PARAMETER_VALUE', 'Trace with ID x is bad'), 'refused'],
    ['another state', mlflow(500, 'INVALID_STATE', 'Cannot log spans today'), 'refused'],
    ['a lock', mlflow(409, 'RESOURCE_CONFLICT', FOREIGN), 'retry'],
    ['passing', mlflow(503, 'TEMPORARILY_UNAVAILABLE', FOREIGN), 'retry'],
  ])('%s', (_, outcome, kind) => {
    expect(outcome.kind).toBe(kind);
    expect(outcome).not.toHaveProperty('traces');
  });
});
