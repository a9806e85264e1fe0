// The processes of one embedded Supabase: this one, which serves the API, and its child Postgres.
//
// Orders come as JSON lines on standard input, answers go out as JSON lines on standard output:
//   {postgres: {...}}  start Postgres           -> {postgres: pid}
//   {auth: {...}}      make the auth schema     -> {auth: true}
//   {api: {...}}       serve the API            -> {api: port}
//   {detach: true}     outlive the orderer      -> {detached: true}
//   anything that goes wrong                    -> {error, code}
// Unless detached, everything here ends when standard input does: when the program that holds the
// stack ends in whatever way. Secrets come through standard input only, never as arguments.

import { AsyncLocalStorage } from "node:async_hooks";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { constants, openSync } from "node:fs";
import { createInterface } from "node:readline";

const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
console.log = console.info = console.debug = console.error; // standard output is for answers alone
process.stdout.on("error", () => {}); // nobody has to listen to them

// Whoever wants to know whether this process lives tries to open the pipe for writing.
openSync(process.argv[2], constants.O_RDONLY | constants.O_NONBLOCK);

// --- processes ---------------------------------------------------------------------------------

let postgres = null;
let detached = false;
let stopping = false;

function stop(code) {
  if (stopping) return;
  stopping = true;
  if (postgres === null) process.exit(code);
  postgres.once("exit", () => process.exit(code));
  postgres.kill("SIGINT"); // fast shutdown: roll back what is open, keep what is committed
  setTimeout(() => postgres.kill("SIGQUIT"), 10_000); // immediate shutdown; the next start recovers
}

function startPostgres({ command, log, uid, gid }) {
  const out = openSync(log, "a", 0o600);
  const [program, ...parameters] = command;
  // A group of its own, so that a signal for this process does not reach it: we stop it in order.
  postgres = spawn(program, parameters, { stdio: ["ignore", out, out], uid, gid, detached: true, cwd: "/" });
  postgres.once("error", (error) => {
    postgres = null;
    fail(error);
  });
  postgres.once("exit", () => {
    answer({ error: "Postgres has ended", code: "POSTGRES" });
    postgres = null;
    stop(1);
  });
  if (postgres.pid !== undefined) answer({ postgres: postgres.pid });
}

function fail(error) {
  console.error(error);
  answer({ error: String(error?.message ?? error), code: error?.code ?? null });
  stop(1);
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => stop(0));
process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);

const orderer = process.ppid;
setInterval(() => {
  // A child that the orderer forked may hold our standard input open after its end.
  if (!detached && process.ppid !== orderer) stop(0);
}, 1000).unref();

// --- the API -----------------------------------------------------------------------------------

// The database error behind the answer to a request, for `plainErrors`.
const request = new AsyncLocalStorage();

// PostgREST's status for an SQLSTATE; what is not listed is the client's fault (400).
function statusOf(code) {
  const statuses = {
    "23503": 409, "23505": 409, "25006": 405, "42501": 403, "42883": 404, "42P01": 404, "42P17": 500,
    "57P01": 503, "08": 503, "25": 500, "28": 403, "2D": 500, "38": 500, "39": 500, "3B": 500, "40": 500,
    "53": 503, "54": 500, "55": 500, "57": 500, "58": 500, "F0": 500, "HV": 500, "P0": 500, "XX": 500,
  };
  return code === "P0001" ? 400 : (statuses[code] ?? statuses[code.slice(0, 2)] ?? 400);
}

// Lite answers SQLSTATEs that it does not know, a failed CHECK among them, with 500 and a code of its own.
async function plainErrors(context, next) {
  const seen = { error: null };
  await request.run(seen, next);
  if (context.res.status !== 500 || seen.error === null) return;
  const body = await context.res.clone().json().catch(() => null);
  if (body?.code !== "SUP") return;
  const { code, message, detail, hint } = seen.error;
  const mended = { code, message, details: detail ?? null, hint: hint ?? null };
  context.res = undefined; // or else Hono keeps the old answer's headers, its length among them
  context.res = Response.json(mended, { status: statusOf(code) });
}

