// The subscriptions of the client, against a hub (RUNCAST_URL, RUNCAST_API_KEY).

import assert from "node:assert/strict";

import { WorkflowClient } from "runcast";

const SMALLEST = { components: [{ id: "start", type: "start" }] };
const WAITING = {
  components: [{ id: "start", type: "start" }, { id: "wait", type: "wait", config: { seconds: 3600 } }],
  connections: [{ source: "start", target: "wait" }],
};
const NOBODY = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/** Counts the sockets that are open. */
let sockets = 0;
class Counted extends WebSocket {
  constructor(url) {
    super(url);
    assert.ok(!url.includes("?"), "no credentials in the URL");
    sockets += 1;
    this.addEventListener("close", () => (sockets -= 1));
  }
}

const client = new WorkflowClient({ WebSocket: Counted });
let count = 0;
const create = async (definition = SMALLEST) =>
  (await client.workflows.create({ name: `w${(count += 1)}`, definition })).id;
const positions = (things) => things.map((thing) => thing.position);
const logged = async (query) => positions(await Array.fromAsync(client.events.list(query)));

/** The next messages; the loop is left after them. */
async function taken(subscription, most) {
  const found = [];
  for await (const message of subscription) {
    if (found.push(message) === most) break;
  }
  return found;
}

async function aRunIsWaitedFor() {
  const execution = await client.workflows.execute(await create());
  const result = await client.executions.waitForCompletion(execution.id, { timeout: 30 });
  assert.deepEqual([result.id, result.status], [execution.id, "completed"]);
  const other = await client.workflows.execute(await create(WAITING));
  await assert.rejects(client.executions.waitForCompletion(other.id, { timeout: 0.3 }), (error) => {
    assert.deepEqual([error.name, error.lastStatus], ["CompletionTimeout", "running"]);
    assert.match(error.message, /is running after 0\.3 seconds; it was not cancelled/);
    return true;
  });
  const waiting = client.executions.waitForCompletion(other.id, { timeout: 30 });
  await client.executions.cancel(other.id);
  assert.equal((await waiting).status, "cancelled");
  await assert.rejects(client.executions.waitForCompletion(NOBODY), { name: "NotFound" });
}

async function aRunIsWaitedForWithoutASocket() {
  const deaf = new WorkflowClient({ WebSocket: class { constructor() { throw new Error("not here"); } } });
  const execution = await client.workflows.execute(await create(WAITING));
  const waiting = deaf.executions.waitForCompletion(execution.id, { timeout: 30 });
  await client.executions.cancel(execution.id);
  assert.equal((await waiting).status, "cancelled");
  await assert.rejects(taken(deaf.subscribe("events"), 1), { name: "NoSocket", message: /not here/ });
  deaf.close();
}

async function aChannelFromItsBeginningIsTheLog() {
  const execution = await client.workflows.execute(await create());
  await client.executions.waitForCompletion(execution.id);
  const expected = await logged();
  assert.deepEqual(positions(await taken(client.subscribe("events", { since: 0 }), expected.length)), expected);
  const heard = await taken(client.executions.subscribe(execution.id, { since: 0 }), 3);
  assert.deepEqual(heard.map((message) => message.channel), Array(3).fill(`execution:${execution.id}`));
  const types = await logged({ types: "execution.*" });
  const found = await taken(client.subscribe("events", { since: 0, types: ["execution.*"] }), types.length);
  assert.deepEqual(positions(found), types);
}

async function aLoopThatWasLeftGoesOn() {
  const [first, ...rest] = await logged();
  const subscription = client.subscribe("events", { since: 0 });
  for (const position of [first, ...rest]) {
    assert.deepEqual(positions(await taken(subscription, 1)), [position]);
    assert.equal(subscription.position, position);
  }
  const again = client.subscribe("events", { since: first, epoch: subscription.epoch });
  assert.deepEqual(positions(await taken(again, rest.length)), rest);
}

