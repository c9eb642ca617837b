// Plain JavaScript that any Node since 18 reads: it finds the Node that the project needs, installs the
// dependencies, and goes on with one of
//
//   node test/stack/bootstrap.mjs quickstart | bench | bench:mlflow | bench:log [options]
//   node test/stack/bootstrap.mjs prefetch                 installs what end-to-end tests need
//   node test/stack/bootstrap.mjs test [options of vitest]
//   node test/stack/bootstrap.mjs test:fault [options]     the fault tests in their long form
//   node test/stack/bootstrap.mjs test:fuzz | test:hostile [options]
//   node test/stack/bootstrap.mjs npm <arguments>          npm itself, with that Node first on the PATH
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { step } from './progress.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const CACHE = join(ROOT, '.cache');
const MIN_NODE = [22, 23];

const SCRIPTS = {
  quickstart: 'test/stack/quickstart.ts',
  bench: 'test/bench/cost.ts',
  'bench:mlflow': 'test/bench/mlflow.ts',
  'bench:log': 'test/bench/log.ts',
  'test:fuzz': 'test/fuzz/main.ts',
  'test:hostile': 'test/hostile/main.ts',
  prefetch: 'test/stack/prefetch.ts',
};

/** What a person is told in one line. */
class Problem extends Error {}

const [task = '', ...rest] = process.argv.slice(2);
const args = rest[0] === '--' ? rest.slice(1) : rest;

/** Signals are passed on to them, and to their own children. */
const children = new Set();
let signalled;
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(name, () => {
    // A Ctrl-C comes from the terminal and once more from npm.
    if (signalled === name) return;
    signalled = name;
    for (const child of children) signalGroup(child, name);
  });
}

try {
  process.exitCode = await main();
} catch (error) {
  if (signalled !== undefined) {
    process.exitCode = 128 + constants.signals[signalled];
  } else if (error instanceof Problem) {
    process.stderr.write(`\n${error.message}\n`);
    process.exitCode = 1;
  } else {
    throw error;
  }
} finally {
  for (const child of children) signalGroup(child, 'SIGTERM');
}