// A timestamp as PostgREST prints it: 2026-11-23T09:51:21.28+00:00.
function isoTimestamp(text) {
  const [, day, time, zone, rest] = /^(\S+) ([\d:.]+)([+-][\d:]+)(.*)$/.exec(text) ?? [];
  return day === undefined ? text : `${day}T${time}${zone.includes(":") ? zone : `${zone}:00`}${rest}`;
}

// Lite writes a function's JSON arguments as text, which the driver would write as JSON once more: an
// object would arrive as a string. So they go through both of them in a wrapper, which comes off here.
const WRAPPER = `json ${randomUUID()}`;
const wrapped = `{"${WRAPPER}":`;

function serializeJson(value) {
  const is = typeof value === "string" && value.startsWith(wrapped);
  return is ? value.slice(wrapped.length, -1) : JSON.stringify(value);
}

function wrapJsonArguments(body, functions) {
  const typeOf = (name, { arg_names, arg_types }) => arg_types[arg_names.indexOf(name)];
  const isJson = (name) => functions.some((fn) => ["json", "jsonb"].includes(typeOf(name, fn)));
  const wrap = ([name, value]) => [name, value !== null && isJson(name) ? { [WRAPPER]: value } : value];
  return Object.fromEntries(Object.entries(body).map(wrap));
}

async function makeAuthSchema({ database, authLogin }) {
  const { getAuthSchemaSql, SUPABASE_AUTH_HELPERS_SQL } = await import("@supabase/lite");
  const { default: connect } = await import("postgres");
  const server = { host: "127.0.0.1", port: database, database: "postgres" };
  const sql = connect({ ...server, ...authLogin, max: 1, onnotice: () => {} });
  // The schema is there; only a role that may create schemas could say so again.
  const statements = getAuthSchemaSql() + SUPABASE_AUTH_HELPERS_SQL;
  await sql.unsafe(statements.replace(/create schema if not exists auth;/gi, ""));
  // The REST API looks whether a token's user and session are still there.
  await sql.unsafe(`
    grant usage on schema auth to authenticator;
    grant select on auth.users, auth.sessions to authenticator`);
  await sql.end();
  answer({ auth: true });
}

// The driver reads a null in an array as the text NULL, and cannot read one with bounds of its own.
function parseUuids(text) {
  const array = text.replace(/^(\[-?\d+:-?\d+\])+=/, "").replaceAll("{", "[").replaceAll("}", "]");
  return JSON.parse(array.replaceAll("NULL", "null").replace(/[0-9a-f-]{36}/g, '"$&"'));
}

function serializeUuids(values) {
  if (!Array.isArray(values)) return values;
  return `{${values.map((value) => (value === null ? "NULL" : serializeUuids(value))).join(",")}}`;
}

