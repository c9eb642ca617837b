import { defineConfig } from 'vitest/config';
import { isLong } from './test/fault/support/run.ts';

/** Tests of what is around the relay, with programs that are installed first or have to be there. */
const WITH_TOOLS = [
  'test/commands/completion-shells.test.ts',
  'test/fuzz/google*.test.ts',
  'test/k8s/*.test.ts',
  'test/package/*.test.ts',
  'test/stack/postgres.test.ts',
];

// unit: pure parts and rooms on real sockets and files; tools: manifests, image, package,
// shells and stack by their own tools; e2e: the built relay against real counterparts. Fault tests of the queue alone are
// units, those of the relay are end-to-end, and so are attacks on it; Google's parser, for the fuzzer, is a tool.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/e2e/**', 'test/fault/relay/**', 'test/hostile/relay.test.ts', ...WITH_TOOLS],
          sequence: { groupOrder: 0 },
          maxWorkers: 2,
          // A limit for what hangs, not a measure: machines are slow at times.
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'tools',
          include: WITH_TOOLS,
          sequence: { groupOrder: 1 },
          testTimeout: 120_000,
          hookTimeout: 1_000_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts', 'test/fault/relay/*.test.ts', 'test/hostile/relay.test.ts'],
          globalSetup: ['test/e2e/global-setup.ts'],
          // They wait for long; what long runs of fault tests measure, nothing else may disturb.
          maxWorkers: isLong ? 1 : 2,
          sequence: { groupOrder: 2 },
          testTimeout: 300_000,
          // Hooks install and build what is not in the cache yet.
          hookTimeout: 1_000_000,
        },
      },
    ],
  },
});
