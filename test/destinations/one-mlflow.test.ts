import { describe, expect, it } from 'vitest';
import { pairsAtOneMlflow } from '../../src/destinations/one-mlflow.ts';
import type { MlflowPlace } from '../../src/destinations/one-mlflow.ts';

const at = (url: string, name = 'traces', workspace?: string): MlflowPlace => ({
  url,
  experiment: { name },
  workspace,
});
const id = (url: string, experimentId: string): MlflowPlace => ({ url, experiment: { id: experimentId } });

const namesOf = (places: Record<string, MlflowPlace>) =>
  pairsAtOneMlflow(places).map(({ names }) => names.join(' '));

describe('destinations at one MLflow', () => {
  it.each<[string, MlflowPlace, MlflowPlace, boolean]>([
    ['two experiments', at('https://m/x'), at('https://m/x', 'other'), true],
    ['two ids', id('https://m', '1'), id('https://m', '2'), true],
    ['an id and a name', id('https://m', '1'), at('https://m'), true],
    ['two workspaces', at('https://m', 'traces', 'a'), at('https://m', 'traces', 'b'), true],
    ['a workspace and none', at('https://m', 'traces', 'a'), at('https://m'), true],
    ['one experiment, twice', at('https://m'), at('https://m'), false],
    ['one experiment of one workspace', at('https://m', 'x', 'a'), at('https://m', 'x', 'a'), false],
    ['two experiments of one workspace', at('https://m', 'x', 'a'), at('https://m', 'y', 'a'), true],
    ['two hosts', at('https://m'), at('https://n', 'other'), false],
    ['two ports', at('https://m:1'), at('https://m:2', 'other'), false],
    ['two base paths', at('https://m/a'), at('https://m/b', 'other'), false],
    ['two schemes', at('https://m'), at('http://m', 'other'), false],
    ['one address, written in two ways', at('https://M.test:443/a'), at('https://m.test/a//', 'other'), true],
    ['one address, with and without a slash', at('http://m'), at('http://m:80/', 'other'), true],
  ])('%s', (_, one, other, isPair) => {
    expect(namesOf({ one, other })).toEqual(isPair ? ['one other'] : []);
  });

  it('are told by twos, in their order', () => {
    const places = {
      c: at('https://m', '1'),
      a: at('https://n'),
      b: at('https://m', '2'),
      d: at('https://m', '1'),
    };
    expect(namesOf(places)).toEqual(['c b', 'b d']);
  });

  it.each([
    [
      undefined,
      /from 3\.18 on the one that comes later is refused .* before 3\.18 the spans .* in the experiment of the other/,
    ],
    [{ major: 3, minor: 17 }, /MLflow is 3\.17, so that the spans of the one that comes later are stored/],
    [{ major: 3, minor: 18 }, /MLflow is 3\.18, so that the one that comes later is refused the trace/],
    [{ major: 4, minor: 0 }, /MLflow is 4\.0, so that the one that comes later is refused the trace/],
    [{ major: 2, minor: 22 }, /MLflow is 2\.22, so that the spans/],
  ])('say what comes of it: %o', (version, words) => {
    const [pair] = pairsAtOneMlflow({ a: at('https://m?token=x', '1'), b: id('https://m', '2') });
    expect(pair?.words(version)).toMatch(words);
    expect(pair?.words(version)).toContain(
      'destinations a and b get the same traces and name experiment "1" and experiment 2 of one MLflow (https://m/), where a trace belongs to one experiment, if these are two: ',
    );
    expect(pair?.fix).toBe('leave one of them out, or give it an MLflow of its own');
  });

  it('of two workspaces are told that the answer hides it', () => {
    const [pair] = pairsAtOneMlflow({ a: at('https://m', 'x', 'a'), b: at('https://m', 'x', 'b') });
    expect(pair?.words({ major: 3, minor: 18 })).toContain(
      'the one that comes later has nothing stored, and the answer 200 all the same',
    );
  });
});
