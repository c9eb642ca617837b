import { bareUrl } from '../network-words.ts';
import { experimentWords } from './experiment-words.ts';
import type { ExperimentChoice } from './experiment-words.ts';

/* Destinations that get the same traces and name one MLflow, which keeps each trace in one place. Pure. */

export type MlflowPlace = {
  readonly url: string;
  readonly workspace?: string | undefined;
  readonly experiment: ExperimentChoice;
};

export type MlflowVersion = { readonly major: number; readonly minor: number };

/** Two of them: of each trace only the one that comes first has it. */
export type Pair = {
  /** As in the configuration, in its order. */
  readonly names: readonly [string, string];
  /** What is wrong; a clause about both. */
  words(version?: MlflowVersion): string;
  readonly fix: string;
};

/** The first that keeps each trace in one experiment. */
const STRICT = { major: 3, minor: 18 } as const;

const REFUSED = 'the one that comes later is refused the trace, which becomes a dead letter there';
const MISPLACED =
  'the spans of the one that comes later are stored in the experiment of the other, with the answer 200';

/** Each two destinations that name one MLflow, and not the same experiment of it. */
export function pairsAtOneMlflow(places: Readonly<Record<string, MlflowPlace>>): Pair[] {
  const entries = Object.entries(places);
  return entries.flatMap(([first, one], index) =>
    entries.slice(index + 1).flatMap(([second, other]) => pairOf([first, second], one, other) ?? []),
  );
}

function pairOf(names: Pair['names'], one: MlflowPlace, other: MlflowPlace): Pair | undefined {
  const base = baseOf(one);
  if (base !== baseOf(other)) return undefined;
  const both = `destinations ${names.join(' and ')} get the same traces and name`;
  const fix = `leave one of them out, or give it an MLflow of its own`;
  if (one.workspace !== other.workspace) {
    const words = `${both} two workspaces of one MLflow (${bareUrl(base)}), where a trace id is in one workspace only: of a request with such a trace, the one that comes later has nothing stored, and the answer 200 all the same`;
    return { names, words: () => words, fix };
  }
  const [mine, theirs] = [one, other].map(({ experiment }) => experimentWords(experiment));
  if (mine === theirs) return undefined;
  // A name may be that of the other's id, which only MLflow knows.
  const isSure = 'id' in one.experiment === 'id' in other.experiment;
  const places = `${mine} and ${theirs} of one MLflow (${bareUrl(base)}), where a trace belongs to one experiment${isSure ? '' : ', if these are two'}`;
  return { names, words: (version) => `${both} ${places}: ${consequence(version)}`, fix };
}

function consequence(version: MlflowVersion | undefined): string {
  if (version === undefined) return `from 3.18 on ${REFUSED}; before 3.18 ${MISPLACED}`;
  const { major, minor } = version;
  const isStrict = major > STRICT.major || (major === STRICT.major && minor >= STRICT.minor);
  return `MLflow is ${major}.${minor}, so that ${isStrict ? REFUSED : MISPLACED}`;
}

/** Without what makes no difference: the scheme's own port, letters of the host, slashes at the end. */
function baseOf({ url }: MlflowPlace): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname.replace(/\/*$/, '/')}`;
}
