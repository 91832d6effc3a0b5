// What the module offers: its exports, the methods of each resource, and the package's version.

import { readFileSync } from "node:fs";

import * as runcast from "runcast";

const client = new runcast.WorkflowClient({ baseUrl: "http://127.0.0.1", apiKey: "key" });
const offered = (resource) =>
  Object.getOwnPropertyNames(Object.getPrototypeOf(resource)).filter((name) => name !== "constructor");
const resources = Object.fromEntries(Object.entries(client).map(([name, resource]) => [name, offered(resource)]));
const { version } = JSON.parse(readFileSync("node_modules/runcast/package.json"));
console.log(JSON.stringify({ exports: Object.keys(runcast), resources, version }));
