#!/usr/bin/env node
// Only dynamic imports: what is imported statically would be parsed before the version is looked at.
import('./node-version.ts')
  .then(({ nodeProblem }) => {
    const problem = nodeProblem(process.versions.node);
    if (problem === undefined) return import('./cli.ts').then(({ cli }) => cli(process.argv));
    process.stderr.write(problem + '\n');
    process.exitCode = 1;
    return undefined;
  })
  .catch((error) => {
    process.stderr.write('error: ' + (error instanceof Error ? error.stack : error) + '\n');
    process.exitCode = 1;
  });
