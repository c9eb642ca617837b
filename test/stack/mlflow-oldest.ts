import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureInstalled } from './install.ts';
import { StackError } from './processes.ts';
import { ensureVirtualEnvironment, pythonEnv } from './python.ts';
import type { PythonEnvironment } from './python.ts';

/* Versions of mlflow-oidc-auth from before and after it came to take traces by itself. */

/** The last that needs a patch. */
const LAST_TO_PATCH = 'mlflow-oidc-auth==6.7.1';

const ROUTER = `
    from mlflow.server.otel_api import otel_router

    oidc_app.include_router(otel_router)
`;
/** What people have changed in it, in their image or by files mounted over its own: the text after which it goes. */
const PATCHES = [
  { file: 'app.py', after: '    register_exception_handlers(oidc_app)\n', text: ROUTER },
  { file: 'middleware/auth_middleware.py', after: 'unprotected_prefixes = (', text: '"/v1/traces", ' },
];

/** The oldest mlflow-oidc-auth that takes traces with a bearer token as it is, with the oldest MLflow that it takes. */
export function ensureOldestPython(): Promise<PythonEnvironment> {
  return ensureVirtualEnvironment(join(import.meta.dirname, 'requirements-oldest.txt'), {
    what: 'the oldest MLflow',
    warmUp: 'import mlflow.server.fastapi_app',
  });
}

/**
 * The version before it, patched so that `/v1/traces` is there, open to everybody.
 * @returns a folder for PYTHONPATH, to go before what that Python has itself
 */
export async function ensurePatchedPlugin({ python, id }: PythonEnvironment): Promise<string> {
  const { directory } = await ensureInstalled({
    what: LAST_TO_PATCH,
    name: 'mlflow-oidc-auth-patched',
    inputs: [LAST_TO_PATCH, id, JSON.stringify(PATCHES)],
    async make(target, step) {
      // All that it needs is in the Python's own folder: the next version wants the same.
      const pip = ['-m', 'pip', 'install', '--disable-pip-version-check', '--quiet', '--no-deps'];
      if (!(await step(python, [...pip, '--target', target, LAST_TO_PATCH], { env: pythonEnv() }))) {
        throw new StackError(`${LAST_TO_PATCH} could not be installed from PyPI`);
      }
      for (const { file, after, text } of PATCHES)
        await insert(join(target, 'mlflow_oidc_auth', file), after, text);
    },
  });
  return directory;
}

async function insert(file: string, after: string, text: string): Promise<void> {
  const [before, behind, ...more] = (await readFile(file, 'utf8')).split(after);
  if (behind === undefined || more.length > 0) throw new StackError(`${file} is not as the patch expects`);
  await writeFile(file, before + after + text + behind);
}
