import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';
import { ensureKubernetesTools } from './tools.ts';
import { PROJECT, isInBuildContext, readDockerfile } from './dockerfile.ts';
import type { Stage } from './dockerfile.ts';

let build: Stage;
let image: Stage;
let hadolint: string;
beforeAll(async () => {
  hadolint = join(dirname((await ensureKubernetesTools()).python), 'hadolint');
  [build, image] = (await readDockerfile()) as [Stage, Stage];
});

test('hadolint has no word against it', async () => {
  const { stdout } = await promisify(execFile)(hadolint, ['--no-color', join(PROJECT, 'Dockerfile')]);
  expect(stdout).toBe('');
});

test('builds with an exact Node, and runs that one without a shell', async () => {
  // The one that is also fetched for a machine whose own is too old.
  const fetched = await readFile(join(PROJECT, 'test/stack/node-packages.json'), 'utf8');
  const [, version] = /^node:(\d+\.\d+\.\d+)-/.exec(build.base) ?? [];
  expect(fetched).toContain(`"version": "${version}"`);
  expect(image.base).toMatch(/^gcr\.io\/distroless\/cc-/);
  expect(image.steps).toContainEqual({
    kind: 'copy',
    from: 'build',
    sources: ['/usr/local/bin/node'],
    target: '/usr/local/bin/node',
  });
  expect(image.steps.filter(({ kind }) => kind === 'run')).toEqual([]);
});

test('runs as a user in numbers that is not root, with a command in vector form', () => {
  expect(image.user).toMatch(/^[1-9]\d*:[1-9]\d*$/);
  expect(image.entrypoint[0]).toMatch(/^\//);
  expect(image.cmd.slice(0, 2)).toEqual(['run', '--config']);
});

test('has what the package has to run', async () => {
  const { files } = JSON.parse(await readFile(join(PROJECT, 'package.json'), 'utf8')) as { files: string[] };
  const copied = image.steps.flatMap((step) => (step.kind === 'copy' ? step.sources : []));
  const papers = new Set(['README.md', 'CHANGELOG.md']);
  const needed = [...new Set(files.map((file) => file.split('/', 1)[0]!))].filter(
    (name) => !papers.has(name),
  );
  expect(needed).toContain('dist');
  expect(needed.filter((name) => !copied.some((source) => source.endsWith(name)))).toEqual([]);
});

test('the build sees what it copies, and no secret, no queue and nothing installed', async () => {
  const seen = ['src/main.ts', 'package-lock.json', 'proto', 'config/relay.yaml'];
  const hidden = ['.git', '.cache', 'node_modules', 'data', 'k8s/overlays/example/client-secret', 'test'];
  const answers = await Promise.all([...seen, ...hidden].map(isInBuildContext));
  expect(answers).toEqual([...seen.map(() => true), ...hidden.map(() => false)]);
});
