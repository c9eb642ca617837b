/** Runs one step and prints one line for it with the seconds that it took; on a terminal the time runs meanwhile. */
export function step<T>(title: string, work: () => Promise<T>): Promise<T>;
