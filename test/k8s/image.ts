import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { copyFile, cp, mkdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { PROJECT, isInBuildContext, readDockerfile } from './dockerfile.ts';
import type { Copy, Stage } from './dockerfile.ts';

/** The file system and settings of the last stage, without what its base image brings. */
export type Image = { root: string } & Pick<Stage, 'env' | 'user' | 'entrypoint' | 'cmd'>;

/**
 * Goes through the Dockerfile as a builder does, where there is none: a stage is a folder, RUN is a shell in it, COPY
 * copies. The Node of the base image is the one that runs this; the other stage's base is left empty.
 */
export async function buildImage(directory: string): Promise<Image> {
  const stages = await readDockerfile();
  const roots = new Map<string, string>();
  let last: { stage: Stage; root: string } | undefined;
  for (const [index, stage] of stages.entries()) {
    const root = join(directory, String(index));
    await mkdir(root);
    if (stage.base.startsWith('node:')) {
      await mkdir(join(root, 'usr/local/bin'), { recursive: true });
      await copyFile(process.execPath, join(root, 'usr/local/bin/node'), constants.COPYFILE_FICLONE);
    }
    await runSteps(stage, root, roots);
    if (stage.name !== undefined) roots.set(stage.name, root);
    last = { stage, root };
  }
  if (last === undefined) throw new Error('the Dockerfile has no stage');
  const { env, user, entrypoint, cmd } = last.stage;
  return { root: last.root, env, user, entrypoint, cmd };
}

async function runSteps(stage: Stage, root: string, roots: ReadonlyMap<string, string>): Promise<void> {
  let workdir = '/';
  for (const step of stage.steps) {
    if (step.kind === 'workdir') {
      workdir = resolve(workdir, step.path);
      await mkdir(join(root, workdir), { recursive: true });
    } else if (step.kind === 'copy') {
      await copy(step, root, workdir, roots);
    } else {
      const path = `${dirname(process.execPath)}:${process.env['PATH']}`;
      await promisify(execFile)('sh', ['-c', step.command], {
        cwd: join(root, workdir),
        env: { PATH: path, HOME: process.env['HOME'], ...proxySettings(), ...stage.env },
        timeout: 10 * 60_000,
        maxBuffer: 64 * 1024 * 1024,
      });
    }
  }
}

async function copy(
  { from, sources, target }: Copy,
  root: string,
  workdir: string,
  roots: ReadonlyMap<string, string>,
): Promise<void> {
  for (const source of sources) {
    const origin = from === undefined ? PROJECT : roots.get(from);
    if (origin === undefined) throw new Error(`there is no stage ${from}`);
    if (from === undefined && !(await isInBuildContext(source))) {
      throw new Error(`.dockerignore hides ${source}, which the Dockerfile copies`);
    }
    const what = join(origin, source);
    const isFile = (await stat(what)).isFile();
    // Of a folder COPY takes the content.
    const into = join(root, resolve(workdir, target), isFile && target.endsWith('/') ? basename(source) : '');
    await mkdir(dirname(into), { recursive: true });
    await cp(what, into, { recursive: true, mode: constants.COPYFILE_FICLONE, verbatimSymlinks: true });
  }
}

/** How npm reaches its registry from here. */
function proxySettings(): NodeJS.ProcessEnv {
  const names = Object.keys(process.env).filter((name) =>
    /^(https?_proxy|no_proxy|npm_config_.*|node_extra_ca_certs|ssl_cert_file)$/i.test(name),
  );
  return Object.fromEntries(names.map((name) => [name, process.env[name]])) as NodeJS.ProcessEnv;
}
