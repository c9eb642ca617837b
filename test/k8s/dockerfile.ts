import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

export const PROJECT = resolve(import.meta.dirname, '../..');

export type Copy = { from?: string; sources: string[]; target: string };
export type Step =
  { kind: 'workdir'; path: string } | ({ kind: 'copy' } & Copy) | { kind: 'run'; command: string };

export type Stage = {
  base: string;
  name?: string;
  steps: Step[];
  env: Record<string, string>;
  user: string;
  entrypoint: string[];
  cmd: string[];
  exposed: number[];
};

/**
 * The stages of the Dockerfile. Knows the forms that stand in it and no others.
 * @throws Error that quotes a line in another form
 */
export async function readDockerfile(): Promise<Stage[]> {
  const text = await readFile(join(PROJECT, 'Dockerfile'), 'utf8');
  const stages: Stage[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, instruction = '', rest = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
    if (rest.endsWith('\\')) throw new Error(`not understood: ${line}`);
    if (instruction === 'FROM') {
      const [base = '', , name] = rest.split(' ');
      stages.push({
        base,
        ...(name !== undefined && { name }),
        steps: [],
        env: {},
        user: 'root',
        entrypoint: [],
        cmd: [],
        exposed: [],
      });
      continue;
    }
    const stage = stages.at(-1);
    if (stage === undefined || !add(stage, instruction, rest)) throw new Error(`not understood: ${line}`);
  }
  return stages;
}

function add(stage: Stage, instruction: string, rest: string): boolean {
  switch (instruction) {
    case 'WORKDIR':
      stage.steps.push({ kind: 'workdir', path: rest });
      return true;
    case 'RUN':
      stage.steps.push({ kind: 'run', command: rest });
      return true;
    case 'COPY': {
      const [, from, paths = ''] = /^(?:--from=(\S+) )?([^-].*)$/.exec(rest) ?? [];
      const sources = paths.split(' ');
      const target = sources.pop();
      if (target === undefined || sources.length === 0) return false;
      stage.steps.push({ kind: 'copy', ...(from !== undefined && { from }), sources, target });
      return true;
    }
    case 'ENV': {
      const [, name, value] = /^(\w+)=(\S+)$/.exec(rest) ?? [];
      if (name === undefined || value === undefined) return false;
      stage.env[name] = value;
      return true;
    }
    case 'USER':
      stage.user = rest;
      return true;
    case 'EXPOSE':
      stage.exposed = rest.split(' ').map(Number);
      return true;
    case 'ENTRYPOINT':
      stage.entrypoint = JSON.parse(rest) as string[];
      return true;
    case 'CMD':
      stage.cmd = JSON.parse(rest) as string[];
      return true;
    default:
      return false;
  }
}

/** Whether the build sees this path of the project: .dockerignore leaves all out but what it names. */
export async function isInBuildContext(path: string): Promise<boolean> {
  const lines = (await readFile(join(PROJECT, '.dockerignore'), 'utf8')).split('\n');
  const [first, ...rest] = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (first !== '*' || rest.some((line) => !/^![\w.-]+$/.test(line))) {
    throw new Error('expected .dockerignore to be a * and names behind a !');
  }
  return rest.includes(`!${path.split('/', 1)[0]}`);
}
