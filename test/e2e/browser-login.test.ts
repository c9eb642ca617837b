import { randomBytes } from 'node:crypto';
import { describe, expect, inject, test } from 'vitest';
import { postedForm, startBrowser } from './support/browser.ts';
import { useSharedStack } from './support/stack.ts';

// What a person does who follows the address that the quickstart shows.
describe('logging in to MLflow with a browser', () => {
  test('leads by way of the provider to an MLflow that shows what the relay stored', async () => {
    const { mlflowUrl, issuer, person } = inject('stack');
    const stack = await useSharedStack();
    const experiment = `browser-${randomBytes(4).toString('hex')}`;
    const experimentId = await stack.mlflow.ensureExperiment(experiment);
    const browser = startBrowser();

    const form = await browser.open(mlflowUrl);
    expect(form.url).toMatch(`${issuer}/interaction/`);
    expect(form.body).toContain('name="password"');

    const back = await browser.open(form.url, postedForm({ email: person.email, password: person.password }));
    expect(back.status).toBe(200);
    expect(new URL(back.url).origin).toBe(mlflowUrl);

    const who = await browser.open(`${mlflowUrl}/api/2.0/mlflow/users/current`);
    expect(JSON.parse(who.body)).toMatchObject({ username: person.email, is_admin: true });
    const shown = await browser.open(
      `${mlflowUrl}/ajax-api/2.0/mlflow/experiments/get?experiment_id=${experimentId}`,
    );
    expect(JSON.parse(shown.body)).toMatchObject({ experiment: { name: experiment } });
    await stack.stop();
  });

  test('is refused with a wrong password, and then nothing is shown', async () => {
    const { mlflowUrl, issuer, person } = inject('stack');
    const browser = startBrowser();
    const form = await browser.open(mlflowUrl);

    const again = await browser.open(form.url, postedForm({ email: person.email, password: 'guessed' }));
    expect(again).toMatchObject({ status: 401, url: form.url });
    expect(again.body).toContain('do not match');

    const who = await browser.open(`${mlflowUrl}/api/2.0/mlflow/users/current`);
    expect(who.status === 401 || who.url.startsWith(`${issuer}/interaction/`)).toBe(true);
  });
});
