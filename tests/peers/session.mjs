// One session of a TypeScript client with a server over stdio: a JSON plan on stdin, what was seen as JSON on stdout.
// The plan: package ("sdk" or "client"), modules, era, command, args, env, who, other, applicant.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const plan = JSON.parse(readFileSync(0, "utf8"));
const load = (...path) => import(pathToFileURL(join(plan.modules, "@modelcontextprotocol", ...path)).href);

const server = { command: plan.command, args: plan.args, env: { ...process.env, ...plan.env }, stderr: "ignore" };
const info = { name: `peer-${plan.package}`, version: "1" };
const capabilities = { elicitation: { form: {}, url: {} } };
const anything = { "~standard": { version: 1, vendor: "peer", validate: (value) => ({ value }) } };

const seen = { asked: [], opened: [], changed: [] };
let answer = "accept";
const told = [];

function ask(request) {
  if (request.params.mode === "url") {
    seen.opened.push(request.params.url);
    return { action: answer };
  }
  seen.asked.push(request.params.message);
  return answer === "accept" ? { action: answer, content: { decision: "approve" } } : { action: answer };
}

function changed(notification) {
  seen.changed.push(notification.params.uri);
  told.splice(0).forEach((resolve) => resolve());
}

// The two packages differ in where things are and in how a call is given its options.
async function older() {
  const { Client } = await load("sdk", "dist", "esm", "client", "index.js");
  const { StdioClientTransport } = await load("sdk", "dist", "esm", "client", "stdio.js");
  const types = await load("sdk", "dist", "esm", "types.js");
  const client = new Client(info, { capabilities });
  client.setRequestHandler(types.ElicitRequestSchema, ask);
  client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, changed);
  await client.connect(new StdioClientTransport(server));
  const call = (params, options) => client.callTool(params, undefined, options);
  return { client, call, unknown: () => client.request({ method: "no/such" }, types.ResultSchema) };
}

async function newer() {
  const { Client } = await load("client", "dist", "index.mjs");
  const { StdioClientTransport } = await load("client", "dist", "stdio.mjs");
  const mode = plan.era === "2026-07-28" ? "auto" : "legacy";
  const client = new Client(info, { capabilities, versionNegotiation: { mode } });
  client.setRequestHandler("elicitation/create", ask);
  client.setNotificationHandler("notifications/resources/updated", changed);
  await client.connect(new StdioClientTransport(server));
  const call = (params, options) => client.callTool(params, options);
  return { client, call, unknown: () => client.request({ method: "no/such" }, anything) };
}

const code = (promise) => promise.then(() => 0, (error) => error.code ?? String(error));
const links = (result) => result.content.filter((part) => part.type === "resource_link").map((part) => part.uri);
const first = (result) => result.content[0].text;

async function journey(call) {
  const user = (name, more = {}) => call({ name, arguments: { user_id: plan.who, ...more } });
  await user("create_session", { purpose: "kyc" });
  await user("resolve_user");
  answer = "decline";
  seen.declined = first(await user("submit_kyc", plan.applicant));
  answer = "accept";
  seen.accepted = (await user("submit_kyc", plan.applicant)).structuredContent;
  seen.agreed = links(await user("accept_agreements"));
  await user("create_deposit", { currency: "rusd", network: "base", amount: 100 });
  const card = await user("create_card", { limit_amount_cents: 5000, limit_frequency: "per30DayPeriod" });
  seen.card = card.structuredContent;
  seen.linked = links(card);
  const reveal = await user("reveal_card", { card_id: seen.card.card_id, sink: "page" });
  seen.revealed = JSON.parse(first(reveal));
}

async function interrupted(call) {
  const user = (name, more = {}, options = {}) => call({ name, arguments: { user_id: plan.other, ...more } }, options);
  await user("create_session", { purpose: "kyc" });
  await user("resolve_user");
  await user("submit_kyc", { ...plan.applicant, last_name: "Waiting" });
  const stop = new AbortController();
  seen.progress = [];
  const onprogress = (progress) => {
    seen.progress.push(progress);
    stop.abort("enough");
  };
  const begun = Date.now();
  seen.stopped = await code(user("get_kyc_status", { wait_seconds: 50 }, { signal: stop.signal, onprogress }));
  seen.stopped_after_ms = Date.now() - begun;
  seen.afterwards = (await call({ name: "status", arguments: {} })).structuredContent;
}

async function watched(client, call) {
  const uri = seen.linked[0];
  let close = () => client.unsubscribeResource({ uri });
  if (plan.era === "2026-07-28") {
    const stream = await client.listen({ resourceSubscriptions: [uri] });
    close = () => stream.close();
  } else {
    await client.subscribeResource({ uri });
  }
  const notice = new Promise((resolve) => told.push(resolve));
  await call({ name: "update_card", arguments: { user_id: plan.who, card_id: seen.card.card_id, status: "locked" } });
  await Promise.race([notice, new Promise((resolve) => setTimeout(resolve, 10_000))]);
  seen.read = JSON.parse((await client.readResource({ uri })).contents[0].text);
  await close();
}

async function lists(client) {
  const listed = await client.listTools();
  seen.tools = listed.tools.map((tool) => tool.name);
  seen.tools_again = (await client.listTools()).tools.map((tool) => tool.name);
  seen.cache = [listed.cacheScope ?? null, listed.ttlMs ?? null];
  seen.resources = (await client.listResources()).resources.map((found) => found.uri);
  seen.templates = (await client.listResourceTemplates()).resourceTemplates.map((found) => found.uriTemplate);
  seen.prompts = (await client.listPrompts()).prompts.map((found) => found.name);
}

async function prompts(client) {
  const name = "issue_card";
  const filled = await client.getPrompt({ name, arguments: { user_id: plan.who } });
  seen.prompt = filled.messages[0].content.text;
  const argument = { name: "user_id", value: plan.who.slice(0, 4) };
  seen.completion = (await client.complete({ ref: { type: "ref/prompt", name }, argument })).completion.values;
}

const { client, call, unknown } = await (plan.package === "sdk" ? older() : newer());
seen.protocol = client.getNegotiatedProtocolVersion?.() ?? null;
seen.server = client.getServerVersion();
seen.instructions = client.getInstructions();
seen.capabilities = client.getServerCapabilities();
await lists(client);
seen.status = await call({ name: "status", arguments: {} });
seen.ping = plan.era === "2026-07-28" ? null : await code(client.ping());
await journey(call);
await interrupted(call);
await watched(client, call);
await prompts(client);
seen.errors = [await code(unknown()), await code(client.getPrompt({ name: "no_such" }))];
const left = Date.now();
await client.close();
seen.closed_in_ms = Date.now() - left;
// A timer or two is not worth waiting for.
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
