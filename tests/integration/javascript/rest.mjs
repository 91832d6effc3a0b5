// The requests of the client, against a hub (RUNCAST_URL, RUNCAST_API_KEY).

import assert from "node:assert/strict";
import { inspect } from "node:util";

import { AuthenticationFailed, Conflict, InvalidRequest, NotFound, RuncastError, WorkflowClient } from "runcast";

const SMALLEST = { components: [{ id: "start", type: "start" }] };
const WAITING = {
  components: [{ id: "start", type: "start" }, { id: "wait", type: "wait", config: { seconds: 3600 } }],
  connections: [{ source: "start", target: "wait" }],
};
const WORK = {
  components: [
    { id: "start", type: "start" },
    { id: "render", type: "external_task", config: { task_type: "render", input: { page: "{{page}}" } } },
  ],
  connections: [{ source: "start", target: "render" }],
  parameters: [{ name: "page", type: "string" }],
};

const key = process.env.RUNCAST_API_KEY;
const client = new WorkflowClient();
let count = 0;
const create = (definition, fields) =>
  client.workflows.create({ name: `w${(count += 1)}`, definition, ...fields });
const all = async (items) => Array.fromAsync(items);

async function lifeOfAWorkflow() {
  const created = await create(SMALLEST, { tags: ["a", "b"] });
  assert.deepEqual([created.status, created.version, created.tags], ["draft", 1, ["a", "b"]]);
  const changed = await client.workflows.update(created.id, { description: "mended" });
  assert.deepEqual([changed.description, changed.name], ["mended", created.name]);
  assert.equal((await client.workflows.activate(created.id)).status, "active");
  assert.equal((await client.workflows.validate(created.id)).is_valid, true);
  assert.equal((await client.workflows.validate(created.id, { components: [] })).is_valid, false);
  const found = await client.workflows.list({ tags: ["a", "b"], createdBy: created.created_by });
  assert.deepEqual(found.map((each) => each.id), [created.id]);
  const shown = await client.workflows.get(created.id, { includeStats: true, includeDefinition: false });
  assert.deepEqual([shown.execution_count, shown.definition], [0, undefined]);
  assert.equal((await client.workflows.deactivate(created.id)).status, "inactive");
  assert.equal((await client.workflows.archive(created.id)).status, "archived");
  assert.equal(await client.workflows.delete(created.id), undefined);
  await assert.rejects(client.workflows.get(created.id), NotFound);
}

async function lifeOfAnExecution() {
  const workflow = await create(WAITING);
  const started = await client.workflows.execute(workflow.id, { parameters: { n: 1 }, priority: "high", tags: ["t"] });
  assert.deepEqual([started.workflow_id, started.priority, started.id], [workflow.id, 8, started.execution_id]);
  assert.equal((await client.executions.pause(started.id, { reason: "lunch" })).status, "paused");
  assert.match((await client.executions.resume(started.id)).status, /queued|running/);
  assert.equal((await client.executions.signal(started.id, "go", { n: 2 })).id, started.id);
  assert.equal((await client.executions.cancel(started.id, { reason: "enough" })).cancel_reason, "enough");
  await assert.rejects(client.executions.terminate(started.id), (error) => {
    assert.ok(error instanceof Conflict);
    assert.match(error.message, /cancelled/);
    return true;
  });
  const shown = await client.executions.get(started.id);
  assert.deepEqual([shown.parameters, shown.progress.total_components], [{ n: 1 }, 2]);
  const types = (await all(client.executions.history(started.id, { limit: 2 }))).map((event) => event.type);
  assert.deepEqual([types[0], types.at(-1)], ["execution.created", "execution.cancelled"]);
  const components = await all(client.executions.components(started.id, { limit: 1 }));
  assert.deepEqual(components.map((each) => each.component_id), ["start", "wait"]);
  assert.ok((await client.executions.logs(started.id))[0].message);
  assert.deepEqual((await client.workflows.executions(workflow.id)).map((each) => each.id), [started.id]);
  assert.equal((await client.executions.retry(started.id)).status, "queued");
  assert.equal((await client.executions.terminate(started.id)).status, "terminated");
  const later = await client.workflows.execute(workflow.id, { autoStart: false });
  assert.equal((await client.executions.priority(later.id, 9)).priority, 9);
  assert.equal((await client.executions.start(later.id)).status, "queued");
  const ids = (await all(client.executions.list({ workflowId: workflow.id, limit: 1 }))).map((each) => each.id);
  assert.deepEqual(new Set(ids), new Set([started.id, later.id]));
  const page = await client.executions.list({ workflowId: workflow.id, limit: 1 });
  assert.deepEqual([page.length, page.hasMore, page.metadata.total_count], [1, true, 2]);
  await client.executions.cancel(later.id);
}

async function oneKeyIsOneExecution() {
  const workflow = await create(SMALLEST);
  const first = await client.workflows.execute(workflow.id, { idempotencyKey: "order-7" });
  assert.deepEqual(await client.workflows.execute(workflow.id, { idempotencyKey: "order-7" }), first);
  assert.equal((await client.workflows.executions(workflow.id)).length, 1);
}

