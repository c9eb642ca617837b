import { expect, test } from 'vitest';
import { closest } from '../../src/config/closest.ts';

const known = ['listen', 'tls', 'plaintext', 'allowed_clients', 'max_request_body_size'];

test.each([
  ['lisen', 'listen'],
  ['lsiten', 'listen'],
  ['Listen', 'listen'],
  ['tsl', 'tls'],
  ['allowed-clients', 'allowed_clients'],
  ['allowed_client', 'allowed_clients'],
  ['max_body_size', undefined],
  ['max_reqest_body_sise', 'max_request_body_size'],
  ['experiment', undefined],
  ['x', undefined],
  ['', undefined],
  ['l'.repeat(100_000), undefined],
])('%.40s: %s was meant', (word, meant) => {
  expect(closest(word, known)).toBe(meant);
});
