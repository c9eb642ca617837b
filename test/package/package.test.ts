import { readFileSync, statSync } from 'node:fs';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { canHaveNode, ensureNode } from '../stack/nodes.ts';
import type { NodeMajor } from '../stack/nodes.ts';
import { startOidcProvider } from '../stack/oidc-provider.ts';
import type { OidcProvider } from '../stack/oidc-provider.ts';
import { COMMANDS, commandsByHelp } from './commands.ts';
import { declarationsFrom, dependenciesOf, exportsOf, filesBelow, sizeOf } from './contents.ts';
import { PROJECT, installGlobally, pack, run } from './npm.ts';
import { startUse } from './use.ts';
import type { Use } from './use.ts';

const NODES = ([22, 24] as const).filter((major) => !skipWithoutNode(major));
const CLIENT = { clientId: 'relay', secret: 'a-secret-of-the-relay', username: 'service-account-relay' };
/** What may lie about where a package is made, and is nobody else's business. */
const PRIVATE = {
  '.env': 'SECRET=1',
  '.npmrc': '',
  'relay.yaml': 'client_secret: 1',
  'config/client.key': 'key',
  'proto/notes.txt': 'notes',
  'src/client.pem': 'key',
};
const TOP = [
  'CHANGELOG.md',
  'LICENSE',
  'README.md',
  'config/keycloak-realm.json',
  'config/relay.schema.json',
  'config/relay.yaml',
  'package.json',
];

/** As in the support of end-to-end tests: in CI nothing is skipped. */
function skipWithoutNode(major: NodeMajor): boolean {
  if (canHaveNode(major) || process.env['CI'] !== undefined) return false;
  process.stderr.write(
    `skipped: to test the package with Node ${major} on this platform, run tests with it\n`,
  );
  return true;
}

describe.skipIf(NODES.length === 0)('the package', () => {
  let folder: string;
  let archive: string;
  let oidc: OidcProvider;
  const uses = new Map<NodeMajor, Use>();
  /** Of one installation; another Node installs the same. */
  let directory: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'relay-package-'));
    const [nodes] = await Promise.all([
      Promise.all(NODES.map(async (major) => ({ major, node: await ensureNode(major) }))),
      pack(folder, PRIVATE).then((path) => (archive = path)),
      startOidcProvider({ port: 0, services: [CLIENT] }).then((provider) => (oidc = provider)),
    ]);
    await Promise.all(
      nodes.map(async ({ major, node }) => {
        const installed = await installGlobally(node, archive, join(folder, String(major)));
        uses.set(major, await startUse(installed, oidc, CLIENT));
        directory = installed.directory;
      }),
    );
  });
  afterAll(async () => {
    await Promise.all([...uses.values()].map((use) => use.stop()));
    await oidc?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const inPackage = () => filesBelow(directory).filter((file) => !file.startsWith('node_modules/'));
  const testing = () => join(directory, 'dist/testing.d.ts');

  test('has the built relay, what it reads, and nothing else', () => {
    const built = filesBelow(join(PROJECT, 'src'))
      .filter((file) => file.endsWith('.ts'))
      .map((file) => `dist/${file.replace(/ts$/, 'js')}`);
    const proto = filesBelow(join(PROJECT, 'proto')).map((file) => `proto/${file}`);
    const types = [...declarationsFrom(testing())].map((file) => relative(directory, file));
    expect(inPackage()).toEqual([...TOP, ...built, ...proto, ...types].toSorted());
    const naming = built.filter((file) =>
      readFileSync(join(directory, file), 'utf8').includes('sourceMappingURL'),
    );
    expect(naming).toEqual([]);
  });

  test('needs no build tools: nothing in it is compiled or run when it is installed', () => {
    const dependencies = dependenciesOf(directory);
    expect(dependencies.length).toBeGreaterThan(10);
    const building = dependencies.filter(({ scripts }) =>
      ['preinstall', 'install', 'postinstall'].some((script) => script in scripts),
    );
    expect(building.map(({ name }) => name)).toEqual([]);
    const { scripts } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as {
      scripts: object;
    };
    expect(Object.keys(scripts).filter((script) => script.endsWith('install'))).toEqual([]);
    expect(filesBelow(directory).filter((file) => /(\.node|(^|\/)binding\.gyp)$/.test(file))).toEqual([]);
  });

  test('is as large as the README says', () => {
    const readme = readFileSync(join(PROJECT, 'README.md'), 'utf8');
    expect(readme.includes(`npm pack && npm install --global ./${basename(archive)}\n`)).toBe(true);
    const said =
      /the package is (?<packed>[\d.]+) MB, with its (?<others>\d+) dependencies it takes (?<all>[\d.]+) MB/.exec(
        readme,
      );
    const measured = {
      packed: statSync(archive).size / 1e6,
      others: dependenciesOf(directory).length,
      all: sizeOf(directory, filesBelow(directory)) / 1e6,
    };
    // What others release meanwhile changes it a little.
    const wrong = Object.entries(measured).filter(
      ([name, figure]) => !(Math.abs(figure / Number(said?.groups?.[name]) - 1) < 0.1),
    );
    expect(wrong).toEqual([]);
  });

  test('documents every name of the library', () => {
    const { names, undocumented } = exportsOf(testing());
    expect(names).toEqual(
      expect.arrayContaining(['injectTrace', 'injectTraces', 'InjectOptions', 'StoredSpan']),
    );
    expect(undocumented).toEqual([]);
  });

  test.each([
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ])('has types for modules %s, resolved as %s does', async (module, moduleResolution) => {
    const use = [...uses.values()][0]!;
    const at = await use.newProgram();
    await copyFile(join(import.meta.dirname, 'consumer.ts'), join(at, 'consumer.ts'));
    const compilerOptions = {
      target: 'es2024',
      module,
      moduleResolution,
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      noEmit: true,
      // It needs none, not even those of Node.
      types: [],
    };
    await writeFile(join(at, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }));
    const tsc = join(PROJECT, 'node_modules/typescript/bin/tsc');
    const compiled = await run([process.execPath, tsc, '--project', '.'], { cwd: at, env: process.env });
    expect(compiled).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test('every command says how it is used, and is tried here', async () => {
    const names = await commandsByHelp([...uses.values()][0]!);
    expect(names.length).toBeGreaterThan(10);
    expect(names.toSorted()).toEqual(Object.keys(COMMANDS).toSorted());
  });

  describe.concurrent.each(NODES)('on Node %s', (major) => {
    test.each(Object.entries(COMMANDS))('%s', async (_, tryIt) => {
      await expect(tryIt(uses.get(major)!)).resolves.toBeUndefined();
    });

    test('the library sends a trace', async () => {
      const { config, relayUrl, newProgram, module } = uses.get(major)!;
      const { code, stdout, stderr } = await module(
        await newProgram(),
        `import { injectTrace } from 'mlflow-trace-relay/testing';
        const options = ${JSON.stringify({ config, endpoint: relayUrl, wait: false })};
        console.log(JSON.stringify(await injectTrace(options)));`,
      );
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(JSON.parse(stdout)).toMatchObject({ outcome: 'sent', spans: 5 });
    });
  });
});
