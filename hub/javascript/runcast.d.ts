/** The types of the client of a Runcast hub. What the hub answers is typed as far as this version knows it. */

// --- what comes back -------------------------------------------------------------------------------------------------

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

export type WorkflowStatus = "draft" | "active" | "inactive" | "archived";
export type ExecutionStatus =
  | "pending" | "queued" | "running" | "paused" | "completed" | "failed" | "cancelled" | "terminated";

/** `definition` and the statistics, from `execution_count` on, are there where they were asked for. */
export interface Workflow {
  id: string;
  name: string;
  status: WorkflowStatus;
  version: number;
  description: string | null;
  category: string | null;
  tags: string[];
  priority: number;
  definition?: JsonObject;
  component_count: number;
  created_by: string;
  created_at: string;
  updated_at: string;
  permissions: Record<string, boolean>;
  execution_count?: number;
  success_rate?: number | null;
  last_execution_at?: string | null;
}

export interface Finding {
  code: string;
  severity: string;
  message: string;
  component_id: string | null;
  field: string | null;
}

export interface Validation {
  is_valid: boolean;
  errors: Finding[];
  warnings: Finding[];
  info: Finding[];
}

/** An execution that was asked for. `estimated_duration` is seconds, null while there is no history. */
export interface Started {
  id: string;
  execution_id: string;
  workflow_id: string;
  status: ExecutionStatus;
  priority: number;
  scheduled_at: string | null;
  created_at: string;
  estimated_duration: number | null;
  queue_position: number | null;
}

export interface Progress {
  current_component: string | null;
  completed_components: number;
  total_components: number;
  percentage: number;
}

export interface Execution {
  id: string;
  workflow_id: string;
  workflow_name: string;
  workflow_version: number;
  status: ExecutionStatus;
  priority: number;
  progress: Progress;
  parameters: JsonObject;
  results: JsonObject | null;
  error_message: string | null;
  error: JsonObject | null;
  resource_usage: JsonObject | null;
  tags: string[];
  project_id: string | null;
  created_by: string;
  triggered_by: string;
  parent_execution_id: string | null;
  created_at: string;
  scheduled_at: string | null;
  started_at: string | null;
  completed_at: string | null;
  updated_at: string | null;
  paused_at: string | null;
  duration_seconds: number | null;
  cancelled_at: string | null;
  cancelled_by: string | null;
  cancel_reason: string | null;
}

/** `iteration` is the path of the indices of the loops around, such as `3.0`; empty outside of loops. */
export interface Component {
  component_id: string;
  component_type: string;
  iteration: string;
  status: string;
  attempt: number;
  input_data: Json;
  output_data: Json;
  error_message: string | null;
  started_at: string | null;
  completed_at: string | null;
  duration_seconds: number | null;
}

export interface LogLine {
  timestamp: string;
  level: "debug" | "info" | "warning" | "error";
  message: string;
  component_id: string | null;
  metadata: Json;
}

/** `input` of a claimed task is in clear for its worker alone; `omitted` names what a list left out. */
export interface Task {
  id: string;
  execution_id: string;
  workflow_id: string;
  workflow_name: string;
  component_id: string;
  iteration: string;
  attempt: number;
  kind: string;
  task_type: string | null;
  title: string;
  description: string | null;
  status: string;
  priority: number;
  assignee: string | null;
  candidates: string[];
  form: Json;
  data: Json;
  input?: Json;
  due_at: string | null;
  overdue: boolean;
  escalation_level: number;
  output: Json;
  notes: string | null;
  error_message: string | null;
  reason: string | null;
  ended_by: string | null;
  created_at: string;
  assigned_at: string | null;
  started_at: string | null;
  completed_at: string | null;
  updated_at: string;
  duration_seconds: number | null;
  worker_id?: string | null;
  lease_seconds?: number | null;
  lease_expires_at?: string | null;
  omitted?: string[];
}

/** How long a worker has a task from now on. */
export interface Lease {
  id: string;
  status: string;
  worker_id: string;
  lease_seconds: number;
  lease_expires_at: string;
}

/** `secret` is there at its creation and rotation alone. */
export interface Webhook {
  id: string;
  url: string;
  events: string[];
  description: string | null;
  active: boolean;
  secret?: string | null;
  filters: JsonObject;
  authentication: JsonObject;
  headers: Record<string, string>;
  timeout_seconds: number;
  retry_policy: JsonObject;
  max_in_flight: number;
  rate_limit_per_second?: number | null;
  ordered: boolean;
  signing?: "hmac" | "ed25519";
  public_key?: string | null;
  metadata?: JsonObject;
  disabled_reason: string | null;
  created_by: string;
  created_at: string;
  updated_at: string;
}

