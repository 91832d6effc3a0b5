/**
 * The client of a Runcast hub for browsers and Node: one module, without dependencies and without a build.
 *
 *   errors                    what can go wrong
 *   Backoff, Scope            how long to wait; what ends a wait early
 *   Credentials, Http         who asks; requests, tried again where that is safe
 *   Listing, resources        lists that go on page after page; what people call
 *   Wish, Course, Protocol    what is said and understood on a socket: pure
 *   Inbox                     what waits for one subscriber: bounded
 *   Connection, Link, Links   one WebSocket; opened again and again; as few as the subscriptions allow
 *   Subscription              what people loop over
 *   WorkflowClient            all of it together
 *
 * It does what the Python client (hub/client/) does, under the same names. Durations are seconds. What the hub answers
 * is handed on as it came, in the hub's own names (`workflow_id`); options of this client are in camelCase.
 */

// --- errors ----------------------------------------------------------------------------------------------------------

/**
 * Any error of this client. `field` is a path such as `definition.components[0].config.url`. None of them shows a
 * credential.
 */
export class RuncastError extends Error {
  constructor(message, { code = null, field = null, details = null, status = null, requestId = null } = {}) {
    super(message);
    this.code = code;
    this.field = field;
    this.details = details;
    this.status = status;
    this.requestId = requestId;
  }
}

/** The client was given something that it cannot work with; nothing was sent. */
export class Misused extends RuncastError {
  constructor(message) {
    super(message, { code: "MISUSED" });
  }
}

/** No answer came, however often it was tried. Whether the last request was done is not known. */
export class Unreachable extends RuncastError {
  constructor(message) {
    super(message, { code: "UNREACHABLE" });
  }
}

/** Something answered that is not a hub: a proxy, another program, another path. */
export class NoEnvelope extends RuncastError {
  constructor(status, url) {
    super(`${url} answered ${status}, and not as Runcast does; is the URL right?`, { code: "NO_ENVELOPE", status });
  }
}

/** An execution did not end in time. It goes on; `lastStatus` is the last that was seen of it. */
export class CompletionTimeout extends RuncastError {
  constructor(executionId, seconds, lastStatus) {
    const seen = lastStatus === null ? "was not seen" : `is ${lastStatus}`;
    super(`execution '${executionId}' ${seen} after ${seconds} seconds; it was not cancelled`, {
      code: "COMPLETION_TIMEOUT",
    });
    this.executionId = executionId;
    this.lastStatus = lastStatus;
  }
}

/**
 * The hub refused a request. `errors` are all that was wrong with it, and `code`, `field` and `details` those of the
 * first; `requestId` is the one in the hub's log; `retryAfter` is seconds, where the hub said so.
 */
export class ApiError extends RuncastError {
  constructor(status, errors, message, requestId, retryAfter) {
    const { code = "SYSTEM_ERROR", field = null, details = null, message: first = "" } = errors[0] ?? {};
    super(message || first || `the hub answered ${status}`, { code, field, details, status, requestId });
    this.errors = errors;
    this.retryAfter = retryAfter;
  }
}

/** 400, 413, 415 and 422. */
export class InvalidRequest extends ApiError {}

/** 401: the credentials are missing, wrong, expired or revoked. */
export class AuthenticationFailed extends ApiError {}

/** 403: the message names the permission. */
export class PermissionDenied extends ApiError {}

/** 404: it is not there, or not for who asks. */
export class NotFound extends ApiError {}

/** 409: it does not go with the present state of the thing. */
export class Conflict extends ApiError {}

/** 429, after all tries. */
export class RateLimited extends ApiError {}

/** 5xx, after all tries. */
export class HubFailed extends ApiError {}

const BY_STATUS = {
  400: InvalidRequest,
  401: AuthenticationFailed,
  403: PermissionDenied,
  404: NotFound,
  409: Conflict,
  413: InvalidRequest,
  415: InvalidRequest,
  422: InvalidRequest,
  429: RateLimited,
};

/** The hub will not serve this channel; other subscriptions go on. */
export class SubscriptionRefused extends RuncastError {
  constructor(channel, { code, message, field }) {
    super(`${channel}: ${field === null ? "" : `${field}: `}${message}`, { code, field });
    this.channel = channel;
  }
}

/** The hub closed the socket, and to come back would be of no use. `code` is that of the close, a number. */
export class SocketStopped extends RuncastError {
  constructor(code, reason) {
    super(`the hub closed the socket for good (${code}): ${reason}`, { code });
    this.reason = reason;
  }
}

/** Where the socket should be there never was one: the address is wrong, or a proxy lets none through. */
export class NoSocket extends RuncastError {
  constructor(message) {
    super(message, { code: "NO_SOCKET" });
  }
}

/** The client was closed. */
export class ClientClosed extends RuncastError {
  constructor() {
    super("the client was closed", { code: "CLIENT_CLOSED" });
  }
}

// A minified class has another name; what is printed must not.
for (const [name, type] of Object.entries({
  RuncastError, Misused, Unreachable, NoEnvelope, CompletionTimeout, ApiError, InvalidRequest, AuthenticationFailed,
  PermissionDenied, NotFound, Conflict, RateLimited, HubFailed, SubscriptionRefused, SocketStopped, NoSocket,
  ClientClosed,
})) {
  Object.defineProperty(type.prototype, "name", { value: name, configurable: true, writable: true });
}

// --- waiting ---------------------------------------------------------------------------------------------------------

/**
 * Seconds: the n-th wait is at most `first` times 2 to the n, and at most `longest`; at least `least` of that, as a
 * share. (AWS Architecture Blog, "Exponential Backoff And Jitter": full jitter.)
 */
const SOON = { first: 0.25, longest: 15, least: 0 };
/** For a hub that said that it is overloaded, or that this client asks too much of it. */
const LATER = { first: 2, longest: 60, least: 0.5 };
const MOST_DOUBLINGS = 30;
/** What `setTimeout` takes; a longer one would come at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Counts the tries that failed in a row. */
class Backoff {
  failures = 0;
  #chance;

  constructor(chance) {
    this.#chance = chance;
  }

  /** Seconds until the next try, and no less than what the other side asked for. */
  next(pace = SOON, least = 0) {
    const bound = Math.min(pace.longest, pace.first * 2 ** Math.min(this.failures, MOST_DOUBLINGS));
    this.failures += 1;
    return Math.max(least, bound * (pace.least + (1 - pace.least) * this.#chance()));
  }

  reset() {
    this.failures = 0;
  }
}

/** What can be aborted, by itself or together with other signals; to be ended, so that those let go of it. */
class Scope {
  #controller = new AbortController();
  #others;
  #follow = (event) => this.abort(event.target.reason);

  constructor(...signals) {
    this.#others = signals.filter((signal) => signal !== undefined && signal !== null);
    for (const other of this.#others) {
      if (other.aborted) this.abort(other.reason);
      else other.addEventListener("abort", this.#follow);
    }
  }

  get signal() {
    return this.#controller.signal;
  }

  abort(reason) {
    this.#controller.abort(reason);
  }

  end() {
    for (const other of this.#others) other.removeEventListener("abort", this.#follow);
  }
}

function after(seconds, action) {
  return setTimeout(action, Math.min(seconds * 1000, LONGEST_TIMER_MS));
}

/** Rejects with the reason of a signal that was aborted before. */
function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const stopped = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = after(seconds, () => {
      signal.removeEventListener("abort", stopped);
      resolve();
    });
    signal.addEventListener("abort", stopped, { once: true });
  });
}

/** Something that happens again and again, and can be waited for. */
class News {
  #waiting = [];

