// What a documented verifier (`documented.mjs`: a function, or a handler of fetch) makes of each request.

import { readFileSync } from "node:fs";

import * as documented from "./documented.mjs";

console.log = () => {};
for (const { body, headers, secret } of JSON.parse(readFileSync("requests.json"))) {
  const bytes = Buffer.from(body, "base64");
  let is = documented.isGenuine?.(bytes, headers, secret);
  if (documented.default !== undefined) {
    const request = new Request("http://127.0.0.1/", { method: "POST", headers, body: bytes });
    const { status } = await documented.default.fetch(request, { WEBHOOK_SECRET: secret });
    is = { 204: true, 400: false }[status];
  }
  process.stdout.write(`${JSON.stringify(is)}\n`);
}
