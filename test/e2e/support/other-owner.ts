import { expect, inject } from 'vitest';
import { createMlflowClient } from '../../stack/mlflow-client.ts';
import type { MlflowClient, Permission } from '../../stack/mlflow-client.ts';
import type { Stack } from './stack.ts';
import { requestToken } from './token.ts';

/** As mlflow-oidc-auth knows the relay. */
export const ACCOUNT = 'service-account-relay';

export type OtherOwner = {
  /** MLflow as another account sees it; what that creates is nobody else's. */
  readonly mlflow: MlflowClient;
  /** Of the relay's account, which has been granted another permission before. */
  changePermission(experimentId: string, permission: Permission): Promise<void>;
};

/** @param account of the relay */
export function createOtherOwner(stack: Stack, account = ACCOUNT): OtherOwner {
  const token = () => requestToken(`${stack.issuer}/token`, inject('stack').otherClient);
  return {
    mlflow: createMlflowClient(stack.mlflowUrl, token),
    async changePermission(experimentId, permission) {
      const path = `/api/2.0/mlflow/permissions/users/${account}/experiments/${experimentId}`;
      const response = await fetch(stack.mlflowUrl + path, {
        method: 'PATCH',
        headers: { authorization: `Bearer ${await token()}`, 'content-type': 'application/json' },
        body: JSON.stringify({ permission }),
      });
      expect(response.status).toBe(200);
    },
  };
}