async function serveApi({ port, database, login, authLogin, schemaLogin, jwtSecret, keys }) {
  const { App } = await import("@supabase/lite");
  const { createPostgresConnection } = await import("@supabase/lite/postgres");
  const { serve } = await import("@hono/node-server");
  const { Hono } = await import("hono");

  function connect({ user, password }) {
    const connection = createPostgresConnection({
      url: `postgres://${user}:${password}@127.0.0.1:${database}/postgres`,
      postgresOptions: {
        onnotice: () => {},
        types: {
          timestamptz: { to: 1184, from: [1184], serialize: String, parse: isoTimestamp },
          uuids: { to: 2951, from: [2951], serialize: serializeUuids, parse: parseUuids },
          json: { to: 114, from: [114], serialize: serializeJson, parse: JSON.parse },
          jsonb: { to: 3802, from: [3802], serialize: serializeJson, parse: JSON.parse },
        },
      },
    });
    // Its first request would otherwise grant the API roles everything on every table.
    connection.rlsState = "active";
    const withContext = connection.withContext.bind(connection);
    connection.withContext = async (...parameters) => {
      try {
        return await withContext(...parameters);
      } catch (error) {
        const seen = request.getStore();
        if (seen && typeof error?.code === "string" && /^[0-9A-Z]{5}$/.test(error.code)) seen.error = error;
        throw error;
      }
    };
    return connection;
  }

  const claims = { publishable: { role: "anon" }, secret: { role: "service_role" } };
  const config = {
    api: { enabled: true, schemas: ["public"], max_rows: 1000 },
    auth: {
      enabled: true,
      jwt_secret: jwtSecret,
      publishable_key: keys.find((key) => key.type === "publishable").key,
      secret_key: keys.find((key) => key.type === "secret").key,
      enable_signup: true,
      email: { enable_signup: true, enable_confirmations: false },
    },
    storage: { enabled: false },
  };
  const options = {
    server: {
      admin: false,
      disableStudio: true,
      middlewares: [plainErrors],
      apiKeys: {
        resolver: async (given) => {
          const known = keys.find(({ key }) => key === given);
          return known ? { type: known.type, claims: claims[known.type] } : null;
        },
      },
    },
  };
  // The login role holds no rights of its own, so it is not shown the catalog that requests are
  // translated with. PostgREST reads pg_catalog, which shows everybody everything.
  const inspector = connect(schemaLogin);
  const connection = connect(login);
  connection.introspect = inspector.introspect.bind(inspector);
  connection.viewOptionsMetadata = inspector.viewOptionsMetadata.bind(inspector);
  const rest = new App({ ...config, connection, options });
  const auth = new App({ ...config, connection: connect(authLogin), options });
  await rest.init();
  await auth.init();

  const hono = new Hono();
  hono.get("/health", (context) => context.json({ status: "ok" }));
  hono.use("/rest/v1/*", async (context, next) => {
    // What is no JWT would pass as no token at all; PostgREST refuses it.
    const token = /^bearer (.*)$/i.exec(context.req.header("Authorization") ?? "")?.[1];
    if (token === undefined || /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return next();
    // A key stands here too, and whether it is known is told by what comes next.
    if (token === context.req.header("apikey") || keys.some(({ key }) => key === token)) return next();
    return context.json({ code: "PGRST301", message: "The token is no JWT", details: null, hint: null }, 401);
  });
  hono.post("/rest/v1/rpc/:name", async (context) => {
    const { method, url, headers } = context.req.raw;
    let body = await context.req.text();
    try {
      const called = (fn) => fn.schema === "public" && fn.name === context.req.param("name");
      const { functions } = await inspector.introspect({ useCache: true });
      const given = JSON.parse(body);
      if (!Array.isArray(given)) body = JSON.stringify(wrapJsonArguments(given, functions.filter(called)));
    } catch {
      // No JSON: what that means is told by what comes next.
    }
    const forwarded = new Headers(headers);
    forwarded.delete("Content-Length");
    return rest.server.fetch(new Request(url, { method, headers: forwarded, body }), context.env);
  });
  hono.all("/rest/v1", (context) => rest.server.fetch(context.req.raw, context.env));
  hono.all("/rest/v1/*", (context) => rest.server.fetch(context.req.raw, context.env));
  hono.all("/auth/v1/*", (context) => auth.server.fetch(context.req.raw, context.env));
  const server = serve({ fetch: hono.fetch, hostname: "127.0.0.1", port }, () => answer({ api: port }));
  server.on("error", fail);
}

// --- orders ------------------------------------------------------------------------------------

const orders = createInterface({ input: process.stdin });
orders.on("line", (line) => {
  const order = JSON.parse(line);
  if (order.postgres) startPostgres(order.postgres);
  else if (order.auth) makeAuthSchema(order.auth).catch(fail);
  else if (order.api) serveApi(order.api).catch(fail);
  else if (order.detach) {
    detached = true;
    answer({ detached: true });
  }
});
orders.on("close", () => {
  if (!detached) stop(0);
});
