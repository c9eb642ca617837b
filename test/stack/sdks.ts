import { copyFile, readFile, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ensureInstalled } from './install.ts';
import type { Step } from './install.ts';
import { StackError } from './processes.ts';
import { ensureVirtualEnvironment } from './python.ts';
import { missingToolchain } from './toolchains.ts';
import type { Toolchain } from './toolchains.ts';

/*
 * Small programs that send a trace by the OpenTelemetry SDK of their language, each from a folder of sdks/ with
 * pinned dependencies. They are told nothing but OpenTelemetry's own variables, and print the spans that they send.
 */

const SOURCES = join(import.meta.dirname, 'sdks');

export type Program = { command: string; args: readonly string[] };

type Build = {
  needs: readonly Toolchain[];
  /** In the folder that the sources were copied to. */
  steps: readonly (readonly [string, ...string[]])[];
  program: (directory: string) => Program;
};

const BUILDS = {
  javascript: {
    needs: [],
    steps: [['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund']],
    program: (directory) => ({ command: process.execPath, args: [join(directory, 'send-trace.mjs')] }),
  },
  java: {
    needs: ['java', 'maven'],
    steps: [['mvn', '--batch-mode', '--quiet', 'compile', 'dependency:copy-dependencies']],
    program: (directory) => {
      const target = join(directory, 'target');
      const classpath = [join(target, 'classes'), join(target, 'dependency', '*')].join(':');
      // Without the compiler that pays off later only.
      return { command: 'java', args: ['-XX:TieredStopAtLevel=1', '-cp', classpath, 'SendTrace'] };
    },
  },
  go: {
    needs: ['go'],
    steps: [['go', 'build', '-mod=readonly', '-buildvcs=false', '-o', 'send-trace', '.']],
    program: (directory) => ({ command: join(directory, 'send-trace'), args: [] }),
  },
} as const satisfies Record<string, Build>;

export type SdkLanguage = keyof typeof BUILDS;

/** What has to be installed for the program of this language. */
export function toolchainsOf(language: SdkLanguage): readonly Toolchain[] {
  return BUILDS[language].needs;
}

/**
 * The program that sends a trace, built if it is not there yet.
 * @throws StackError in one line, where a toolchain is missing or the build fails
 */
export async function ensureSdk(
  language: SdkLanguage,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<Program> {
  const { needs, steps, program }: Build = BUILDS[language];
  const source = join(SOURCES, language);
  const files = (await readdir(source)).toSorted();
  const texts = await Promise.all(files.map((file) => readFile(join(source, file), 'utf8')));
  const what = `the ${language} program that sends a trace`;
  const recipe = {
    what,
    name: `sdk-${language}`,
    inputs: [...files, ...texts, ...steps.flat()],
    async make(directory: string, step: Step) {
      const missing = missingToolchain(...needs);
      if (missing !== undefined) throw new StackError(`${what} cannot be built: ${missing}`);
      for (const file of files) await copyFile(join(source, file), join(directory, file));
      for (const [command, ...args] of steps) {
        if (!(await step(command, args))) throw new StackError(`${what} could not be built`);
      }
    },
  };
  const { directory } = await ensureInstalled(recipe, { signal });
  return program(directory);
}

/** How an agent's language model calls are made into spans. */
export type AgentConvention = 'openinference' | 'genai';

/** What an agent loads, so that it is compiled once. */
const WARM_UP = [
  'import openai.resources.chat, openinference.instrumentation.openai',
  'import opentelemetry.instrumentation.genai.openai, opentelemetry.util.genai.handler',
  'import opentelemetry.distro, opentelemetry.exporter.otlp.proto.http.trace_exporter',
].join('; ');

/** The agent with that instrumentation, its packages installed if they are not there yet. */
export async function ensureAgent(
  convention: AgentConvention,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<Program> {
  const source = join(SOURCES, 'agents');
  const { python } = await ensureVirtualEnvironment(join(source, 'requirements.txt'), {
    what: 'the instrumented agent',
    warmUp: WARM_UP,
    signal,
  });
  const instrument = join(dirname(python), 'opentelemetry-instrument');
  // -B: no compiled files beside the sources.
  return { command: instrument, args: [python, '-B', join(source, `${convention}_agent.py`)] };
}
