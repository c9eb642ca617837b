import { ensureCollector } from './collector.ts';
import { CACHE } from './install.ts';
import { ensureKeycloak } from './keycloak.ts';
import { ensureMariadb } from './mariadb.ts';
import { ensureNode } from './nodes.ts';
import { ensureOldestPython, ensurePatchedPlugin, ensureUnsignedPlugin } from './mlflow-oldest.ts';
import { ensureOauth2Proxy } from './oauth2-proxy.ts';
import { ensurePreviousMlflow, ensurePythonEnvironment } from './python.ts';
import { ensureAgent, ensureSdk } from './sdks.ts';
import type { SdkLanguage } from './sdks.ts';
import { runUntilStopped } from './stop-signals.ts';
import { ensureToxiproxy } from './toxiproxy.ts';

/*
 * Installs and builds what the end-to-end tests need, one after the other, while other tests run: started by CI in the
 * background. Whoever needs a thing waits for it, and tells what fails.
 */

const LANGUAGES: readonly SdkLanguage[] = ['go', 'javascript', 'java'];

await runUntilStopped('prefetch', async (signal) => {
  const steps: (() => Promise<unknown>)[] = [
    () => ensurePythonEnvironment(CACHE, { signal }),
    () => ensureNode(22, { signal }),
    () => ensureKeycloak({ signal }),
    () => ensureCollector({ signal }),
    () => ensureToxiproxy({ signal }),
    () => ensureOauth2Proxy({ signal }),
    () => ensureMariadb({ signal }),
    async () => ensurePatchedPlugin(await ensureOldestPython()),
    () => ensurePreviousMlflow(signal),
    async () => ensureUnsignedPlugin(await ensureOldestPython()),
    ...LANGUAGES.map((language) => () => ensureSdk(language, { signal })),
    () => ensureAgent('genai', { signal }),
  ];
  for (const step of steps) {
    if (signal.aborted) return;
    await step().catch(() => {});
  }
});
