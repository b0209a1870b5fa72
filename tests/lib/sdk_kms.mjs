/*
 * The AWS SDK for JavaScript, called by tests: a command and its input in JSON on each line of standard input, and on standard
 * output what came of it. Bytes are {"bytes": BASE64}.
 *
 * node sdk_kms.mjs DIRECTORY ENDPOINT; the SDK is in DIRECTORY/node_modules, credentials and region in the environment.
 */
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [directory, endpoint] = process.argv.slice(2);
const sdk = createRequire(directory + "/")("@aws-sdk/client-kms");
const client = new sdk.KMSClient({ endpoint, maxAttempts: Number(process.env.SDK_ATTEMPTS ?? 1) });

const fromJson = (key, value) => (typeof value?.bytes === "string" ? Buffer.from(value.bytes, "base64") : value);

function toJson(value) {
  if (value instanceof Uint8Array) {
    return { bytes: Buffer.from(value).toString("base64") };
  }
  if (value instanceof Date) {
    return value.toISOString();
  }
  if (Array.isArray(value)) {
    return value.map(toJson);
  }
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, toJson(each)]));
  }
  return value;
}

async function call({ command, input }) {
  try {
    const { $metadata, ...answer } = await client.send(new sdk[command + "Command"](input));
    return { answer: toJson(answer), requestId: $metadata.requestId, attempts: $metadata.attempts };
  } catch (error) {
    return { error: error.name, message: error.message, status: error.$metadata?.httpStatusCode, attempts: error.$metadata?.attempts };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await call(JSON.parse(line, fromJson))));
}