export interface Attempt {
  attempt: number;
  started_at: string;
  duration_ms: number;
  status_code: number | null;
  error: string | null;
  response_body: string | null;
  error_class?: string | null;
  receiver_fault?: boolean;
  request_headers?: Record<string, string> | null;
  timings?: Record<string, number | null> | null;
}

export interface Delivery {
  id: string;
  webhook_id: string;
  event_id: string;
  event: string;
  position: number | null;
  status: "pending" | "in_flight" | "retrying" | "succeeded" | "exhausted" | "cancelled";
  attempt_count: number;
  next_attempt_at: string | null;
  created_at: string;
  completed_at: string | null;
  attempts?: Attempt[];
}

/** `data` is null where it was archived. */
export interface Event {
  position: number;
  id: string;
  type: string;
  time: string;
  organization_id: string;
  stream: string;
  version: number;
  workflow_id: string | null;
  execution_id: string | null;
  data: JsonObject | null;
  metadata: JsonObject;
  hash: string;
  archived?: boolean;
}

/** `channel` is where subscribers get it, null where it goes to a webhook. Both ends are inclusive. */
export interface Replay {
  id: string;
  status: string;
  target: JsonObject;
  channel: string | null;
  from: number;
  to: number;
  types: string[];
  workflow_id: string | null;
  execution_id: string | null;
  progress: JsonObject;
  error: string | null;
  created_at: string;
  completed_at: string | null;
}

/** Who asks. */
export interface Me {
  type: string;
  id: string;
  name: string;
  organization: { id: string; name: string };
  role: string | null;
  permissions: string[];
  expires_at: string | null;
}

/** Of a list. `total_count` is null where counting would cost too much. */
export interface Metadata {
  timestamp: string;
  request_id: string;
  version: string;
  total_count: number | null;
  limit: number;
  offset: number;
  has_more: boolean;
  next_cursor: string | null;
}

export interface Page<T> extends ReadonlyArray<T> {
  readonly metadata: Metadata;
  readonly hasMore: boolean;
}

/** `await` it for its first page; `for await` goes through all items, `pages()` through all pages. */
export interface Listing<T> extends PromiseLike<Page<T>>, AsyncIterable<T> {
  pages(): AsyncIterableIterator<Page<T>>;
}

// --- what can go wrong -----------------------------------------------------------------------------------------------

/** One thing that is wrong: `field` is a path such as `definition.components[0].config.url`. */
export interface Problem {
  code: string;
  message: string;
  field: string | null;
  details: JsonObject | null;
}

/** Any error of this client. None of them shows a credential. */
export class RuncastError extends Error {
  /** A text; of `SocketStopped` the code of the close, a number. */
  readonly code: string | number | null;
  readonly field: string | null;
  readonly details: JsonObject | null;
  readonly status: number | null;
  readonly requestId: string | null;
}

/** The client was given something that it cannot work with; nothing was sent. */
export class Misused extends RuncastError {}

/** No answer came, however often it was tried. Whether the last request was done is not known. */
export class Unreachable extends RuncastError {}

/** Something answered that is not a hub: a proxy, another program, another path. */
export class NoEnvelope extends RuncastError {
  readonly status: number;
}

/** An execution did not end in time. It goes on; `lastStatus` is the last that was seen of it. */
export class CompletionTimeout extends RuncastError {
  readonly executionId: string;
  readonly lastStatus: ExecutionStatus | null;
}

/**
 * The hub refused a request. `errors` are all that was wrong with it, and `code`, `field` and `details` those of the
 * first; `requestId` is the one in the hub's log; `retryAfter` is seconds, where the hub said so.
 */
