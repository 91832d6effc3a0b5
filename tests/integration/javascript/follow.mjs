// Follows channels, and waits for the executions whose ids it reads, whatever happens to the hub. Prints `[name, position]` for
// each message and `["ended", id]` for each execution; closes at the end of its input.

import { createInterface } from "node:readline";

import { WorkflowClient } from "runcast";

// Long pauses while the hub starts again would only take time.
const [one, other] = [256, 8].map((mostBuffered) => new WorkflowClient({ retries: 900, chance: () => 0.02, mostBuffered }));
const workflowId = process.env.WORKFLOW_ID;

async function follow(name, subscription, pause) {
  for await (const message of subscription) {
    if (message.isGap) throw new Error(`a gap in ${name}`);
    if (pause) await new Promise((resolve) => setTimeout(resolve, pause));
    console.log(JSON.stringify([name, message.position]));
  }
}

async function waitFor(id) {
  const { status } = await other.executions.waitForCompletion(id, { timeout: 90 });
  if (status !== "completed") throw new Error(`the execution is ${status}`);
  console.log(JSON.stringify(["ended", id]));
}

const following = [
  follow("events", one.subscribe("events", { since: 0 })),
  follow("execution", one.subscribe("execution", { executionId: "*", since: 0 })),
  follow("workflow", one.subscribe("workflow", { workflowId, since: 0 })),
  follow("completed", other.subscribe("events", { since: 0, types: ["*.completed"] }), 2),
];
for await (const id of createInterface({ input: process.stdin })) waitFor(id);
one.close();
other.close();
const ends = await Promise.allSettled(following);
for (const { reason } of ends) if (reason?.name !== "ClientClosed") throw reason;