async function aWorker() {
  const workflow = await create(WORK);
  const claiming = client.tasks.claimMany(["render"], "worker-1", { waitSeconds: 30 });
  const execution = await client.workflows.execute(workflow.id, { parameters: { page: "home" } });
  const [task] = await claiming;
  assert.deepEqual([task.execution_id, task.input, task.status], [execution.id, { page: "home" }, "running"]);
  assert.doesNotMatch(inspect(task), /home/);
  assert.equal((await client.tasks.heartbeat(task.id, "worker-1", { leaseSeconds: 120 })).lease_seconds, 120);
  await assert.rejects(client.tasks.complete(task.id, {}, { workerId: "worker-2" }), Conflict);
  assert.equal((await client.tasks.release(task.id, { workerId: "worker-1", reason: "busy" })).status, "pending");
  assert.equal((await client.tasks.start(task.id, { workerId: "worker-2" })).status, "running");
  const done = await client.tasks.complete(task.id, { size: 3 }, { workerId: "worker-2" });
  assert.deepEqual(done.output, { size: 3 });
  const [listed] = await client.tasks.list({ executionId: execution.id });
  assert.equal(listed.status, "completed");
  assert.ok((await client.tasks.logs(task.id))[0].message);
  assert.deepEqual(await client.tasks.claimMany(["render"], "worker-1"), []);
}

async function lifeOfAWebhook() {
  const hook = await client.webhooks.create({ url: process.env.RECEIVER_URL, events: ["execution.*"] });
  assert.match(hook.secret, /^whsec_/);
  assert.ok(!inspect(hook).includes(hook.secret));
  assert.ok(JSON.stringify(hook).includes(hook.secret));
  assert.ok(!(await client.webhooks.get(hook.id)).secret);
  const deliveryId = await client.webhooks.test(hook.id);
  assert.equal((await client.webhooks.delivery(deliveryId)).event, "webhook.test");
  assert.deepEqual((await client.webhooks.deliveries(hook.id)).map((each) => each.id), [deliveryId]);
  assert.equal((await client.webhooks.update(hook.id, { active: false })).active, false);
  assert.equal((await client.webhooks.enable(hook.id)).active, true);
  assert.deepEqual((await client.webhooks.list()).map((each) => each.id), [hook.id]);
  await client.webhooks.delete(hook.id);
  await assert.rejects(client.webhooks.get(hook.id), NotFound);
}

async function eventsBothWaysAndReplays() {
  const positions = async (query) => (await all(client.events.list({ ...query, limit: 2 }))).map((event) => event.position);
  const upwards = await positions({ types: ["workflow.created"] });
  const downwards = await positions({ types: "workflow.created", order: "desc" });
  assert.ok(upwards.length > 2);
  assert.deepEqual(upwards, downwards.reverse());
  assert.equal((await client.events.get(upwards[0])).type, "workflow.created");
  const replay = await client.events.replay({ first: upwards[0], last: upwards.at(-1), types: ["workflow.*"] });
  assert.deepEqual([replay.channel, replay.from, replay.to], [`replay:${replay.id}`, upwards[0], upwards.at(-1)]);
  assert.equal((await client.events.getReplay(replay.id)).id, replay.id);
  assert.deepEqual((await client.events.replays()).map((each) => each.id), [replay.id]);
}

async function otherRoutes() {
  const me = await client.me();
  assert.equal(me.role, "admin");
  assert.equal((await client.request("GET", "/me")).organization.id, me.organization.id);
  assert.ok((await all(client.list("/templates", { limit: 2 }))).length > 2);
}

async function whatIsWrong() {
  await assert.rejects(create(SMALLEST, { name: "", priority: 11, colour: "red" }), (error) => {
    assert.ok(error instanceof InvalidRequest && error instanceof RuncastError && error instanceof Error);
    assert.deepEqual(new Set(error.errors.map((each) => each.field)), new Set(["name", "priority", "colour"]));
    assert.deepEqual([error.name, error.status, error.code], ["InvalidRequest", 422, "VALIDATION_ERROR"]);
    assert.ok(error.requestId && error.field && error.message);
    return true;
  });
  const wrong = new WorkflowClient({ baseUrl: `${process.env.RUNCAST_URL}/api/v1/`, apiKey: `sk_live_${"0".repeat(32)}` });
  await assert.rejects(wrong.me(), AuthenticationFailed);
  wrong.close();
  await assert.rejects(wrong.me(), { code: "CLIENT_CLOSED" });
  await assert.rejects(client.workflows.get(".."), { code: "MISUSED" });
  await assert.rejects(client.workflows.get(undefined), /an id is empty/);
  const odd = await client.workflows.get("a/../b?c#d%2e").catch((error) => error);
  assert.equal(odd.status, 404);
  for (const [options, field] of [
    [{ baseUrl: "ftp://x" }, /baseUrl/],
    [{ baseUrl: "http://ada:secret@host" }, /^Misused: (?!.*secret)baseUrl: must hold no credentials/],
    [{ baseUrl: "http://host/?token=x" }, /baseUrl/],
    [{ apiKey: "two\nlines" }, /apiKey/],
  ]) {
    assert.throws(() => new WorkflowClient(options), field);
  }
}

async function whatIsStopped() {
  const stop = new AbortController();
  const claiming = client.tasks.claimMany(["nothing"], "worker-1", { waitSeconds: 60, signal: stop.signal });
  const workflow = await create(WAITING);
  const execution = await client.workflows.execute(workflow.id);
  const waiting = client.executions.waitForCompletion(execution.id, { signal: stop.signal });
  stop.abort(new Error("enough"));
  await assert.rejects(claiming, /enough/);
  await assert.rejects(waiting, /enough/);
  await client.executions.cancel(execution.id);
}

await lifeOfAWorkflow();
await lifeOfAnExecution();
await oneKeyIsOneExecution();
await aWorker();
await lifeOfAWebhook();
await eventsBothWaysAndReplays();
await otherRoutes();
await whatIsWrong();
await whatIsStopped();
assert.ok(!inspect(client, { depth: 9, showHidden: true }).includes(key), "nothing shows the key");
const claiming = client.tasks.claimMany(["nothing"], "worker-1", { waitSeconds: 60 });
client.close();
await assert.rejects(claiming, { code: "CLIENT_CLOSED" });
