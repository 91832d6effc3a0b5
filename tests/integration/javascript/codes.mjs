// One client for each case of a scripted hub (SCRIPTED_URL), each of which ends the first connection in its own way. Prints
// what each came to: `{case, positions}`, or `{case, error}`.

import { WorkflowClient } from "runcast";

const cases = process.env.CASES.split(",");

async function heardIn(name) {
  let asked = 0;
  const client = new WorkflowClient({
    baseUrl: `${process.env.SCRIPTED_URL}/${name}`,
    apiKey: name.endsWith("renewable") ? async () => `token-${(asked += 1)}` : "token",
    heartbeat: /silent|pong|frozen/.test(name) ? 0.2 : undefined,
    chance: () => 0,
  });
  const positions = [];
  try {
    for await (const message of client.subscribe("events", { since: 0 })) {
      if (positions.push(message.position) === 2) break;
    }
    return { case: name, positions };
  } catch (error) {
    return { case: name, error: { name: error.name, code: error.code, message: error.message } };
  } finally {
    client.close();
  }
}

await Promise.all(cases.map(async (name) => console.log(JSON.stringify(await heardIn(name)))));
