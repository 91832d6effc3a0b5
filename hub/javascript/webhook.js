/**
 * For receivers of webhooks: is this request from who it says, and from now? One module, without dependencies and
 * without a build, for Node 20 and newer, browsers, Deno and workers: whatever has WebCrypto.
 *
 * It follows Standard Webhooks (https://www.standardwebhooks.com), as a Runcast hub does, and does what
 * webhooks/verification.py does, under the same names.
 */

/** Do not trust the request: answer 400 or 401, and do nothing else. It shows nothing of a secret. */
export class VerificationError extends Error {
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/** One of the three headers is missing, or makes no sense. */
export class BadHeader extends VerificationError {}

/** It was sent too long ago: perhaps somebody recorded it and plays it again. Or our clock is fast. */
export class TimestampTooOld extends VerificationError {}

/** It says that it was sent in the future: our clock is slow. */
export class TimestampTooNew extends VerificationError {}

/** Another secret, or a body that is not byte for byte what was sent (parsed, perhaps, and written again). */
export class NoSignatureMatches extends VerificationError {}

const NAMES = ["webhook-id", "webhook-timestamp", "webhook-signature"];
const encoder = new TextEncoder();

/**
 * The message, parsed, if it is genuine. Throws a `VerificationError`, and a `TypeError` for a body or a secret that is
 * none.
 *
 * `body` is what came in, before anything parses it: text or bytes. `headers` are a `Headers`, or an object with names
 * in any case. `secret` is what the webhook was created with (`whsec_…` or any text), or its public key (`whpk_…`); an
 * array while you change from one to another, of which one has to match. `now` is Unix seconds.
 */
export async function verify(body, headers, secret, { toleranceSeconds = 300, now = Date.now() / 1000 } = {}) {
  const bytes = bytesOf(body);
  const [id, timestamp, signature] = NAMES.map((name) => headerOf(headers, name));
  checkTime(timestamp, toleranceSeconds, now);
  const head = encoder.encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array(head.length + bytes.length);
  signed.set(head);
  signed.set(bytes, head.length);
  const signatures = signature.trim().split(/\s+/).map((each) => each.split(","));
  const found = await Promise.all(checked(secret).map((each) => matches(each, signed, signatures)));
  if (!found.includes(true)) {
    throw new NoSignatureMatches("no signature matches: another secret, or the body is not as it was sent");
  }
  return JSON.parse(new TextDecoder().decode(bytes));
}

function bytesOf(body) {
  if (typeof body === "string") return encoder.encode(body);
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  throw new TypeError("body: give what came in, text or bytes, before anything parses it");
}

function headerOf(headers, name) {
  const value =
    typeof headers.get === "function"
      ? headers.get(name)
      : Object.entries(headers).find(([each]) => each.toLowerCase() === name)?.[1];
  if (!value) throw new BadHeader(`the header ${name} is missing`);
  return String(value);
}

function checkTime(written, tolerance, now) {
  if (!/^[0-9]{1,15}$/.test(written)) throw new BadHeader("the header webhook-timestamp is not a number of seconds");
  const age = now - Number(written);
  const allowed = `; ${tolerance} are allowed`;
  if (age > tolerance) throw new TimestampTooOld(`it was sent ${age.toFixed()} seconds ago${allowed}`);
  if (age < -tolerance) throw new TimestampTooNew(`it was sent ${(-age).toFixed()} seconds in the future${allowed}`);
}

/** An empty one would let anybody in: a setting that was forgotten must not. */
function checked(secret) {
  const secrets = Array.isArray(secret) ? secret : [secret];
  if (secrets.length === 0 || secrets.some((each) => !each || each === "whsec_")) {
    throw new TypeError("the secret is empty");
  }
  if (secrets.some((each) => each.startsWith("whsk_"))) {
    throw new TypeError("this is a private key, with which one signs; to verify, take its public key (whpk_…)");
  }
  return secrets;
}

/** Is one of the signatures of the secret's own kind right? Other kinds do not count. */
async function matches(secret, signed, signatures) {
  const isPublic = secret.startsWith("whpk_");
  const key = await (isPublic ? publicKey(decoded(secret, "whpk_")) : sharedKey(secret));
  const ours = signatures.filter(([version]) => version === (isPublic ? "v1a" : "v1"));
  const found = await Promise.all(ours.map(([, each = ""]) => isSigned(key, signed, each)));
  return found.includes(true);
}

function sharedKey(secret) {
  const key = secret.startsWith("whsec_") ? decoded(secret, "whsec_") : encoder.encode(secret);
  return crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

async function publicKey(key) {
  try {
    return await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  } catch (error) {
    if (error.name !== "NotSupportedError") throw new TypeError("after whpk_ comes the base64 of 32 bytes");
    throw new TypeError("the WebCrypto here does not know Ed25519, which whpk_… needs");
  }
}

/** WebCrypto compares in constant time. */
async function isSigned(key, signed, signature) {
  let bytes;
  try {
    bytes = fromBase64(signature);
  } catch {
    return false;
  }
  return crypto.subtle.verify(key.algorithm.name, key, bytes, signed);
}

function decoded(secret, prefix) {
  try {
    return fromBase64(secret.slice(prefix.length));
  } catch {
    throw new TypeError(`what follows ${prefix} in the secret is not base64`);
  }
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
