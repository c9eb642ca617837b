import { readJsonObject, readMlflowError } from './mlflow-error.ts';
import type { AnswerText } from './mlflow-error.ts';
import type { TraceId } from '../otlp/record.ts';

/* What MLflow says of whole traces, whatever is in their spans (store/tracking/sqlalchemy_store.py, log_spans). Pure. */

export type TraceRefusal = {
  /**
   * Those that MLflow names; none where it names none. Of the traces of another experiment (MLflow 3.18) it names the
   * first by id, of the archived and the deleted (MLflow 3.13) all, of which the answer may have been read in part.
   */
  readonly traces: readonly TraceId[];
  /** Why it is so, and what to do, for people. */
  readonly advice: string;
};

/**
 * The codes that MLflow uses for them, and what it begins with. Only the beginning is MLflow's own: further on, other
 * errors quote what users wrote.
 */
const ABOUT_TRACES =
  /^(?:INVALID_PARAMETER_VALUE|INVALID_STATE|RESOURCE_DOES_NOT_EXIST|RESOURCE_ALREADY_EXISTS): (?:Trace with ID '?tr-[0-9a-f]{32}\b|Cannot log spans (?:to|because) (?:[\w-]+ ){0,6}traces\b)/;

/** As MLflow writes one: its own prefix, and the 16 bytes in hex. */
const NAMED = /\btr-([0-9a-f]{32})\b/g;

const KINDS = [
  {
    words: /already exists in another experiment/,
    advice:
      'from MLflow 3.18 on a trace belongs to the experiment that its first span was sent to, which MLflow shows with the trace, and takes no span of it for another: see that each trace goes to one experiment only; discard this, or replay it once this destination names the experiment of its trace',
  },
  {
    words: /Cannot log spans to archived traces/,
    advice:
      'MLflow has archived this trace, and takes no more spans of it: if they come late, let it keep traces for longer (trace_archival.retention), and discard this',
  },
  {
    words: /no longer exist/,
    advice:
      'this trace was deleted at MLflow while the spans came: discard this, or replay it to have them there as a new trace',
  },
] as const;

const OTHER = 'MLflow takes no span of this trace now: look at the trace there, then replay or discard this';

/** Undefined unless the error is about traces as such. The experiment and all other traces may be well. */
export function readTraceRefusal(answer: AnswerText): TraceRefusal | undefined {
  const error = readMlflowError(answer);
  if (error === undefined || !ABOUT_TRACES.test(error.message)) return undefined;
  const message = String(readJsonObject(answer)?.['message']);
  const traces = [...new Set([...message.matchAll(NAMED)].map(([, id]) => id as TraceId))];
  return { traces, advice: KINDS.find(({ words }) => words.test(error.message))?.advice ?? OTHER };
}