export class ApiError extends RuncastError {
  readonly code: string;
  readonly status: number;
  readonly errors: Problem[];
  readonly retryAfter: number | null;
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

/** The hub will not serve this channel; other subscriptions go on. */
export class SubscriptionRefused extends RuncastError {
  readonly code: string;
  readonly channel: string;
}

/** The hub closed the socket, and to come back would be of no use. */
export class SocketStopped extends RuncastError {
  readonly code: number;
  readonly reason: string;
}

/** Where the socket should be there never was one: the address is wrong, or a proxy lets none through. */
export class NoSocket extends RuncastError {}
/** The client was closed. */
export class ClientClosed extends RuncastError {}

// --- what is said ----------------------------------------------------------------------------------------------------

/** `signal` stops the request; it rejects with the signal's reason. */
export interface Sending {
  signal?: AbortSignal;
}

/** The same `idempotencyKey` again gives the first answer, and does nothing; left out, each call has its own. */
export interface Posting extends Sending {
  idempotencyKey?: string;
}

/** The filters of a list, in camelCase (`workflowId`) or as the hub names them. Null and undefined are left out. */
export type Query = Sending & {
  limit?: number;
  offset?: number;
  cursor?: string;
  [name: string]: unknown;
};

export interface Reason extends Posting {
  reason?: string;
}

/** Who does something with a task: a person, or a worker under its lease. */
export interface Actor extends Posting {
  assignee?: string;
  workerId?: string;
}

export interface Claim extends Actor {
  leaseSeconds?: number;
}

export type Priority = number | "low" | "medium" | "normal" | "high" | "critical" | "urgent";

// --- channels --------------------------------------------------------------------------------------------------------

/**
 * One message of a channel. `position` is where to resume after it; null for `replay_completed` alone.
 *
 * `gap` is the one type that the client says itself: what follows does not join what came before. Its `position` is
 * where it goes on, its data `reason` (`another_log`, or `archived`), `since` and `epoch` (of the log from here on).
 * Fetch the state anew.
 */
export class Message {
  private constructor();
  readonly type: string;
  readonly id: string;
  readonly timestamp: string;
  readonly channel: string;
  readonly position: number | null;
  readonly replay: string | null;
  readonly data: Record<string, any>;
  readonly isGap: boolean;
}

export type Channel = "execution" | "workflow" | "task" | "webhook" | "events" | "system" | "replay";

export interface Wanted {
  /** Begin after this position; 0 is the beginning, left out it is the head of the log. */
  since?: number | null;
  /** The log that `since` is of. */
  epoch?: string | null;
  /** Patterns of types of events, as a list or with commas. */
  types?: string | readonly string[] | null;
  /** A condition in CEL. */
  filter?: string | null;
  mode?: "all" | "latest" | null;
  /** Ends the loop, which throws the signal's reason. */
  signal?: AbortSignal;
}

/** At most one key: an id, or `"*"`. */
export interface SubscribeOptions extends Wanted {
  executionId?: string;
  workflowId?: string;
  taskId?: string;
  assignee?: string;
  webhookId?: string;
  replayId?: string;
}

/**
 * `for await (const message of subscription)`: subscribed with the first message that is asked for, ended with the loop.
 *
 * `await subscription.open()` is subscribed from then on, which rejects with `SubscriptionRefused`, until `close()`,
 * whatever loops there are in between. `position` and `epoch` are where the caller has come to: keep them to go on there
 * another day.
 */
export class Subscription implements AsyncIterable<Message> {
  private constructor();
  readonly channel: string;
  readonly position: number | null;
  readonly epoch: string | null;
  open(): Promise<this>;
  /** Ends it, and a loop over it. May be called twice. */
  close(): void;
  [Symbol.asyncIterator](): AsyncIterableIterator<Message>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Calling it unsubscribes. */
export interface Unsubscribe {
  (): void;
  readonly subscription: Subscription;
  /** Settles when nothing more comes; rejects with what went wrong, unless `onError` takes it. */
  readonly done: Promise<void>;
}

// --- what there is ---------------------------------------------------------------------------------------------------

export interface Workflows {
  /** `name` and `definition`, and what else `POST /workflows` takes. */
  create(workflow: object, options?: Posting): Promise<Workflow>;
  list(query?: Query): Listing<Workflow>;
  /** `at`: as it was at a position or a time. */
  get(
    workflowId: string,
    options?: Sending & { at?: number | string | Date; includeDefinition?: boolean; includeStats?: boolean },
  ): Promise<Workflow>;
  /** Fields left out keep their values; `definition` is replaced whole. */
  update(workflowId: string, changes: object, options?: Sending): Promise<Workflow>;
  /** With live executions only by `force`, which cancels them. */
  delete(workflowId: string, options?: Sending & { force?: boolean }): Promise<void>;
  /** The stored definition, or this one. */
  validate(workflowId: string, definition?: object | null, options?: Sending): Promise<Validation>;
  /** Durable once this resolves. */
  execute(
    workflowId: string,
    options?: Posting & {
      parameters?: object;
      priority?: Priority;
      scheduledAt?: string | Date;
      tags?: readonly string[];
      projectId?: string;
      autoStart?: boolean;
    },
  ): Promise<Started>;
  executions(workflowId: string, query?: Query): Listing<Execution>;
  activate(workflowId: string, options?: Posting): Promise<Workflow>;
  deactivate(workflowId: string, options?: Posting): Promise<Workflow>;
  archive(workflowId: string, options?: Posting): Promise<Workflow>;
}

export interface Executions {
  list(query?: Query): Listing<Execution>;
  /** `at`: as it was at a position or a time. */
  get(executionId: string, options?: Sending & { at?: number | string | Date }): Promise<Execution>;
  /**
   * The execution, once it has ended, well or not: look at `status`. Rejects with `CompletionTimeout` after `timeout`
   * seconds; the execution goes on.
   */
  waitForCompletion(executionId: string, options?: Sending & { timeout?: number }): Promise<Execution>;
  /**
   * Calls back for each message of the execution from its beginning on (or `since`), one after another; a promise that is
   * returned is waited for.
   */
  subscribe(
    executionId: string,
    callback: (update: Message) => unknown,
    options?: Wanted & { onError?: (error: unknown) => void },
  ): Unsubscribe;
  /** What `client.subscribe("execution", { executionId })` returns. */
  subscribe(executionId: string, options?: Wanted): Subscription;
  /** One that is pending, now. */
  start(executionId: string, options?: Posting): Promise<Execution>;
  cancel(executionId: string, options?: Reason): Promise<Execution>;
  /** Nobody waits for what runs. */
  terminate(executionId: string, options?: Reason): Promise<Execution>;
  pause(executionId: string, options?: Reason): Promise<Execution>;
  resume(executionId: string, options?: Reason): Promise<Execution>;
  /** From where it stopped, or `fromComponent`. */
  retry(
    executionId: string,
    options?: Reason & { fromComponent?: string; parameters?: object; version?: "kept" | "newest" },
  ): Promise<Execution>;
  /** `data` becomes the output of the component that waits for it. */
  signal(executionId: string, key: string, data?: unknown, options?: Posting): Promise<Execution>;
  priority(executionId: string, priority: Priority, options?: Posting): Promise<Execution>;
  logs(executionId: string, query?: Query): Listing<LogLine>;
  /** Every event of it, in order. */
  history(executionId: string, query?: Query): Listing<Event>;
  /** Those that started, in that order, then the pending ones. */
  components(executionId: string, query?: Query): Listing<Component>;
}

/** A worker says its `workerId` in all that it does: then it is refused once its lease has passed to another. */
export interface Tasks {
  list(query?: Query): Listing<Task>;
  get(taskId: string, options?: Sending): Promise<Task>;
  logs(taskId: string, query?: Query): Listing<LogLine>;
  /**
   * External tasks for a worker, `max` (1) at most; where there are none, those that come in `waitSeconds` (60 at most),
   * or none.
   */
  claimMany(
    types: readonly string[],
    workerId: string,
    options?: Posting & { max?: number; leaseSeconds?: number; waitSeconds?: number },
  ): Promise<Task[]>;
  /** One task: for a person, or for a worker. */
  claim(taskId: string, options?: Claim): Promise<Task>;
  start(taskId: string, options?: Claim): Promise<Task>;
  /** Keeps a lease. Rejects with `Conflict` where the worker has the task no more. */
  heartbeat(taskId: string, workerId: string, options?: Sending & { leaseSeconds?: number }): Promise<Lease>;
  /** `output` is the component's output. */
  complete(taskId: string, output?: unknown, options?: Actor & { notes?: string }): Promise<Task>;
  /** `retryable`: by the retry policy of the component. */
  fail(taskId: string, error: string, options?: Actor & { retryable?: boolean }): Promise<Task>;
  release(taskId: string, options?: Actor & { reason?: string }): Promise<Task>;
  reassign(taskId: string, assignee: string, options?: Reason): Promise<Task>;
  cancel(taskId: string, options?: Reason): Promise<Task>;
  /** Runs the execution of a task that ended it again, from the task's component. */
  retry(taskId: string, options?: Posting): Promise<Task>;
}

export interface Webhooks {
  /** `url` and `events`, and what else `POST /webhooks` takes. Its `secret` is in this answer alone. */
  create(webhook: object, options?: Posting): Promise<Webhook>;
  list(query?: Query): Listing<Webhook>;
  get(webhookId: string, options?: Sending): Promise<Webhook>;
  update(webhookId: string, changes: object, options?: Sending): Promise<Webhook>;
  delete(webhookId: string, options?: Sending): Promise<void>;
  /** The id of the delivery of a test event. */
  test(webhookId: string, options?: Posting): Promise<string>;
  enable(webhookId: string, options?: Posting): Promise<Webhook>;
  disable(webhookId: string, options?: Posting): Promise<Webhook>;
  /** A new secret, in this answer alone; the old one signs as well until the overlap is over. */
  rotateSecret(webhookId: string, options?: Posting & { secret?: string; overlapSeconds?: number }): Promise<Webhook>;
  /** Sends what was failed or undelivered between two positions or times; the id of the job. */
  recover(
    webhookId: string,
    options: Posting & { since: number | string | Date; until?: number | string | Date; what?: "failed" | "undelivered" },
  ): Promise<string>;
  /** Cancels what waits; answers how many. */
  cancel(
    webhookId: string,
    options?: Posting & {
      status?: "pending" | "retrying";
      events?: readonly string[];
      startTime?: string | Date;
      endTime?: string | Date;
    },
  ): Promise<number>;
  stats(webhookId: string, options?: Sending & { period?: "1h" | "24h" | "7d" }): Promise<JsonObject>;
  deliveries(webhookId: string, query?: Query): Listing<Delivery>;
  delivery(deliveryId: string, options?: Sending): Promise<Delivery>;
  resend(deliveryId: string, options?: Posting): Promise<Delivery>;
}

export interface Events {
  /** In the order of their positions; `after` and `before` are exclusive. */
  list(query?: Query): Listing<Event>;
  get(position: number, options?: Sending): Promise<Event>;
  /** Casts a span of the log again, both ends (positions or times) inclusive: to a webhook, or to a channel. */
  replay(
    options?: Posting & {
      target?: "channel" | object;
      webhookId?: string;
      first?: number | string | Date;
      last?: number | string | Date;
      types?: readonly string[];
      workflowId?: string;
      executionId?: string;
    },
  ): Promise<Replay>;
  replays(query?: Query): Listing<Replay>;
  getReplay(replayId: string, options?: Sending): Promise<Replay>;
  cancelReplay(replayId: string, options?: Posting): Promise<Replay>;
}

/** A key or a token; or what gives a fresh one whenever one is needed. */
export type ApiKey = string | (() => string | Promise<string>);

/** Durations are seconds. */
export interface ClientOptions {
  /** With or without `/api/v1`; in Node else `RUNCAST_URL`. In a page, `/` is the hub that the page is from. */
  baseUrl?: string;
  /** In Node else `RUNCAST_API_KEY`. */
  apiKey?: ApiKey;
  /** How long one try of a request may take: 30. */
  timeout?: number;
  /** How many tries there may be after the first: 5. */
  retries?: number;
  /** After how much silence the hub is asked for a sign of life, and how long it has for that: 10. */
  heartbeat?: number;
  /** How many messages wait for a slow loop before it is set aside: 1024. */
  mostBuffered?: number;
  /** For what has none of its own. */
  fetch?: typeof globalThis.fetch;
  WebSocket?: new (url: string) => object;
  /** In the place of `Math.random`. */
  chance?: () => number;
  /** Told of what is tried again. */
  log?: (text: string) => void;
}

/** One hub, as one caller. To be closed with `close`. */
export class WorkflowClient {
  constructor(options?: ClientOptions);
  readonly workflows: Workflows;
  readonly executions: Executions;
  readonly tasks: Tasks;
  readonly webhooks: Webhooks;
  readonly events: Events;
  /**
   * A channel's messages: all that comes after the position `since`, each once, in order, through whatever cuts and
   * restarts. A loop throws `SubscriptionRefused`, `SocketStopped`, `NoSocket`, `ClientClosed`, and the reason of `signal`.
   */
  subscribe(channel: Channel, options?: SubscribeOptions): Subscription;
  /** Who asks, and what they may do. */
  me(options?: Sending): Promise<Me>;
  /** The `data` of any route below `/api/v1`, such as `request("GET", "/agents")`. */
  request<T = unknown>(
    method: string,
    path: string,
    options?: Posting & { query?: Record<string, unknown>; body?: unknown },
  ): Promise<T>;
  /** Any list below `/api/v1`, such as `list("/schedules", { limit: 100 })`. */
  list<T = JsonObject>(path: string, query?: Query): Listing<T>;
  /** Ends everything that goes on; loops over subscriptions end with `ClientClosed`. May be called twice. */
  close(): void;
  [Symbol.asyncDispose](): Promise<void>;
}