  tell() {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  next() {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

const monotonic = () => performance.now() / 1000;

// --- where the hub is, and who asks ----------------------------------------------------------------------------------

const PREFIX = "/api/v1";
const SOCKET_SCHEMES = { "http:": "ws:", "https:": "wss:" };

/**
 * `https://host` and `https://host/api/v1` are the same hub; a path before that is a proxy's. In a page, `/` is the hub
 * that the page is from. What may hold a password is not repeated.
 */
function apiUrl(baseUrl) {
  let url;
  try {
    url = new URL(String(baseUrl).trim(), globalThis.location?.href);
  } catch {
    url = null;
  }
  if (!url?.hostname || !(url.protocol in SOCKET_SCHEMES)) {
    throw new Misused("baseUrl: must be the URL of a hub, such as http://127.0.0.1:8000");
  }
  if (url.username || url.password) throw new Misused("baseUrl: must hold no credentials; give an apiKey");
  if (url.search || url.hash) throw new Misused("baseUrl: must end with the host, or a path");
  const path = url.pathname.replace(/\/+$/, "");
  return url.origin + (path.endsWith(PREFIX) ? path : path + PREFIX);
}

function socketUrl(api) {
  const { protocol, host, pathname } = new URL(api);
  return `${SOCKET_SCHEMES[protocol]}//${host}${pathname}/ws`;
}

/** Of several who find at once that a token has expired, one asks for the next, and all get it. Shown nowhere. */
class Credentials {
  #source;
  #token;
  #asking = null;

  constructor(apiKey) {
    this.#source = apiKey;
    this.#token = typeof apiKey === "function" ? null : checkedToken(apiKey);
  }

  get isRenewable() {
    return typeof this.#source === "function";
  }

  /** The token at hand; the first one is asked for. Rejects with whatever the function throws. */
  async current() {
    return this.#token ?? this.renewed(null);
  }

  /** Another token than this one, where there can be another. */
  async renewed(stale) {
    if (!this.isRenewable || (this.#token !== null && this.#token !== stale)) return this.#token;
    this.#asking ??= this.#asked().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #asked() {
    this.#token = checkedToken(await this.#source());
    return this.#token;
  }
}

function checkedToken(token) {
  if (typeof token !== "string" || !/^[\x20-\x7e]+$/.test(token)) {
    throw new Misused("apiKey: must be a key or a token, or a function that gives one");
  }
  return token;
}

// --- requests --------------------------------------------------------------------------------------------------------

/** How long one try of a request may take, unless said. */
const TRY_SECONDS = 30;
const RETRIES = 5;
/** How long a request is tried again at most, from its beginning. */
const PATIENCE_SECONDS = 90;
const AGAIN = new Set([429, 502, 503, 504]);
/** Of an address that may have a hub next time, as those from 500 on. */
const PASSING = new Set([408, 425, 429]);
const KEY = "Idempotency-Key";
/** What Node says of a request that did not leave. A browser says nothing: there it may have been done. */
const NOT_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT"]);
/** What Node says of a certificate, or of what does not speak TLS: the next time is like this one. */
const UNTRUSTED = /CERT|ERR_SSL|ERR_TLS|UNABLE_TO_/;
const LATE = Symbol("late");

/** A try that may be made again: after at least `least` seconds. `isLost` where it may have been done. */
class Retry {
  constructor(cause, { least = 0, isLost = false } = {}) {
    this.cause = cause;
    this.least = least;
    this.isLost = isLost;
  }
}

/**
 * Requests to the REST API: one envelope in, its data or an error out.
 *
 * Every POST has an `Idempotency-Key` of its own, the same at all its tries, so that it is done once however often it is
 * sent. GET, PUT and DELETE may be repeated by what they are.
 */
class Http {
  #credentials;
  #fetch;
  #options;
  #scopes = new Set();
  #isClosed = false;

  constructor(api, credentials, fetch, options) {
    this.api = api;
    this.#credentials = credentials;
    this.#fetch = fetch;
    this.#options = options;
  }

  /**
   * The envelope of a success; parts of `path` are ids and names, which may hold anything. A POST that changes nothing,
   * or the same again (`changes: false`), needs no key.
   */
  async send(method, path, options = {}) {
    const request = this.#request(method, path, options);
    const { signal, retries = this.#options.retries } = options;
    if (this.#isClosed) throw new ClientClosed();
    const scope = new Scope(signal);
    this.#scopes.add(scope);
    try {
      return await this.#sent(request, retries, scope.signal);
    } finally {
      this.#scopes.delete(scope);
      scope.end();
    }
  }

  close() {
    this.#isClosed = true;
    for (const scope of this.#scopes) scope.abort(new ClientClosed());
  }

  #request(method, path, { query, body, key, changes = true, seconds = this.#options.timeout }) {
    const search = searchOf(query ?? {});
    return {
      method,
      url: this.api + path.map((part) => `/${segment(part)}`).join(""),
      search: search && `?${search}`,
      body: body === undefined ? undefined : JSON.stringify(body),
      key: method === "POST" && changes ? (key ?? randomKey()) : undefined,
      seconds,
    };
  }

  async #sent(request, retries, signal) {
    const backoff = new Backoff(this.#options.chance);
    const deadline = monotonic() + PATIENCE_SECONDS;
    let isRepeated = false;
    for (;;) {
      signal.throwIfAborted();
      const answer = await this.#tried(request, isRepeated, signal);
      if (!(answer instanceof Retry)) return answer;
      const pause = backoff.next(SOON, answer.least);
      if (backoff.failures > retries || monotonic() + pause > deadline) throw answer.cause;
      isRepeated ||= answer.isLost;
      this.#options.log(`${request.method} ${request.url}: ${answer.cause.message}; again in ${pause.toFixed(1)} s`);
      await sleep(pause, signal);
    }
  }

  async #tried(request, isRepeated, signal) {
    const token = await this.#credentials.current();
    let answer = await this.#exchanged(request, token, signal);
    if (answer.status === 401 && this.#credentials.isRenewable) {
      answer = await this.#exchanged(request, await this.#credentials.renewed(token), signal);
    }
    if (answer instanceof Retry) return answer;
    if (answer.status === 404 && request.method === "DELETE" && isRepeated) return { success: true, data: null };
    return understood(request, answer, isRepeated);
  }

  /** One request and its answer, or a `Retry` where there was none. */
  async #exchanged({ method, url, search, body, key, seconds }, token, signal) {
    const headers = { Accept: "application/json" };
    if (token.startsWith("sk_")) headers["X-API-Key"] = token;
    else headers.Authorization = `Bearer ${token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (key !== undefined) headers[KEY] = key;
    const scope = new Scope(signal);
    const timer = after(seconds, () => scope.abort(LATE));
    const options = { method, headers, body, signal: scope.signal, redirect: "manual", credentials: "omit" };
    try {
      const answer = await this.#fetch(url + search, options);
      return { status: answer.status, text: await answer.text(), retryAfter: retryAfter(answer.headers) };
    } catch (error) {
      signal.throwIfAborted();
      if (scope.signal.reason === LATE) {
        return new Retry(new Unreachable(`${method} ${url}: no answer within ${seconds} seconds`), { isLost: true });
      }
      const code = error?.cause?.code ?? error?.code ?? "the connection broke";
      if (UNTRUSTED.test(code)) {
        throw new Unreachable(`${this.api}: its certificate cannot be trusted, or it does not speak TLS (${code})`);
      }
      return new Retry(new Unreachable(`${this.api} cannot be reached: ${code}`), { isLost: !NOT_SENT.has(code) });
    } finally {
      clearTimeout(timer);
      scope.end();
    }
  }
}

/** The envelope; a `Retry` where it may go better later. Throws the error that the answer is. */
function understood({ url }, { status, text, retryAfter }, isRepeated) {
  const envelope = parsed(text);
  let error;
  if (typeof envelope?.success !== "boolean") {
    error = new NoEnvelope(status, url);
  } else if (envelope.success && status < 400) {
    return envelope;
  } else {
    const type = BY_STATUS[status] ?? (status >= 500 ? HubFailed : ApiError);
    error = new type(status, envelope.errors ?? [], envelope.message, envelope.metadata?.request_id ?? null, retryAfter);
  }
  const isUnderWay = isRepeated && status === 409 && error.field === KEY;
  // A hub says what failed; a server that breaks off in the middle, such as at its end, does not.
  const isCut = status >= 500 && error instanceof NoEnvelope;
  if (AGAIN.has(status) || isUnderWay || isCut) {
    return new Retry(error, { least: retryAfter ?? 0, isLost: isCut || status === 502 || status === 504 });
  }
  throw error;
}

/** An object of JSON, else null. */
function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

/** Seconds, from seconds or a date (RFC 9110, section 10.2.3). */
function retryAfter(headers) {
  const text = headers.get("Retry-After")?.trim() ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const time = Date.parse(text);
  return Number.isNaN(time) ? null : Math.max(0, (time - Date.now()) / 1000);
}

/** A part of a path, whatever it holds; not what would make it another route. */
function segment(part) {
  const text = part === undefined || part === null ? "" : String(part);
  if (text === "") throw new Misused("an id is empty");
  if (text === "." || text === "..") throw new Misused(`'${text}' is no id`);
  return encodeURIComponent(text.toWellFormed?.() ?? text);
}

const parts = (path) => path.replace(/^\/+|\/+$/g, "").split("/");

/** As the hub reads it: what is null is left out, several values are joined by commas. */
function searchOf(query) {
  const said = [];
  for (const [name, value] of Object.entries(query)) {
    const values = (Array.isArray(value) ? value : [value]).filter((each) => each !== undefined && each !== null);
    if (values.length > 0) said.push(`${name}=${values.map(asText).map(encodeURIComponent).join(",")}`);
  }
  return said.join("&");
}

const asText = (value) => (value instanceof Date ? value.toISOString() : String(value));

/** Not `randomUUID`, which a page has over HTTPS only. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// --- lists -----------------------------------------------------------------------------------------------------------

/** The items of a page, an array; `metadata.total_count` is null where counting would cost too much. */
export class Page extends Array {
  static get [Symbol.species]() {
    return Array;
  }

  get hasMore() {
    return this.metadata.has_more === true;
  }
}

/** `await` it for its first page; `for await` goes through all items, `pages()` through all pages. */
export class Listing {
  #http;
  #path;
  #query;
  #options;
  #following;

  constructor(http, path, { signal, ...query } = {}, following = byCursor) {
    this.#http = http;
    this.#path = path;
    this.#query = snaked(query);
    this.#options = { signal };
    this.#following = following;
  }

  then(resolve, reject) {
    return this.#page(this.#query).then(resolve, reject);
  }

  async *[Symbol.asyncIterator]() {
    for await (const page of this.pages()) yield* page;
  }

  async *pages() {
    for (let query = this.#query; query !== null; ) {
      const page = await this.#page(query);
      yield page;
      const following = this.#following(page);
      query = following && { ...this.#query, ...following };
    }
  }

  async #page(query) {
    const { data, metadata } = await this.#http.send("GET", this.#path, { ...this.#options, query });
    return Object.defineProperty(Page.from(data), "metadata", { value: metadata });
  }
}

function byCursor({ hasMore, metadata }) {
  return hasMore && metadata.next_cursor ? { cursor: metadata.next_cursor, offset: null } : null;
}

/** Positions are cursors that hold for ever. */
function byPosition(page) {
  if (!page.hasMore || page.length === 0) return null;
  const last = page.at(-1).position;
  return { offset: null, cursor: null, ...(last >= page[0].position ? { after: last } : { before: last }) };
}

// --- what a client offers --------------------------------------------------------------------------------------------

/** `workerId` is `worker_id` to the hub. What is null or was not said is left out. */
function snaked(options) {
  const said = Object.entries(options).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(
    said.map(([name, value]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), value]),
  );
}

/** What options say to the hub, and what they say to this client. */
function parted({ signal, idempotencyKey, ...said } = {}) {
  return [snaked(said), { signal, key: idempotencyKey }];
}

const INSPECT = Symbol.for("nodejs.util.inspect.custom");

/** The same, but printing it in Node does not show these fields. */
function discreet(thing, ...fields) {
  const shown = () => ({ ...thing, ...Object.fromEntries(fields.map((field) => [field, "[REDACTED]"])) });
  if (fields.some((field) => thing[field] !== undefined && thing[field] !== null)) {
    Object.defineProperty(thing, INSPECT, { value: shown });
  }
  return thing;
}

class Resource {
  #http;

  constructor(http) {
    this.#http = http;
  }

  async _ask(method, path, options) {
    return (await this.#http.send(method, path, options)).data;
  }

  /** With the options as the body. */
  async _do(path, options, body = {}) {
    const [said, sending] = parted(options);
    return this._ask("POST", path, { body: { ...said, ...snaked(body) }, ...sending });
  }

  async _get(path, options) {
    const [query, sending] = parted(options);
    return this._ask("GET", path, { query, ...sending });
  }

  _list(path, query, following) {
    return new Listing(this.#http, path, query, following);
  }
}

/** What can run. */
class Workflows extends Resource {
  /** `name` and `definition`, and what else `POST /workflows` takes. */
  async create(workflow, options) {
    return this._ask("POST", ["workflows"], { body: workflow, ...parted(options)[1] });
  }

  list(query) {
    return this._list(["workflows"], query);
  }

  /** `at`: as it was at a position or a time; `includeDefinition`, `includeStats`. */
  async get(workflowId, options) {
    return this._get(["workflows", workflowId], options);
  }

  /** Fields left out keep their values; `definition` is replaced whole. */
  async update(workflowId, changes, options) {
    return this._ask("PUT", ["workflows", workflowId], { body: changes, ...parted(options)[1] });
  }

  /** With live executions only by `force`, which cancels them. */
  async delete(workflowId, options) {
    const [query, sending] = parted(options);
    await this._ask("DELETE", ["workflows", workflowId], { query, ...sending });
  }

  /** The stored definition, or this one. */
  async validate(workflowId, definition, options) {
    const body = snaked({ definition });
    return this._ask("POST", ["workflows", workflowId, "validate"], { body, changes: false, ...parted(options)[1] });
  }

  /**
   * Durable once this resolves. `parameters`, `priority`, `scheduledAt`, `tags`, `projectId`, `autoStart`; the same
   * `idempotencyKey` again gives the first answer, and runs nothing.
   */
  async execute(workflowId, options) {
    return this._do(["workflows", workflowId, "execute"], options);
  }

  executions(workflowId, query) {
    return this._list(["workflows", workflowId, "executions"], query);
  }

  async activate(workflowId, options) {
    return this._do(["workflows", workflowId, "activate"], options);
  }

  async deactivate(workflowId, options) {
    return this._do(["workflows", workflowId, "deactivate"], options);
  }

  async archive(workflowId, options) {
    return this._do(["workflows", workflowId, "archive"], options);
  }
}

/** What runs and ran. */
class Executions extends Resource {
  #links;

  constructor(http, links) {
    super(http);
    this.#links = links;
  }

  list(query) {
    return this._list(["executions"], query);
  }

  /** `at`: as it was at a position or a time. */
  async get(executionId, options) {
    return this._get(["executions", executionId], options);
  }

  /**
   * The execution, once it has ended, well or not: look at `status`. It is heard of over the socket, and asked for where
   * there is none. Rejects with `CompletionTimeout` after `timeout` seconds; the execution goes on.
   */
  async waitForCompletion(executionId, { timeout, signal } = {}) {
    const channel = subscriptionOf(this.#links, "execution", { executionId, types: ["execution.*"] });
    return ended((stop) => this.get(executionId, { signal: stop }), channel, { executionId, timeout, signal });
  }

  /**
   * With a function, it is called for each message of the execution from its beginning on (or `since`), one after
   * another, and a promise that it returns is waited for: what is returned unsubscribes. Without one, what
   * `client.subscribe("execution", { executionId })` returns.
   */
  subscribe(executionId, callback, options) {
    if (typeof callback !== "function") {
      return subscriptionOf(this.#links, "execution", { ...callback, executionId });
    }
    const { onError, ...said } = options ?? {};
    return listening(subscriptionOf(this.#links, "execution", { since: 0, ...said, executionId }), callback, onError);
  }

  /** One that is pending, now. */
  async start(executionId, options) {
    return this._do(["executions", executionId, "start"], options);
  }

  async cancel(executionId, options) {
    return this._do(["executions", executionId, "cancel"], options);
  }

  /** Nobody waits for what runs. */
  async terminate(executionId, options) {
    return this._do(["executions", executionId, "terminate"], options);
  }

  async pause(executionId, options) {
    return this._do(["executions", executionId, "pause"], options);
  }

  async resume(executionId, options) {
    return this._do(["executions", executionId, "resume"], options);
  }

  /** From where it stopped, or `fromComponent`; with other `parameters`; `version` is `kept` or `newest`. */
  async retry(executionId, options) {
    return this._do(["executions", executionId, "retry"], options);
  }

  /** `data` becomes the output of the component that waits for it. */
  async signal(executionId, key, data, options) {
    const path = ["executions", executionId, "signal"];
    return this._ask("POST", path, { body: { key, data: data ?? null }, ...parted(options)[1] });
  }

  async priority(executionId, priority, options) {
    return this._do(["executions", executionId, "priority"], options, { priority });
  }

  logs(executionId, query) {
    return this._list(["executions", executionId, "logs"], query);
  }

  /** Every event of it, in order. */
  history(executionId, query) {
    return this._list(["executions", executionId, "history"], query);
  }

  /** Those that started, in that order, then the pending ones. */
  components(executionId, query) {
    return this._list(["executions", executionId, "components"], query);
  }
}

/** How much longer than its `waitSeconds` a claim may take. */
const CLAIM_SECONDS = 30;

/** A worker says its `workerId` in all that it does: then it is refused once its lease has passed to another. */
class Tasks extends Resource {
  list(query) {
    return this._list(["tasks"], query);
  }

  async get(taskId, options) {
    return this._get(["tasks", taskId], options);
  }

  logs(taskId, query) {
    return this._list(["tasks", taskId, "logs"], query);
  }

  /**
   * External tasks for a worker, `max` (1) at most; where there are none, those that come in `waitSeconds` (60 at most),
   * or none.
   */
  async claimMany(types, workerId, { waitSeconds = 0, ...options } = {}) {
    const [said, sending] = parted({ types, workerId, waitSeconds, max: 1, ...options });
    const seconds = waitSeconds + CLAIM_SECONDS;
    const tasks = await this._ask("POST", ["tasks", "claim"], { body: said, seconds, ...sending });
    return tasks.map((task) => discreet(task, "input"));
  }

  /** One task: for a person (`assignee`), or for a worker (`workerId`, `leaseSeconds`). */
  async claim(taskId, options) {
    return discreet(await this._do(["tasks", taskId, "claim"], options), "input");
  }

  async start(taskId, options) {
    return discreet(await this._do(["tasks", taskId, "start"], options), "input");
  }

  /** Keeps a lease. Rejects with `Conflict` where the worker has the task no more. */
  async heartbeat(taskId, workerId, options) {
    const [said, sending] = parted({ workerId, ...options });
    return this._ask("POST", ["tasks", taskId, "heartbeat"], { body: said, changes: false, ...sending });
  }

  /** `output` is the component's output. */
  async complete(taskId, output, options) {
    return this._do(["tasks", taskId, "complete"], options, { output });
  }

  /** `retryable`: by the retry policy of the component. */
  async fail(taskId, error, options) {
    return this._do(["tasks", taskId, "fail"], options, { error });
  }

  async release(taskId, options) {
    return this._do(["tasks", taskId, "release"], options);
  }

  async reassign(taskId, assignee, options) {
    return this._do(["tasks", taskId, "reassign"], options, { assignee });
  }

  async cancel(taskId, options) {
    return this._do(["tasks", taskId, "cancel"], options);
  }

  /** Runs the execution of a task that ended it again, from the task's component. */
  async retry(taskId, options) {
    return this._do(["tasks", taskId, "retry"], options);
  }
}

/** Endpoints, and what was delivered to them. */
class Webhooks extends Resource {
  /** `url` and `events`, and what else `POST /webhooks` takes. Its `secret` is in this answer alone. */
  async create(webhook, options) {
    return discreet(await this._ask("POST", ["webhooks"], { body: webhook, ...parted(options)[1] }), "secret");
  }

  list(query) {
    return this._list(["webhooks"], query);
  }

  async get(webhookId, options) {
    return this._get(["webhooks", webhookId], options);
  }

  async update(webhookId, changes, options) {
    return this._ask("PUT", ["webhooks", webhookId], { body: changes, ...parted(options)[1] });
  }

  async delete(webhookId, options) {
    await this._ask("DELETE", ["webhooks", webhookId], parted(options)[1]);
  }

  /** The id of the delivery of a test event. */
  async test(webhookId, options) {
    return (await this._do(["webhooks", webhookId, "test"], options)).delivery_id;
  }

  async enable(webhookId, options) {
    return this._do(["webhooks", webhookId, "enable"], options);
  }

  async disable(webhookId, options) {
    return this._do(["webhooks", webhookId, "disable"], options);
  }

  /** A new secret (`secret`, or one is made), in this answer alone; the old one signs as well for `overlapSeconds`. */
  async rotateSecret(webhookId, options) {
    return discreet(await this._do(["webhooks", webhookId, "rotate-secret"], options), "secret");
  }

  /** Sends what was `failed` or `undelivered` from `since` to `until`; the id of the job, for `events.getReplay`. */
  async recover(webhookId, options) {
    return (await this._do(["webhooks", webhookId, "recover"], options)).id;
  }

  /** Cancels what waits, by `status`, `events`, `startTime`, `endTime`; answers how many. */
  async cancel(webhookId, options) {
    return (await this._do(["webhooks", webhookId, "cancel"], options)).cancelled;
  }

  /** How it does; `period` is 1h, 24h or 7d. */
  async stats(webhookId, options) {
    return this._get(["webhooks", webhookId, "stats"], options);
  }

  deliveries(webhookId, query) {
    return this._list(["webhooks", webhookId, "deliveries"], query);
  }

  async delivery(deliveryId, options) {
    return this._get(["deliveries", deliveryId], options);
  }

  async resend(deliveryId, options) {
    return this._do(["deliveries", deliveryId, "resend"], options);
  }
}

/** The log. */
class Events extends Resource {
  /** In the order of their positions: `after` and `before` (both exclusive), `types`, `order`, … */
  list(query) {
    return this._list(["events"], query, byPosition);
  }

  async get(position, options) {
    return this._get(["events", position], options);
  }

  /**
   * Casts a span of the log again, both ends (`first`, `last`: positions or times) inclusive: to a webhook
   * (`webhookId`), or to a channel for `client.subscribe("replay", { replayId })`.
   */
  async replay({ target = "channel", webhookId, first, last, ...options } = {}) {
    const to = webhookId === undefined ? target : { type: "webhook", webhook_id: webhookId };
    return this._do(["events", "replay"], options, { target: to, from: first, to: last });
  }

  replays(query) {
    return this._list(["events", "replay"], query);
  }

  async getReplay(replayId, options) {
    return this._get(["events", "replay", replayId], options);
  }

  async cancelReplay(replayId, options) {
    return this._do(["events", "replay", replayId, "cancel"], options);
  }
}

// --- the socket: what is said and understood, without any I/O --------------------------------------------------------

const GAP = "gap";
const REPLAY_COMPLETED = "replay_completed";
const ANY = "*";

/**
 * One message of a channel. `position` is where to resume after it; null for `replay_completed` alone.
 *
 * `gap` is the one type that the client says itself: what follows does not join what came before. Its `position` is
 * where it goes on, its data `reason` (`another_log`, or `archived`), `since` and `epoch` (of the log from here on).
 * Fetch the state anew.
 */
export class Message {
  constructor({ type, id = "", timestamp = "", channel = null, position = null, replay = null, data }) {
    this.type = type;
    this.id = id;
    this.timestamp = timestamp;
    this.channel = channel;
    this.position = position;
    this.replay = replay;
    this.data = data ?? {};
  }

  get isGap() {
    return this.type === GAP;
  }
}

const KEYS = {
  executionId: "execution_id",
  workflowId: "workflow_id",
  taskId: "task_id",
  assignee: "assignee",
  webhookId: "webhook_id",
  replayId: "replay_id",
};
const OPTIONS = ["since", "epoch", "types", "filter", "mode", "signal"];

/** A channel, and what of it. `key` is what the hub is told beside the channel's kind: an id, or an assignee. */
class Wish {
  constructor(kind, options) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== null);
    const unknown = given.find(([name]) => !(name in KEYS) && !OPTIONS.includes(name));
    if (unknown) {
      throw new Misused(`${unknown[0]}: there is no such option; there are ${[...Object.keys(KEYS), ...OPTIONS].join(", ")}`);
    }
    const keys = given.filter(([name]) => name in KEYS);
    if (keys.length > 1) {
      throw new Misused(`a channel has one key; leave out all but one of ${keys.map(([name]) => name).join(", ")}`);
    }
    const { types = null, filter = null, mode = null } = options;
    this.kind = kind;
    this.key = keys.length ? { [KEYS[keys[0][0]]]: keys[0][1] } : {};
    this.types = typeof types === "string" ? types.split(",").map((type) => type.trim()) : [...(types ?? [])];
    this.filter = filter;
    this.mode = mode;
    /** As the hub names it: `events`, `execution:ID`, `workflow:*`, `task:assignee:NAME`. */
    this.name = [kind, ...("assignee" in this.key ? ["assignee"] : []), ...Object.values(this.key)].join(":");
    /** Its messages name channels of single things, not this one. */
    this.isBroad = "assignee" in this.key || Object.values(this.key).includes(ANY);
  }

  /** Of the two on one socket one could not tell whose a message is. */
  overlaps(other) {
    return this.kind === other.kind && (this.name === other.name || this.isBroad || other.isBroad);
  }
}

/** `ASIDE`: its reader is slow, and nothing is sent for it until it asks again. `WAITING` for a connection. */
const Phase = { WAITING: "waiting", ASKED: "asked", LIVE: "live", ASIDE: "aside", OVER: "over" };

/**
 * One subscription on its way through the log. `position` and `epoch` are where it is resumed; null for the head. It has
 * come to a position when its reader has been handed all through there, or nothing else was before it. `heard` is the
 * last message's position, or where it was granted: what is not after that is a repeat.
 */
class Course {
  phase = Phase.WAITING;
  requestId = "";
  wasGranted = false;
  heard = -1;

  constructor(wish, position, epoch) {
    this.wish = wish;
    this.position = position;
    this.epoch = epoch;
  }

  /** The message was handed on. */
  passed({ position }) {
    if (position === null) return;
    this.position = Math.max(this.position ?? 0, position);
    this.heard = Math.max(this.heard, position);
  }
}

/** Of a message to the hub, in bytes: it closes the socket on a longer one. */
const LONGEST = 64 * 1024;
const TEMPORARY = new Set(["SERVICE_UNAVAILABLE", "SYSTEM_ERROR"]);
/** Also temporary for what was granted before: what counts against the limit may be the connection that broke. */
const LATER_TEMPORARY = new Set([...TEMPORARY, "RATE_LIMIT_EXCEEDED"]);

/**
 * What is said and understood on one socket, over all connections of its life.
 *
 *   welcome ─► every course is asked for ─► subscribed ─► its messages, each once, in order
 *   lost    ─► all courses wait for the next welcome, each where it has come to
 *
 * Every method returns what is to be done, as a list: `{ is: "send", text }`, and what `received` and `#refuse` say.
 */
class Protocol {
  epoch = null;
  isOpen = false;
  /** By the channel's name. */
  #courses = new Map();
  #asked = new Map();
  #count = 0;

  /** A course that overlaps with none here. */
  add(course) {
    this.#courses.set(course.wish.name, course);
    return this.isOpen ? this.#ask(course) : [];
  }

  /** May be called twice. */
  remove(course) {
    const wasKnown = course.phase === Phase.ASKED || course.phase === Phase.LIVE;
    this.#forget(course);
    return wasKnown && this.isOpen ? [this.#unsubscribe(course)] : [];
  }

  /** The hub is to send no more of it. What is on its way is dropped, and comes again after `resume`. */
  setAside(course) {
    if (course.phase !== Phase.LIVE) return [];
    course.phase = Phase.ASIDE;
    return [this.#unsubscribe(course)];
  }

  /** One that was set aside, or refused for the time being. */
  resume(course) {
    if (course.phase !== Phase.ASIDE && course.phase !== Phase.WAITING) return [];
    course.phase = Phase.WAITING;
    return this.isOpen ? this.#ask(course) : [];
  }

  ping() {
    return this.#said("ping", {}).send;
  }

  authenticate(token) {
    return this.#said("auth", { token }).send;
  }

  lost() {
    this.isOpen = false;
    this.#asked.clear();
    for (const course of this.#courses.values()) {
      if (course.phase === Phase.ASKED || course.phase === Phase.LIVE) course.phase = Phase.WAITING;
    }
  }

  /** `welcomed`, `granted`, `deliver`, `refused`, `closing`. What is no message is passed over. */
  received(text) {
    const said = parsed(text);
    if (typeof said?.type !== "string") return [];
    const message = new Message(said);
    if (message.channel !== null) return this.#cast(message);
    switch (message.type) {
      case "welcome":
        return this.#welcome(message.data);
      case "subscribed":
        return this.#subscribed(message);
      case "error":
        return this.#refused(message.data);
      case "pong":
        this.#pong(message.data);
        return [];
      case "closing":
        return [closingOf(message.data)];
      default:
        return [];
    }
  }

  /** A message of a channel, to the one course that it can be of; what that has passed already, to none. */
  #cast(message) {
    const course = this.#courses.get(message.channel) ?? this.#broad(message.channel.split(":", 1)[0]);
    if (course?.phase !== Phase.LIVE) return [];
    const isRepeated = message.position !== null && message.position <= course.heard;
    return isRepeated ? [] : [{ is: "deliver", course, message }];
  }

  #broad(kind) {
    for (const course of this.#courses.values()) {
      if (course.wish.isBroad && course.wish.kind === kind) return course;
    }
    return undefined;
  }

  /** The first one of a connection; later ones answer a renewal. */
  #welcome({ epoch = null, limits }) {
    this.epoch = epoch;
    if (this.isOpen) return [];
    this.isOpen = true;
    const waiting = [...this.#courses.values()].filter((course) => course.phase === Phase.WAITING);
    return [{ is: "welcomed", limits: limits ?? {} }, ...waiting.flatMap((course) => this.#ask(course))];
  }

  #subscribed(message) {
    const { reply_to: replyTo, recovered, position = null } = message.data;
    const course = this.#asked.get(replyTo);
    if (course === undefined) return [];
    this.#asked.delete(replyTo);
    const gap = recovered === false ? this.#gap(course, message) : null;
    Object.assign(course, { phase: Phase.LIVE, wasGranted: true, position, epoch: this.epoch, heard: position ?? -1 });
    return [{ is: "granted", course, gap }];
  }

  #gap(course, { id, timestamp, data }) {
    const isAnotherLog = course.epoch !== null && course.epoch !== this.epoch;
    const reason = isAnotherLog ? "another_log" : "archived";
    return new Message({
      type: GAP, id, timestamp, channel: course.wish.name, position: data.position,
      data: { reason, since: course.position, epoch: this.epoch },
    });
  }

  /** A request's answer, or a subscription that ended without being asked. */
  #refused({ reply_to: replyTo, channel, code, message, field = null }) {
    const course = this.#asked.get(replyTo) ?? this.#courses.get(channel);
    this.#asked.delete(replyTo);
    if (course === undefined || course.phase === Phase.OVER) return [];
    return this.#refuse(course, { code: String(code), message: String(message), field });
  }

  /** Over; or, where `isTemporary`, to be asked for again. */
  #refuse(course, problem) {
    const isTemporary = (course.wasGranted ? LATER_TEMPORARY : TEMPORARY).has(problem.code);
    course.phase = Phase.WAITING;
    if (!isTemporary) this.#forget(course);
    return [{ is: "refused", course, problem, isTemporary }];
  }

  /** All of the hub's channels were sent through a position: nobody needs to look before it again. */
  #pong({ position }) {
    if (!Number.isInteger(position)) return;
    for (const course of this.#courses.values()) {
      if (course.phase === Phase.LIVE) course.position = Math.max(course.position ?? 0, position);
    }
  }

  #ask(course) {
    const { kind, key, types, filter, mode } = course.wish;
    const { position: since, epoch } = course;
    const wanted = { since, epoch: since === null ? null : epoch, types: types.length ? types : null, filter, mode };
    const { id, send } = this.#said("subscribe", { channel: kind, ...key, ...snaked(wanted) });
    if (new TextEncoder().encode(send.text).length > LONGEST) {
      const message = `the subscription is longer than ${LONGEST} bytes`;
      return this.#refuse(course, { code: "PAYLOAD_TOO_LARGE", message, field: null });
    }
    course.phase = Phase.ASKED;
    course.requestId = id;
    this.#asked.set(id, course);
    return [send];
  }

  #unsubscribe({ wish }) {
    return this.#said("unsubscribe", { channel: wish.kind, ...wish.key }).send;
  }

  #forget(course) {
    course.phase = Phase.OVER;
    this.#asked.delete(course.requestId);
    if (this.#courses.get(course.wish.name) === course) this.#courses.delete(course.wish.name);
  }

  #said(type, data) {
    this.#count += 1;
    const id = String(this.#count);
    return { id, send: { is: "send", text: JSON.stringify({ type, id, data }) } };
  }
}

/** `reconnect` is true unless the hub says no. */
function closingOf({ code, reason, reconnect, retry_after_ms: milliseconds }) {
  const retryAfter = typeof milliseconds === "number" ? milliseconds / 1000 : 0;
  return { is: "closing", code: Number(code) || 0, reason: String(reason ?? ""), reconnect: reconnect !== false, retryAfter };
}

/** The connection ended without a close (RFC 6455, section 7.4.1). */
const ABNORMAL = 1006;
/** What a client does after the close of a socket: the table of the contract. What is not in it, soon again. */
const AFTER = {
  1009: "stop",
  1013: "later",
  4400: "stop",
  4401: "stop",
  4403: "stop",
  4411: "renew",
  4413: "later",
  4429: "later",
};

// --- the socket: what waits for a subscriber -------------------------------------------------------------------------

/** A message more is taken, however long it is. */
const MOST_MESSAGES = 1024;
const MOST_CHARACTERS = 1024 * 1024;
/** Nothing more comes, and nothing is wrong. */
const ENDED = Symbol("ended");

/**
 * What was read for one subscriber and not yet taken. `position` is the log's as its reader has come to it; what waits
 * here lies behind it.
 */
class Inbox {
  /** To be called once all that waits was taken: for one that was set aside. */
  drained = null;
  #most;
  #waiting = [];
  #characters = 0;
  /** Where the reader has come to, while something waits. */
  #position;
  #epoch;
  #isGranted = false;
  #error = null;
  #news = new News();

  constructor(course, most) {
    this.course = course;
    this.#most = most;
    this.#position = course.position;
    this.#epoch = course.epoch;
  }

  get isFull() {
    return this.#waiting.length >= this.#most || this.#characters >= MOST_CHARACTERS;
  }

  get position() {
    return this.#waiting.length ? this.#position : this.course.position;
  }

  get epoch() {
    return this.#waiting.length ? this.#epoch : this.course.epoch;
  }

  put(message, size) {
    if (this.#waiting.length === 0 && !message.isGap) {
      this.#position = this.course.position;
      this.#epoch = this.course.epoch;
    }
    this.#waiting.push({ message, size });
    this.#characters += size;
    this.course.passed(message);
    this.#news.tell();
    if (message.type === REPLAY_COMPLETED) this.end(ENDED);
  }

  /** The hub serves it: what happens from now on will come. */
  grant() {
    this.#isGranted = true;
    this.#news.tell();
  }

  /** What waits is still to be taken; then the error is thrown. The first one counts. */
  end(error) {
    this.#error ??= error;
    this.#news.tell();
  }

  /** Throws what it was refused with. */
  async granted() {
    while (!this.#isGranted && this.#error === null) await this.#news.next();
    if (this.#error !== null && this.#error !== ENDED) throw this.#error;
  }

  /** The next message. Throws `ENDED`, or what it ended with. */
  async take() {
    while (this.#waiting.length === 0) {
      if (this.#error !== null) throw this.#error;
      await this.#news.next();
    }
    const { message, size } = this.#waiting.shift();
    this.#characters -= size;
    if (message.position !== null) this.#position = message.position;
    if (message.isGap) this.#epoch = message.data.epoch;
    if (this.#waiting.length === 0) this.drained?.();
    return message;
  }
}

// --- the socket: connections -----------------------------------------------------------------------------------------

/** Until a connection is open, and the hub has said welcome. */
const OPEN_SECONDS = 10;
const HEARTBEAT_SECONDS = 10;
/** How long a socket stays open that nobody wants anything of. */
const LINGER_SECONDS = 5;
/** A connection that held so long ends a row of failures. */
const STEADY_SECONDS = 1;
/** Messages, at once and then each second, unless the hub says what it takes. */
const BURST = 100;
const A_SECOND = 80;
/** Of what it takes: it counts by a clock of its own. */
const SHARE = 0.8;
const MOST_SUBSCRIPTIONS = 1000;
/** So many sockets in a row that did not open, while the REST API answers: there is none to be had. */
const MOST_UNOPENED = 5;
/** Credentials that hold longer are asked about again after a day. */
const DAY_SECONDS = 86_400;
/** How long the other side has to answer a close. */
const CLOSE_SECONDS = 1;
const OPEN = 1;
const DISPATCHER = Symbol.for("undici.globalDispatcher.1");

/**
 * A WebSocket, and what ends it without asking the other side, where there is such a thing. Node's own has none: a hub that
 * is gone would keep the process from ending until the kernel gives up. But it shows the stream below to a dispatcher.
 */
function opened(WebSocket, url) {
  const below = globalThis[DISPATCHER];
  if (WebSocket !== globalThis.WebSocket || !globalThis.process?.versions?.undici || !below?.dispatch) {
    const socket = new WebSocket(url);
    return { socket, destroy: () => socket.terminate?.() };
  }
  let stream;
  const watched = (handler) =>
    new Proxy(handler, {
      get(target, name) {
        if (name !== "onUpgrade" && name !== "onRequestUpgrade") return Reflect.get(target, name);
        return (...said) => {
          stream = said.at(-1);
          return target[name](...said);
        };
      },
    });
  const dispatcher = { dispatch: (options, handler) => below.dispatch(options, watched(handler)) };
  return { socket: new WebSocket(url, { dispatcher }), destroy: () => stream?.destroy?.() };
}

/**
 * One WebSocket from its beginning to its end. It says who asks, then what it is told to say, at a pace that the hub does
 * not mind, and looks after signs of life. `heard` gets every text; `ended` how it ended, once.
 */
class Connection {
  /** Whether the handshake succeeded. */
  wasOpen = false;
  began = monotonic();
  #socket;
  #destroy;
  #hello;
  #ping;
  #heartbeat;
  #heard = 0;
  #isOver = false;
  #queue = [];
  #burst = BURST;
  #aSecond = A_SECOND;
  #credit = BURST;
  #credited = 0;
  #timers = new Map();
  #settle;

  constructor({ socket, destroy }, { hello, ping, heard, heartbeat }) {
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#socket = socket;
    this.#destroy = destroy;
    this.#hello = hello;
    this.#ping = ping;
    this.#heartbeat = heartbeat;
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => {
      this.#heard += 1;
      if (typeof data === "string") heard(data);
    };
    socket.onclose = ({ code, reason }) => this.#over({ code, reason: reason || "closed" });
    // A close follows, and says as much.
    socket.onerror = () => {};
    this.#after("patience", OPEN_SECONDS, () => this.cut(ABNORMAL, "it took too long to open"));
  }

  /** The hub accepts who asks, and says how many messages it takes at once and in a second. */
  welcomed({ message_burst: burst, messages_per_second: aSecond }) {
    if (burst > 0) this.#credit = this.#burst = Math.max(1, burst * SHARE);
    if (aSecond > 0) this.#aSecond = Math.max(1, aSecond * SHARE);
    this.#forget("patience");
    this.#beat();
    this.#write();
  }

  say(text) {
    this.#queue.push(text);
    if (!this.#timers.has("patience")) this.#write();
  }

  /** Ends it from this side. Nobody waits for the other one, which may be gone. */
  cut(code, reason) {
    if (this.#isOver) return;
    this.#over({ code, reason });
    if (code === ABNORMAL) {
      this.#destroy();
    } else {
      const impatience = after(CLOSE_SECONDS, this.#destroy);
      this.#socket.onclose = () => clearTimeout(impatience);
    }
    this.#socket.close();
  }

  #opened() {
    this.wasOpen = true;
    this.#socket.send(this.#hello);
  }

  #over(end) {
    this.#isOver = true;
    for (const name of [...this.#timers.keys()]) this.#forget(name);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#settle(end);
  }

  /** Ends a connection on which nothing comes back. A pong also says how far everything was sent. */
  #beat() {
    this.#after("beat", this.#heartbeat, () => {
      const before = this.#heard;
      this.say(this.#ping());
      this.#after("beat", this.#heartbeat, () => {
        if (this.#heard === before) this.cut(ABNORMAL, "the hub is silent");
        else this.#beat();
      });
    });
  }

  #write() {
    while (this.#queue.length && this.#socket.readyState === OPEN) {
      const now = monotonic();
      this.#credit = Math.min(this.#burst, this.#credit + (now - this.#credited) * this.#aSecond);
      this.#credited = now;
      if (this.#credit < 1) {
        this.#after("pace", (1 - this.#credit) / this.#aSecond, () => this.#write());
        return;
      }
      this.#credit -= 1;
      this.#socket.send(this.#queue.shift());
    }
  }

  #after(name, seconds, action) {
    this.#forget(name);
    const timer = after(seconds, () => {
      this.#timers.delete(name);
      action();
    });
    this.#timers.set(name, timer);
  }

  #forget(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}

/**
 * One socket to the hub: opened, read, and opened again until nobody wants anything of it. `gone` is called when it has
 * ended by itself: it is then of no more use.
 */
class Link {
  #way;
  #gone;
  #protocol = new Protocol();
  #inboxes = new Map();
  #connection = null;
  #closing = null;
  #backoff;
  #wasOpen = false;
  #isExpired = false;
  #unopened = 0;
  #isRunning = false;
  /** Aborted where there is nothing to wait for any more. */
  #pausing = new AbortController();
  #retries = new Set();
  #lingering;
  #renewing = new AbortController();

  /** `way` is the client's: where the hub is, who asks, and how. */
  constructor(way, gone) {
    this.#way = way;
    this.#gone = gone;
    this.#backoff = new Backoff(way.chance);
  }

  /** Whether a subscription may share this socket. */
  fits(wish) {
    const its = [...this.#inboxes.keys()];
    return its.length < MOST_SUBSCRIPTIONS && !its.some((course) => course.wish.overlaps(wish));
  }

  add(inbox) {
    clearTimeout(this.#lingering);
    this.#inboxes.set(inbox.course, inbox);
    this.#do(this.#protocol.add(inbox.course));
    if (!this.#isRunning) {
      this.#isRunning = true;
      this.#run();
    }
  }

  /** May be called twice. */
  remove(inbox) {
    if (this.#inboxes.delete(inbox.course)) this.#do(this.#protocol.remove(inbox.course));
    inbox.end(ENDED);
    if (this.#inboxes.size > 0) return;
    this.#pausing.abort();
    clearTimeout(this.#lingering);
    // One that is not open yet is of use to nobody.
    if (this.#protocol.isOpen) this.#lingering = after(LINGER_SECONDS, () => this.#letGo());
    else this.#letGo();
  }

  /** Ends it with all its subscriptions. */
  close(error) {
    for (const inbox of this.#inboxes.values()) inbox.end(error);
    this.#inboxes.clear();
    this.#pausing.abort();
    clearTimeout(this.#lingering);
    this.#letGo();
  }

  #letGo() {
    this.#connection?.cut(1000, "nobody wants anything of it");
  }

  // its life

  async #run() {
    try {
      while (this.#inboxes.size > 0) {
        const end = await this.#lived();
        if (this.#inboxes.size > 0) await this.#paused(end);
      }
    } catch (error) {
      // Of the hub, or of a function that was to give a token: it is thrown where people wait.
      for (const inbox of this.#inboxes.values()) inbox.end(error);
      this.#inboxes.clear();
    } finally {
      clearTimeout(this.#lingering);
      for (const retry of this.#retries) clearTimeout(retry);
      this.#gone(this);
    }
  }

  async #paused(end) {
    const pause = this.#pause(end);
    this.#way.log(`the socket ended (${end.code} ${end.reason}); it is opened again in ${pause.toFixed(1)} s`);
    this.#pausing = new AbortController();
    // Whoever aborts it leaves nothing to be waited for.
    await sleep(pause, this.#pausing.signal).catch(() => {});
  }

  /** Seconds until the next connection. Throws `SocketStopped` where there must be none. */
  #pause({ code, reason }) {
    const what = AFTER[code] ?? "soon";
    if (what === "renew" && !this.#way.credentials.isRenewable) {
      throw new SocketStopped(code, `${reason}; give a function as apiKey to renew them`);
    }
    const mayComeBack = (this.#closing?.reconnect ?? true) || what === "renew";
    if (what === "stop" || !mayComeBack) throw new SocketStopped(code, reason);
    this.#isExpired = what === "renew";
    return this.#backoff.next(what === "later" ? LATER : SOON, this.#closing?.retryAfter ?? 0);
  }

  /** One connection from its beginning to its end; also one that never came to be. */
  async #lived() {
    this.#closing = null;
    const token = await this.#token();
    if (this.#inboxes.size === 0) return { code: ABNORMAL, reason: "nobody wants anything of it" };
    const connection = new Connection(this.#socket(), {
      hello: this.#protocol.authenticate(token).text,
      ping: () => this.#protocol.ping().text,
      heard: (text) => this.#heard(text),
      heartbeat: this.#way.heartbeat,
    });
    this.#connection = connection;
    const end = await connection.ended;
    this.#connection = null;
    this.#renewing.abort();
    this.#protocol.lost();
    if (monotonic() - connection.began >= STEADY_SECONDS) this.#backoff.reset();
    if (!connection.wasOpen && !this.#wasOpen) await this.#lookedFor();
    return this.#endOf(end);
  }

  #socket() {
    try {
      return opened(this.#way.WebSocket, this.#way.url);
    } catch (error) {
      throw new NoSocket(`a socket cannot be opened here: ${error.message}`);
    }
  }

  /** By what the hub said last, where the connection itself says nothing. */
  #endOf({ code, reason }) {
    const said = this.#closing;
    return (code === ABNORMAL || code === 1005) && said?.code ? { code: said.code, reason: said.reason } : { code, reason };
  }

  /** What a WebSocket does not tell of a handshake that failed: whether there is a hub at all. */
  async #lookedFor() {
    if (this.#inboxes.size === 0) return;
    const found = await this.#way.find();
    this.#unopened = found === "hub" ? this.#unopened + 1 : 0;
    if (found === "another" || this.#unopened >= MOST_UNOPENED) {
      throw new NoSocket(
        found === "hub"
          ? "the hub answers, but no socket to it opens; does what is between let none through?"
          : "there is no socket of a hub: what answers at its address is none",
      );
    }
  }

  /** A fresh one for each connection but the first. */
  async #token() {
    const { credentials } = this.#way;
    const token = await credentials.current();
    return this.#wasOpen || this.#isExpired ? credentials.renewed(token) : token;
  }

  // what is heard, and what is said

  #heard(text) {
    for (const output of this.#protocol.received(text)) {
      if (output.is === "welcomed") this.#welcomed(output.limits);
      else if (output.is === "closing") this.#closing = output;
      else if (output.is === "granted") this.#grant(output, text.length);
      else if (output.is === "deliver") this.#deliver(output, text.length);
      else this.#do([output]);
    }
  }

  #welcomed(limits) {
    this.#wasOpen = true;
    this.#connection.welcomed(limits);
    if (this.#way.credentials.isRenewable) {
      this.#renewing = new AbortController();
      this.#renew(this.#renewing.signal);
    }
  }

  #grant({ course, gap }, size) {
    const inbox = this.#inboxes.get(course);
    if (gap !== null) inbox.put(gap, size);
    inbox.grant();
  }

  #deliver({ course, message }, size) {
    const inbox = this.#inboxes.get(course);
    if (inbox.isFull) this.#setAside(inbox);
    else inbox.put(message, size);
  }

  /**
   * Until its reader has taken what waits: then the hub reads on for it from there. A browser's WebSocket cannot stop
   * reading, and the others on this one shall not wait.
   */
  #setAside(inbox) {
    inbox.drained = () => {
      inbox.drained = null;
      this.#do(this.#protocol.resume(inbox.course));
    };
    this.#do(this.#protocol.setAside(inbox.course));
  }

  /** What is said while nobody listens is said again after the next welcome, as far as it still matters. */
  #do(outputs) {
    for (const output of outputs) {
      if (output.is === "send") this.#connection?.say(output.text);
      else if (output.is === "refused") this.#refuse(output);
    }
  }

  #refuse({ course, problem, isTemporary }) {
    if (isTemporary) {
      this.#askAgain(course);
      return;
    }
    const inbox = this.#inboxes.get(course);
    this.#inboxes.delete(course);
    inbox?.end(new SubscriptionRefused(course.wish.name, problem));
    if (this.#inboxes.size === 0) this.#lingering = after(LINGER_SECONDS, () => this.#letGo());
  }

  #askAgain(course) {
    const retry = after(new Backoff(this.#way.chance).next(LATER), () => {
      this.#retries.delete(retry);
      if (this.#inboxes.has(course)) this.#do(this.#protocol.resume(course));
    });
    this.#retries.add(retry);
  }

  /**
   * Fresh credentials in band, some time before those at hand expire. Where that fails, the hub closes in time (4411), and
   * they are asked for again.
   */
  async #renew(signal) {
    const { credentials, lifetime, log } = this.#way;
    try {
      for (let seconds; (seconds = await lifetime(signal)) !== null; ) {
        const pause = Math.max(seconds * 0.8, seconds - 60, 0.1);
        await sleep(Math.min(pause, DAY_SECONDS), signal);
        if (pause > DAY_SECONDS) continue;
        const token = await credentials.renewed(await credentials.current());
        signal.throwIfAborted();
        this.#do([this.#protocol.authenticate(token)]);
      }
    } catch (error) {
      if (!signal.aborted) log(`the credentials could not be renewed in time: ${error?.name}`);
    }
  }
}

/** The sockets of a client: one, but where two subscriptions could not be told apart on it. */
class Links {
  #way;
  #links = new Set();
  #isClosed = false;

  constructor(way) {
    this.#way = way;
  }

  get mostBuffered() {
    return this.#way.mostBuffered;
  }

  /** On the first socket where it fits. */
  add(inbox) {
    if (this.#isClosed) throw new ClientClosed();
    let link = [...this.#links].find((each) => each.fits(inbox.course.wish));
    if (link === undefined) {
      link = new Link(this.#way, (gone) => this.#links.delete(gone));
      this.#links.add(link);
    }
    link.add(inbox);
    return link;
  }

  close() {
    this.#isClosed = true;
    for (const link of [...this.#links]) link.close(new ClientClosed());
  }
}

// --- subscriptions ---------------------------------------------------------------------------------------------------

const DONE = Object.freeze({ value: undefined, done: true });

/**
 * `for await (const message of subscription)`: subscribed with the first message that is asked for, ended with the loop.
 *
 * `await subscription.open()` is subscribed from then on, which rejects with `SubscriptionRefused`, until `close()`,
 * whatever loops there are in between. `position` and `epoch` are where the caller has come to: keep them to go on there
 * another day.
 */
export class Subscription {
  #links;
  #wish;
  #position;
  #epoch;
  #signal;
  #place = null;
  #isHeld = false;
  #isClosed = false;
  #loop = null;
  #aborted = () => this.#place?.inbox.end(this.#signal.reason);

  constructor(links, wish, { since = null, epoch = null, signal = null }) {
    this.#links = links;
    this.#wish = wish;
    this.#position = since;
    this.#epoch = epoch;
    this.#signal = signal;
  }

  get channel() {
    return this.#wish.name;
  }

  get position() {
    return this.#place === null ? this.#position : this.#place.inbox.position;
  }

  get epoch() {
    return this.#place === null ? this.#epoch : this.#place.inbox.epoch;
  }

  async open() {
    this.#isHeld = true;
    this.#isClosed = false;
    try {
      await this.#opened().granted();
    } catch (error) {
      this.close();
      throw error;
    }
    return this;
  }

  /** Ends it, and a loop over it. May be called twice. */
  close() {
    this.#isHeld = false;
    this.#isClosed = true;
    this.#leave();
  }

  async [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
    this.close();
  }

  /** Throws `Misused` where it is looped over already. */
  [Symbol.asyncIterator]() {
    if (this.#loop !== null) {
      throw new Misused(`the subscription of ${this.channel} is looped over already; make another one`);
    }
    this.#isClosed = false;
    let isOver = false;
    const over = () => {
      isOver = true;
      if (this.#loop === loop) this.#loop = null;
    };
    const loop = {
      next: async () => {
        if (isOver) return DONE;
        try {
          return { value: await this.#next(), done: false };
        } catch (error) {
          over();
          this.#leave();
          if (error === ENDED) return DONE;
          throw error;
        }
      },
      return: async (value) => {
        over();
        if (!this.#isHeld) this.#leave();
        return { value, done: true };
      },
      [Symbol.asyncIterator]: () => loop,
    };
    this.#loop = loop;
    return loop;
  }

  async #next() {
    this.#signal?.throwIfAborted();
    if (this.#isClosed) throw ENDED;
    const message = await this.#opened().take();
    this.#signal?.throwIfAborted();
    return message;
  }

  #opened() {
    if (this.#place === null) {
      this.#signal?.throwIfAborted();
      const inbox = new Inbox(new Course(this.#wish, this.#position, this.#epoch), this.#links.mostBuffered);
      this.#place = { link: this.#links.add(inbox), inbox };
      this.#signal?.addEventListener("abort", this.#aborted);
    }
    return this.#place.inbox;
  }

  #leave() {
    if (this.#place === null) return;
    const { link, inbox } = this.#place;
    this.#position = inbox.position;
    this.#epoch = inbox.epoch;
    this.#place = null;
    this.#signal?.removeEventListener("abort", this.#aborted);
    link.remove(inbox);
  }
}

function subscriptionOf(links, kind, options) {
  return new Subscription(links, new Wish(kind, options), options);
}

/**
 * Calls back for each message, and waits for what it returns. What is returned unsubscribes; its `done` settles when
 * nothing more comes, and rejects with what went wrong unless `onError` takes it.
 */
function listening(subscription, callback, onError) {
  const heard = async () => {
    try {
      for await (const message of subscription) await callback(message);
    } catch (error) {
      if (error instanceof ClientClosed) return;
      if (onError === undefined) throw error;
      onError(error);
    }
  };
  return Object.assign(() => subscription.close(), { subscription, done: heard() });
}

/** The first pause between two questions where nothing is heard, and the longest. */
const ASKING_SECONDS = [0.25, 5];
/** How often it is asked all the same while the channel is there. */
const SURE_SECONDS = 30;
const ENDS = new Set(["completed", "failed", "cancelled", "terminated"]);

/**
 * The execution, once it has ended: by its channel where a socket can be had, by asking where none can. Whatever is heard
 * leads to a look: of what happened before the channel was granted the first look tells.
 */
async function ended(get, channel, { executionId, timeout, signal }) {
  const scope = new Scope(signal);
  const state = { status: null, hasChannel: false, isOver: false, news: new News() };
  const late = timeout === undefined || timeout === null ? undefined : after(timeout, () => scope.abort(LATE));
  heardOf(channel, state);
  try {
    for (let [pause, longest] = ASKING_SECONDS; ; pause = Math.min(pause * 2, longest)) {
      const news = state.news.next();
      const found = await get(scope.signal);
      state.status = found.status;
      if (ENDS.has(found.status)) return found;
      await soonerOf(news, state.hasChannel ? SURE_SECONDS : pause, scope.signal);
    }
  } catch (error) {
    throw error === LATE ? new CompletionTimeout(executionId, timeout, state.status) : error;
  } finally {
    clearTimeout(late);
    scope.end();
    state.isOver = true;
    channel.close();
  }
}

/** Where the channel is refused, or there is no socket, the looks are all there is. */
async function heardOf(channel, state) {
  try {
    await channel.open();
    if (state.isOver) return;
    state.hasChannel = true;
    state.news.tell();
    for await (const message of channel) {
      if (message.isGap || ENDS.has(message.data.status)) state.news.tell();
    }
  } catch {
    // The next look tells what is wrong.
  }
  state.hasChannel = false;
  state.news.tell();
}

/** News, or so many seconds. Throws the reason of the signal. */
async function soonerOf(news, seconds, signal) {
  const scope = new Scope(signal);
  try {
    await Promise.race([news, sleep(seconds, scope.signal)]);
  } finally {
    scope.abort();
    scope.end();
  }
}

// --- the client ------------------------------------------------------------------------------------------------------

/** One hub, as one caller. To be closed with `close`. */
export class WorkflowClient {
  #http;
  #links;

  /**
   * `baseUrl` with or without `/api/v1`, in Node else `RUNCAST_URL`. `apiKey` is an API key or a token, or a function
   * that gives a fresh one, at once or as a promise; in Node else `RUNCAST_API_KEY`. `timeout` is seconds for each try of
   * a request, of which there are at most `retries` more than one.
   */
  constructor({
    baseUrl = environment("RUNCAST_URL"),
    apiKey = environment("RUNCAST_API_KEY"),
    timeout = TRY_SECONDS,
    retries = RETRIES,
    heartbeat = HEARTBEAT_SECONDS,
    mostBuffered = MOST_MESSAGES,
    fetch = globalThis.fetch,
    WebSocket = globalThis.WebSocket,
    chance = Math.random,
    log = () => {},
  } = {}) {
    if (!baseUrl) throw new Misused("baseUrl: say which hub, or set RUNCAST_URL");
    if (!apiKey) throw new Misused("apiKey: say who asks, or set RUNCAST_API_KEY");
    if (!fetch) throw new Misused("fetch: there is none here; give one");
    const api = apiUrl(baseUrl);
    const credentials = new Credentials(apiKey);
    // Called by itself: a browser's refuses to be the method of something else.
    this.#http = new Http(api, credentials, (...said) => fetch(...said), { timeout, retries, chance, log });
    this.#links = new Links({
      url: socketUrl(api), WebSocket: WebSocket ?? missingSocket, credentials, heartbeat, mostBuffered, chance, log,
      lifetime: (signal) => this.#lifetime(signal),
      find: () => this.#find(),
    });
    this.workflows = new Workflows(this.#http);
    this.executions = new Executions(this.#http, this.#links);
    this.tasks = new Tasks(this.#http);
    this.webhooks = new Webhooks(this.#http);
    this.events = new Events(this.#http);
  }

  /** Ends everything that goes on; loops over subscriptions end with `ClientClosed`. May be called twice. */
  close() {
    this.#links.close();
    this.#http.close();
  }

  async [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
    this.close();
  }

  /**
   * A channel's messages, to be looped over: `execution`, `workflow`, `task` (by `taskId` or `assignee`), `webhook`,
   * `events`, `system`, `replay`; an id may be `"*"`.
   *
   * All that comes after the position `since` (0 is the beginning, left out it is the head of the log), each once, in
   * order, through whatever cuts and restarts. `epoch` names the log that `since` is of. A loop throws
   * `SubscriptionRefused`, `SocketStopped`, `NoSocket`, `ClientClosed`, and the reason of `signal`.
   */
  subscribe(channel, options = {}) {
    return subscriptionOf(this.#links, channel, options);
  }

  /** Who asks, and what they may do. */
  async me({ signal } = {}) {
    return (await this.#http.send("GET", ["me"], { signal })).data;
  }

  /** The `data` of any route below `/api/v1`, such as `request("GET", "/agents")`. */
  async request(method, path, { query, body, idempotencyKey, signal } = {}) {
    return (await this.#http.send(method, parts(path), { query, body, key: idempotencyKey, signal })).data;
  }

  /** Any list below `/api/v1`, such as `list("/schedules", { limit: 100 })`. */
  list(path, query) {
    return new Listing(this.#http, parts(path), query);
  }

  /** Seconds for which the credentials hold, by the clock of the hub; null for long. */
  async #lifetime(signal) {
    const { data, metadata } = await this.#http.send("GET", ["me"], { signal });
    return data.expires_at === null ? null : (Date.parse(data.expires_at) - Date.parse(metadata.timestamp)) / 1000;
  }

  /** `hub`, `another` thing at the address, or `nothing` that could be told. */
  async #find() {
    try {
      await this.#http.send("GET", ["me"], { retries: 0, seconds: OPEN_SECONDS });
      return "hub";
    } catch (error) {
      if (error instanceof NoEnvelope) return PASSING.has(error.status) || error.status >= 500 ? "nothing" : "another";
      return error instanceof ApiError && error.status < 429 ? "hub" : "nothing";
    }
  }
}

function environment(name) {
  return globalThis.process?.env?.[name];
}

class missingSocket {
  constructor() {
    throw new Error("there is no WebSocket; give one as an option");
  }
}
