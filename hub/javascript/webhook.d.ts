/** Verifies what a Runcast hub sends to a webhook, by Standard Webhooks. */

/** Do not trust the request: answer 400 or 401, and do nothing else. */
export class VerificationError extends Error {}

/** One of the three headers is missing, or makes no sense. */
export class BadHeader extends VerificationError {}

/** It was sent too long ago: perhaps somebody recorded it and plays it again. Or our clock is fast. */
export class TimestampTooOld extends VerificationError {}

/** It says that it was sent in the future: our clock is slow. */
export class TimestampTooNew extends VerificationError {}

/** Another secret, or a body that is not byte for byte what was sent. */
export class NoSignatureMatches extends VerificationError {}

export interface VerifyOptions {
  /** How far `webhook-timestamp` may be from now; 300 where it is left out. */
  toleranceSeconds?: number;
  /** Unix seconds; the time of day where it is left out. */
  now?: number;
}

export interface WebhookMessage {
  event: string;
  timestamp: string;
  webhook_id: string;
  event_id: string;
  position: number | null;
  data: Record<string, unknown>;
  replay?: string;
}

/**
 * The message, parsed, if it is genuine. Throws a `VerificationError`, and a `TypeError` for a body or a secret that is
 * none. `body` is what came in, before anything parses it. `secret` is the webhook's (`whsec_…` or any text), or its public
 * key (`whpk_…`); an array while you change from one to another.
 */
export function verify<Message = WebhookMessage>(
  body: string | ArrayBuffer | ArrayBufferView,
  headers: Headers | Record<string, string | string[] | undefined>,
  secret: string | readonly string[],
  options?: VerifyOptions,
): Promise<Message>;
