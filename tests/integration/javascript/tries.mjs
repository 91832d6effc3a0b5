// Requests to scripted servers (SERVERS, by name), each of which has one thing go wrong.

import assert from "node:assert/strict";

import { WorkflowClient } from "runcast";

const servers = JSON.parse(process.env.SERVERS);
const clients = [];

function clientOf(name, options) {
  clients.push(new WorkflowClient({ baseUrl: servers[name], apiKey: "sk_live_secret", chance: () => 0, ...options }));
  return clients.at(-1);
}

assert.deepEqual(await clientOf("lost").workflows.execute("w", { parameters: { n: 1 } }), { id: "e" });
assert.deepEqual(await clientOf("underWay").workflows.activate("w"), { id: "w" });
assert.deepEqual(await clientOf("cut").workflows.get("w"), { id: "w" });
assert.equal(await clientOf("deleted").workflows.delete("w", { force: true }), undefined);
await assert.rejects(clientOf("neverThere").workflows.delete("w"), { name: "NotFound", message: "no" });

let asked = 0;
const renewing = clientOf("expired", { apiKey: async () => `token-${(asked += 1)}` });
assert.deepEqual(await Promise.all([renewing.me(), renewing.me()]), [{ id: "a" }, { id: "a" }]);
assert.equal(asked, 2, "of two that find it expired one asks");
await assert.rejects(clientOf("refused").me(), { name: "AuthenticationFailed", code: "AUTHENTICATION_ERROR", requestId: "r1" });
const failing = clientOf("refused", { apiKey: () => Promise.reject(new Error("no token today")) });
await assert.rejects(failing.me(), /no token today/);
await assert.rejects(failing.subscribe("events").open(), /no token today/);

await assert.rejects(clientOf("another").me(), { name: "NoEnvelope", status: 404 });
await assert.rejects(clientOf("redirect").me(), { name: "NoEnvelope" });
await assert.rejects(clientOf("busy", { retries: 2 }).me(), { name: "RateLimited", status: 429, retryAfter: 0 });
await assert.rejects(clientOf("nobody", { retries: 1 }).me(), (error) => {
  assert.deepEqual([error.name, error.code], ["Unreachable", "UNREACHABLE"]);
  assert.match(error.message, /cannot be reached: ECONNREFUSED$/);
  return true;
});
await assert.rejects(clientOf("mute", { retries: 0, timeout: 0.05 }).me(), /no answer within 0\.05 seconds/);
for (const client of clients) client.close();