async function whatIsCalledBack() {
  const execution = await client.workflows.execute(await create());
  await client.executions.waitForCompletion(execution.id);
  const statuses = [];
  let active = 0;
  await new Promise((resolve) => {
    const unsubscribe = client.executions.subscribe(execution.id, async (update) => {
      assert.equal((active += 1), 1, "one after another");
      await null;
      active -= 1;
      statuses.push(update.data.status);
      if (update.data.status !== "completed" || update.type !== "execution_update") return;
      unsubscribe();
      unsubscribe.done.then(resolve);
    });
  });
  assert.equal(statuses[0], "queued");
  const refused = await new Promise((resolve) => {
    client.executions.subscribe(NOBODY, assert.fail, { onError: resolve });
  });
  assert.equal(refused.code, "RESOURCE_NOT_FOUND");
  const failing = client.executions.subscribe(execution.id, () => { throw new Error("mine"); });
  await assert.rejects(failing.done, /mine/);
}

async function manyShareASocketButThoseThatOverlap() {
  const workflowId = await create();
  const execution = await client.workflows.execute(workflowId);
  await client.executions.waitForCompletion(execution.id);
  const open = [
    client.executions.subscribe(execution.id, { since: 0 }),
    client.subscribe("workflow", { workflowId }),
    client.subscribe("events"),
    client.subscribe("task", { assignee: "ada" }),
  ];
  for (const each of open) await each.open();
  assert.equal(sockets, 1);
  const every = await client.subscribe("execution", { executionId: "*", since: execution.position ?? 0 }).open();
  const same = await client.executions.subscribe(execution.id, { since: 0 }).open();
  assert.equal(sockets, 3);
  const own = async (subscription) => {
    const found = [];
    for await (const message of subscription) {
      if (message.channel === open[0].channel && found.push(message.position) === 3) return found;
    }
  };
  assert.deepEqual(await own(open[0]), await own(same));
  assert.deepEqual(await own(every), (await own(client.executions.subscribe(execution.id, { since: 0 }))));
  for (const each of [...open, every, same]) each.close();
}

async function whatIsRefusedIsThrownThereAndNowhereElse() {
  const events = await client.subscribe("events", { types: ["workflow.*"] }).open();
  for (const [channel, options, said] of [
    ["execution", { executionId: NOBODY }, { code: "RESOURCE_NOT_FOUND", field: "execution_id", message: /not found/ }],
    ["workflow", { workflowId: "*", since: 10 ** 9 }, { code: "INVALID_POSITION" }],
    ["weather", {}, { name: "SubscriptionRefused", message: /unknown/ }],
    ["task", { taskId: "*", types: ["ü".repeat(40_000)] }, { code: "PAYLOAD_TOO_LARGE" }],
  ]) {
    await assert.rejects(taken(client.subscribe(channel, options), 1), said);
    await assert.rejects(client.subscribe(channel, options).open(), said);
  }
  await create();
  assert.equal((await taken(events, 1))[0].data.type, "workflow.created");
  events.close();
  assert.throws(() => client.subscribe("task", { taskId: "*", assignee: "ada" }), /one key/);
  assert.throws(() => client.subscribe("execution", { execution_id: "x" }), /execution_id: there is no such option/);
}

async function aReplayEndsItsLoop() {
  const replay = await client.events.replay();
  const heard = await Array.fromAsync(client.subscribe("replay", { replayId: replay.id }));
  assert.equal(heard.at(-1).type, "replay_completed");
  const expected = (await logged()).filter((position) => position >= replay.from && position <= replay.to);
  assert.deepEqual(positions(heard.slice(0, -1)), expected);
}

async function anotherLogIsShownAsAGap() {
  const subscription = await client.subscribe("events", { since: 0, epoch: "another", types: ["workflow.*"] }).open();
  assert.deepEqual([subscription.position, subscription.epoch], [0, "another"], "what was not seen is not passed");
  await create();
  const [gap, message] = await taken(subscription, 2);
  assert.deepEqual([gap.isGap, gap.channel, gap.data.reason, gap.data.since], [true, "events", "another_log", 0]);
  assert.deepEqual([gap.data.epoch, message.data.type], [subscription.epoch, "workflow.created"]);
  subscription.close();
}