async function main() {
  mkdirSync(CACHE, { recursive: true });
  const node = isNodeGood(process.versions.node) ? process.execPath : await fetchNode();
  const isHelp = args.includes('--help') || args.includes('-h');

  if (task === 'npm') {
    await installDependencies(node);
    return run(npm(node), args, node, { stdio: 'inherit' });
  }
  if (task === 'test' || task === 'test:fault') {
    const isFault = task === 'test:fault';
    if (isFault) process.env.FAULT_RUNS = 'long';
    await prepare(node);
    const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
    const chosen = [
      ...(isFault ? ['test/fault/', '--disable-console-intercept'] : []),
      ...(await chosenTests(node)),
    ];
    return run([node, vitest], ['run', ...chosen, ...args], node, {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  }
  const script = SCRIPTS[task];
  if (script !== undefined) {
    await (isHelp || task === 'prefetch' ? installDependencies(node) : prepare(node));
    const command = [node, '--disable-warning=ExperimentalWarning', join(ROOT, script)];
    // The channel tells it when this process is gone.
    return run(command, args, node, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  }
  const tasks = Object.keys(SCRIPTS).join(' | ');
  throw new Problem(`usage: node test/stack/bootstrap.mjs ${tasks} | test | test:fault | npm [arguments]`);
}

/** Without Python, the tests that need no MLflow; where CI is set, all of them, to fail there. */
async function chosenTests(node) {
  if (process.env.CI || args.some((arg) => arg.startsWith('--project'))) return [];
  const look =
    "import { MISSING_PYTHON, findPython } from './test/stack/python.ts';" +
    'if (!(await findPython())) { process.stdout.write(MISSING_PYTHON); process.exitCode = 2; }';
  const command = [node, '--disable-warning=ExperimentalWarning', '--input-type=module'];
  let words = '';
  const code = await run(command, ['--eval', look], node, {
    stdio: ['ignore', 'pipe', 'pipe'],
    onOutput: (chunk) => (words += chunk),
  });
  if (code === 0) return [];
  process.stdout.write(`\nThe end-to-end tests are skipped: ${words.trim()}\n`);
  return ['--project', 'unit'];
}

async function prepare(node) {
  if (!isInstalled()) prefetchPython(node);
  await installDependencies(node);
  if (task === 'quickstart' && isBuilt()) return;
  await step('build', () => logged('build', npm(node), ['run', 'build'], node, 'The build failed'));
}

/** Begins with what takes longest. Whoever needs it waits for it, and tells what fails. */
function prefetchPython(node) {
  const code = `import { ensurePythonEnvironment } from './test/stack/python.ts'; await ensurePythonEnvironment(${JSON.stringify(CACHE)})`;
  run([node, '--input-type=module'], ['--eval', code], node, { stdio: 'ignore' }).catch(() => {});
}

function isBuilt() {
  try {
    const built = statSync(join(ROOT, 'dist/main.js')).mtimeMs;
    const sources = readdirSync(join(ROOT, 'src'), { recursive: true }).map((file) => join('src', file));
    return sources
      .concat('tsconfig.json', 'package-lock.json')
      .every((file) => statSync(join(ROOT, file)).mtimeMs < built);
  } catch {
    return false;
  }
}

/** The path of a Node that is new enough, from npm, kept in .cache. */
async function fetchNode() {
  // Bare binaries in npm packages without an install script. Which there are differs between platforms.
  const packages = JSON.parse(readFileSync(join(ROOT, 'test/stack/node-packages.json'), 'utf8'));
  const platform = `${process.platform}-${process.arch}`;
  const wanted = packages[24][platform] ?? packages[22][platform];
  const advice = `Node ${MIN_NODE.join('.')} or later is needed, and this is ${process.versions.node}; install Node 24`;
  if (wanted === undefined) throw new Problem(`${advice}.`);
  const { name, version, integrity } = wanted;
  const prefix = join(CACHE, `node-${version}`);
  const node = join(prefix, 'node_modules', name, 'bin/node');
  const stamp = join(prefix, 'complete');
  if (existsSync(stamp)) return node;

  await step(`Node ${version}, as this one is ${process.versions.node}`, async () => {
    rmSync(prefix, { recursive: true, force: true });
    mkdirSync(prefix, { recursive: true });
    writeFileSync(join(prefix, 'package.json'), '{"private":true}\n');
    const install = [
      'install',
      '--prefix',
      prefix,
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      `${name}@${version}`,
    ];
    const failure = `${advice}. Fetching it from npm failed`;
    await logged('node', npm(process.execPath), install, process.execPath, failure);
    const lock = JSON.parse(readFileSync(join(prefix, 'package-lock.json'), 'utf8'));
    if (lock.packages[`node_modules/${name}`]?.integrity !== integrity) {
      throw new Problem(`${advice}. What npm gave for ${name}@${version} is not what was expected.`);
    }
    await logged('node', [node], ['--version'], node, `${advice}. The one from npm does not run here`);
    writeFileSync(stamp, '');
  });
  return node;
}

/** `npm ci`, unless exactly what the lockfile says is there. */
async function installDependencies(node) {
  if (isInstalled()) return;
  const install = ['ci', '--ignore-scripts', '--no-audit', '--no-fund'];
  await step('dependencies from npm', () =>
    logged('npm', npm(node), install, node, 'The dependencies could not be installed'),
  );
}

/** npm writes its own list last, so a half-made node_modules has none. */
function isInstalled() {
  try {
    const packages = (file) => JSON.parse(readFileSync(join(ROOT, file), 'utf8')).packages;
    const installed = packages('node_modules/.package-lock.json');
    // Optional ones are for other platforms.
    return Object.entries(packages('package-lock.json')).every(
      ([path, { version, optional }]) => path === '' || optional || installed[path]?.version === version,
    );
  } catch {
    return false;
  }
}

/** How npm is called: the one that runs this script, if it is npm, with the given Node. */
function npm(node) {
  const cli = process.env.npm_execpath;
  return cli !== undefined && basename(cli) === 'npm-cli.js' ? [node, cli] : ['npm'];
}

/** Runs a step whose output goes to a file that is named when it fails. */
async function logged(log, command, commandArgs, node, failure) {
  const file = join(CACHE, `${log}.log`);
  writeFileSync(file, '');
  const code = await run(command, commandArgs, node, {
    stdio: ['ignore', 'pipe', 'pipe'],
    onOutput: (chunk) => appendFileSync(file, chunk),
  });
  if (code !== 0) throw new Problem(`${failure}: see ${file}`);
}

/** In a session of its own, so that a Ctrl-C reaches it once, from here. Resolves with its exit code. */
function run([command, ...first], commandArgs, node, { stdio, onOutput }) {
  if (signalled !== undefined) return Promise.reject(new Problem('interrupted'));
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...first, ...commandArgs], {
      cwd: ROOT,
      env: { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` },
      stdio,
      detached: true,
    });
    children.add(child);
    if (onOutput !== undefined) {
      child.stdout.on('data', onOutput);
      child.stderr.on('data', onOutput);
    }
    child.once('error', (error) => {
      children.delete(child);
      reject(new Problem(`${command} cannot be started: ${error.message}`));
    });
    child.once('close', (code, signal) => {
      children.delete(child);
      if (code === null) resolve(128 + constants.signals[signal]);
      else resolve(code);
    });
  });
}

function signalGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended.
  }
}

function isNodeGood(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major >= 24 || (major === MIN_NODE[0] && minor >= MIN_NODE[1]);
}
