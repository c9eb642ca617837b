import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { nodeProblem } from '../../src/node-version.ts';

test.each(['22.23.0', '22.23.1', '22.24.0', '23.0.0', '24.21.0', '100.0.0', '25.0.0-nightly20260101abc'])(
  'Node %s will do',
  (version) => {
    expect(nodeProblem(version)).toBeUndefined();
  },
);

test.each(['22.22.9', '22.9.0', '21.99.99', '20.20.2', '18.0.0', '8.17.0', '0.12.18', '20', ''])(
  'Node %s is too old, in one line that says what to do',
  (version) => {
    const problem = nodeProblem(version);
    expect(problem).toContain(`mlflow-trace-relay needs Node 22.23 or later; this is ${version}: install`);
    expect(problem).not.toContain('\n');
  },
);

test('asks for what package.json asks for', () => {
  const { engines } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    engines: { node: string };
  };
  const least = engines.node.replace('>=', '');
  expect(nodeProblem(least)).toBeUndefined();
  const [major, minor] = least.split('.').map(Number);
  expect(nodeProblem(`${major}.${Number(minor) - 1}.99`)).toContain(`Node ${major}.${minor} or later`);
});

test('is found before anything is imported that an old Node cannot read', () => {
  for (const file of ['main.ts', 'node-version.ts']) {
    const source = readFileSync(new URL(`../../src/${file}`, import.meta.url), 'utf8');
    expect(source).not.toMatch(/^import[\s{*'"]|\bfrom ['"]/m);
    // Syntax that Node 12 does not have, and that the compiler leaves as it is.
    expect(source).not.toMatch(/\?\?|\?\.|\|\|=|^\s*await |#[a-z]/m);
  }
});
