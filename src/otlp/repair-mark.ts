/** The attribute that says what the relay did to a span, or to a resource or scope: `what: where, where; …`. */
export const REPAIR_MARK = 'relay.repaired';
