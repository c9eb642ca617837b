import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 collect young garbage when a tenth of its space is used, not eight. What the relay throws away is
 * mostly bodies of requests: they lie outside that space, about ten times as large as what stands for them within, and
 * their memory does not go back to the system. In a backlog a third of the memory was garbage.
 * Looked at by V8 each time it decides, in Node 22 and 24.
 */
export function collectEarly(): void {
  setFlagsFromString('--minor-gc-task-trigger=10');
}
