// Read by Node versions that the rest cannot run on: syntax of 2020, and no imports.

/** What `engines` in package.json says; a test holds the two together. */
const LEAST = [22, 23, 0];

/** One line about a Node that is too old, by its `process.versions.node`; undefined where it will do. */
export function nodeProblem(version: string): string | undefined {
  const parts = version.split('.').map(Number);
  for (let i = 0; i < LEAST.length; i++) {
    const difference = (parts[i] || 0) - (LEAST[i] || 0);
    if (difference > 0) return undefined;
    if (difference < 0) {
      return (
        'mlflow-trace-relay needs Node ' +
        LEAST[0] +
        '.' +
        LEAST[1] +
        ' or later; this is ' +
        version +
        ': install Node 24 or 22 (https://nodejs.org)'
      );
    }
  }
  return undefined;
}
