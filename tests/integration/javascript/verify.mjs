// What the verifier makes of each case, in each form that a body and headers come in.

import { readFileSync } from "node:fs";

import { VerificationError, verify } from "runcast/webhook";

async function outcome(body, headers, secret, now) {
  try {
    return { message: await verify(body, headers, secret, { now }) };
  } catch (error) {
    const isOurs = error instanceof VerificationError;
    const name = isOurs ? error.name : error instanceof TypeError ? "SecretError" : String(error);
    return { error: name, said: error.message };
  }
}

const isByteString = (headers) => Object.values(headers).every((value) => /^[\0-\xff]*$/.test(value));

for (const { body, headers, secret, now } of JSON.parse(readFileSync("cases.json"))) {
  const bytes = new TextEncoder().encode(body);
  const found = [
    await outcome(body, headers, secret, now),
    await outcome(Buffer.from(body), headers, secret, now),
    await outcome(bytes.buffer, headers, secret, now),
  ];
  if (isByteString(headers)) found.push(await outcome(bytes.subarray(), new Headers(headers), secret, now));
  console.log(JSON.stringify(found));
}
const parsed = await outcome({ event: "execution.completed" }, {}, "secret", 0);
const present = await outcome("{}", { "webhook-id": "1", "webhook-timestamp": "1700000000", "webhook-signature": "v1,AA" }, "s");
console.log(JSON.stringify([parsed, present]));