async function aSlowReaderDelaysNobodyAndMissesNothing() {
  const said = [];
  class Overheard extends WebSocket {
    send(text) {
      said.push(JSON.parse(text).type);
      super.send(text);
    }
  }
  const small = new WorkflowClient({ mostBuffered: 8, WebSocket: Overheard });
  const slow = await small.subscribe("events").open();
  const quick = await small.subscribe("workflow", { workflowId: "*" }).open();
  const since = slow.position;
  const seen = taken(quick, 40);
  for (let index = 0; index < 40; index += 1) await create();
  assert.equal((await seen).length, 40);
  assert.equal(slow.position, since, "nothing was taken of it");
  assert.deepEqual(said, ["auth", "subscribe", "subscribe", "unsubscribe"], "it is set aside");
  const expected = await logged({ after: since });
  assert.deepEqual(positions(await taken(slow, expected.length)), expected);
  const [live, too] = [taken(slow, 1), taken(quick, 1)];
  await create();
  assert.equal((await live)[0].position, (await too)[0].position, "both are live again");
  small.close();
}

async function whatIsStoppedEnds() {
  const stop = new AbortController();
  const subscription = client.subscribe("events", { signal: stop.signal });
  const looping = taken(await subscription.open(), 1);
  stop.abort(new Error("enough"));
  await assert.rejects(looping, /enough/);
  await assert.rejects(subscription.open(), /enough/);
  const other = client.subscribe("events", { since: 0 });
  for await (const _ of other) {
    await assert.rejects(taken(other, 1), /looped over already/);
    break;
  }
  const closed = await client.subscribe("events").open();
  const ending = taken(closed, 1);
  closed.close();
  assert.deepEqual(await ending, [], "whoever closes it ends its loop");
}

async function credentialsAreRenewedOnTheSameSocket() {
  let asked = 0;
  const fresh = async () => {
    const body = { name: `short${(asked += 1)}`, role: "admin", expires_at: new Date(Date.now() + 3_000) };
    return (await client.request("POST", "/auth/api-keys", { body })).api_key;
  };
  let opened = 0;
  class Once extends WebSocket {
    constructor(url) {
      super(url);
      opened += 1;
    }
  }
  const renewing = new WorkflowClient({ apiKey: fresh, WebSocket: Once });
  const subscription = await renewing.subscribe("events", { types: ["workflow.*"] }).open();
  assert.equal(asked, 1);
  for await (const message of renewing.subscribe("system", { types: ["apikey.created"] })) {
    assert.ok(message.data.api_key_id);
    break;
  }
  assert.equal(asked, 2);
  await create();
  assert.equal((await taken(subscription, 1))[0].data.type, "workflow.created");
  assert.equal(opened, 1, "it is the same socket");
  renewing.close();
}

async function aWrongOrRevokedKeyStopsEveryLoop() {
  const wrong = new WorkflowClient({ apiKey: `sk_live_${"0".repeat(32)}` });
  await assert.rejects(taken(wrong.subscribe("events"), 1), { name: "SocketStopped", code: 4401 });
  wrong.close();
  const key = await client.request("POST", "/auth/api-keys", { body: { name: "revoked", role: "admin" } });
  const revoked = new WorkflowClient({ apiKey: key.api_key });
  const looping = taken(await revoked.subscribe("events").open(), 100);
  await Promise.all([
    assert.rejects(looping, { name: "SocketStopped" }),
    client.request("DELETE", `/auth/api-keys/${key.id}`),
  ]);
}

for (const part of [
  aRunIsWaitedFor, aRunIsWaitedForWithoutASocket, aChannelFromItsBeginningIsTheLog, aLoopThatWasLeftGoesOn,
  whatIsCalledBack, manyShareASocketButThoseThatOverlap, whatIsRefusedIsThrownThereAndNowhereElse, aReplayEndsItsLoop,
  anotherLogIsShownAsAGap, aSlowReaderDelaysNobodyAndMissesNothing, whatIsStoppedEnds,
  credentialsAreRenewedOnTheSameSocket, aWrongOrRevokedKeyStopsEveryLoop,
]) {
  const began = performance.now();
  await part();
  console.log(part.name, Math.round(performance.now() - began));
}
const last = await client.subscribe("events").open();
const looping = taken(last, 1);
client.executions.subscribe(NOBODY, assert.fail, { onError: () => {} });
client.close();
await assert.rejects(looping, { name: "ClientClosed" });
await assert.rejects(taken(client.subscribe("events"), 1), { name: "ClientClosed" });
