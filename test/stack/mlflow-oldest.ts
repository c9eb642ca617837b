import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureInstalled } from './install.ts';
import { StackError } from './processes.ts';
import { ensureVirtualEnvironment, pythonEnv } from './python.ts';
import type { PythonEnvironment } from './python.ts';

/* Versions of mlflow-oidc-auth from before and after it came to take traces by itself, and signed tokens alone. */

/** The last that needs a patch. */
const LAST_TO_PATCH = 'mlflow-oidc-auth==6.7.1';
/** The last that takes tokens without a signature (GHSA-g765-w658-6cr2), with an Authlib that does. */
const LAST_WITHOUT_SIGNATURE = 'mlflow-oidc-auth==7.12.1';

const ROUTER = `
    from mlflow.server.otel_api import otel_router

    oidc_app.include_router(otel_router)
`;
/** What people have changed in it, in their image or by files mounted over its own: the text after which it goes. */
const PATCHES = [
  { file: 'app.py', after: '    register_exception_handlers(oidc_app)\n', text: ROUTER },
  { file: 'middleware/auth_middleware.py', after: 'unprotected_prefixes = (', text: '"/v1/traces", ' },
];

/** The oldest mlflow-oidc-auth that a relay should stand before, with the oldest MLflow that it takes. */
export function ensureOldestPython(): Promise<PythonEnvironment> {
  return ensureVirtualEnvironment(join(import.meta.dirname, 'requirements-oldest.txt'), {
    what: 'the oldest MLflow',
    warmUp: 'import mlflow.server.fastapi_app',
  });
}

/**
 * A version before it, patched so that `/v1/traces` is there, open to everybody.
 * @returns a folder for PYTHONPATH, to go before what that Python has itself
 */
export function ensurePatchedPlugin(oldest: PythonEnvironment): Promise<string> {
  return ensurePlugin(LAST_TO_PATCH, oldest, { name: 'mlflow-oidc-auth-patched', patches: PATCHES });
}

/**
 * The version before it, which takes tokens that nobody has signed.
 * @returns a folder as above
 */
export function ensureUnsignedPlugin(oldest: PythonEnvironment): Promise<string> {
  return ensurePlugin(LAST_WITHOUT_SIGNATURE, oldest, { name: 'mlflow-oidc-auth-unsigned', patches: [] });
}

async function ensurePlugin(
  version: string,
  { python, id }: PythonEnvironment,
  { name, patches }: { name: string; patches: typeof PATCHES },
): Promise<string> {
  const { directory } = await ensureInstalled({
    what: version,
    name,
    inputs: [version, id, JSON.stringify(patches)],
    async make(target, step) {
      // All that it needs is in the Python's own folder: the oldest wants the same.
      const pip = ['-m', 'pip', 'install', '--disable-pip-version-check', '--quiet', '--no-deps'];
      if (!(await step(python, [...pip, '--target', target, version], { env: pythonEnv() }))) {
        throw new StackError(`${version} could not be installed from PyPI`);
      }
      for (const { file, after, text } of patches)
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
