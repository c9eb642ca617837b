import type { Attack, Form } from '../attack.ts';
import { adminPortAttacks } from './admin-port.ts';
import { badSpansAttacks } from './bad-spans.ts';
import { bodiesInPiecesAttacks } from './bodies-in-pieces.ts';
import { emptySpansAttacks } from './empty-spans.ts';
import { idleConnectionsAttacks } from './idle-connections.ts';
import { largeJsonAttacks } from './large-json.ts';
import { largeResourceAttacks } from './large-resource.ts';
import { allAtOnceAttacks } from './all-at-once.ts';
import { manyTracesAttacks, oneTraceAttacks } from './many-traces.ts';
import { pipelinedRequestsAttacks } from './pipelined-requests.ts';
import { unfinishedBodiesAttacks } from './unfinished-bodies.ts';

/** By the word that chooses them: `npm run test:hostile -- --only many-traces`. */
export const ATTACKS: Readonly<Record<string, (form: Form) => Attack[]>> = {
  'many-traces': manyTracesAttacks,
  'large-resource': largeResourceAttacks,
  'bad-spans': badSpansAttacks,
  'bodies-in-pieces': bodiesInPiecesAttacks,
  'empty-spans': emptySpansAttacks,
  'unfinished-bodies': unfinishedBodiesAttacks,
  'idle-connections': idleConnectionsAttacks,
  'one-trace': oneTraceAttacks,
  'large-json': largeJsonAttacks,
  'admin-port': adminPortAttacks,
  'pipelined-requests': pipelinedRequestsAttacks,
  'all-at-once': allAtOnceAttacks,
};
