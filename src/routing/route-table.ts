import type { RouteTarget } from '../otlp/record.ts';

/**
 * Decides on arrival where the spans of a sender go. Pure.
 * Without routes in the configuration there is one answer for all: every destination, its own experiment.
 */
export function createRouteTable(destinations: readonly string[]): (sender: string) => RouteTarget {
  const everything: RouteTarget = { name: 'default', destinations: [...destinations], variables: {} };
  return () => everything;
}
