// An embedded Supabase: this process serves the API (with Supabase Lite) and owns its child, Postgres.
//
// Commands are JSON lines on standard input; answers are JSON lines on standard output:
//   {postgres: {...}}  start Postgres           -> {postgres: pid}
//   {auth: {...}}      create the auth schema   -> {auth: true}
//   {api: {...}}       serve the API            -> {api: port}
//   {detach: true}     outlive the parent       -> {detach: true}
//   on any failure                              -> {error, code}
// Unless detached, both processes end when standard input is closed, which happens in whatever way
// the parent ends. Secrets come through standard input only, because arguments show in a process list.

import { AsyncLocalStorage } from "node:async_hooks";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { constants, openSync } from "node:fs";
import { createInterface } from "node:readline";

const MAX_BODY_BYTES = 128 * 2 ** 20; // more than the largest call of ours, 100 outputs of 1 MiB

const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
console.log = console.info = console.debug = console.error; // standard output carries answers only
process.stdout.on("error", () => {}); // the parent may be gone

// Opening this pipe for writing succeeds only while this process lives, which is how others check.
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
  postgres.kill("SIGINT"); // fast shutdown: roll back open transactions
  setTimeout(() => postgres.kill("SIGQUIT"), 10_000); // immediate shutdown; the next start recovers
}

function startPostgres({ command, log, uid, gid }) {
  const out = openSync(log, "a", 0o600);
  const [program, ...parameters] = command;
  // In its own process group, so that Ctrl-C reaches this process only, which then stops Postgres.
  postgres = spawn(program, parameters, { stdio: ["ignore", out, out], uid, gid, detached: true, cwd: "/" });
  postgres.once("error", (error) => {
    postgres = null;
    fail(error);
  });
  postgres.once("exit", () => {
    answer({ error: "Postgres exited", code: "POSTGRES" });
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

// Standard input may stay open after the parent has ended, if a child that it forked holds the other end.
const parent = process.ppid;
setInterval(() => {
  if (!detached && process.ppid !== parent) stop(0);
}, 1000).unref();

// --- the API -----------------------------------------------------------------------------------

// For each request, what its database connection has to know of it, and the database error that it caused.
const request = new AsyncLocalStorage();

// The HTTP status that PostgREST gives an SQLSTATE, or a class of them; 400 for any other.
function statusOf(code) {
  const statuses = {
    "23503": 409, "23505": 409, "25006": 405, "42501": 403, "42883": 404, "42P01": 404, "42P17": 500,
    "57P01": 503, "08": 503, "25": 500, "28": 403, "2D": 500, "38": 500, "39": 500, "3B": 500, "40": 500,
    "53": 503, "54": 500, "55": 500, "57": 500, "58": 500, "F0": 500, "HV": 500, "P0": 500, "XX": 500,
  };
  return code === "P0001" ? 400 : (statuses[code] ?? statuses[code.slice(0, 2)] ?? 400);
}

// PostgREST passes each request on to SQL in the settings request.method, request.path and request.headers, and
// reads in a read-only transaction. Lite does so for functions alone; this is its option for that.
function settingsOf({ method, url, headers }) {
  const readOnly = ["GET", "HEAD"].includes(method);
  const path = new URL(url).pathname.replace("/rest/v1", "");
  return { method, path, readOnly, requestHeaders: Object.fromEntries(headers) };
}

// Lite hides the SQLSTATEs that it does not know, such as that of a failed CHECK, behind status 500 and code
// SUP. Answer with the database's own error instead, as PostgREST does.
async function restoreDatabaseErrors(context, next) {
  const store = { settings: settingsOf(context.req.raw), error: null };
  await request.run(store, next);
  if (context.res.status !== 500 || store.error === null) return;
  const body = await context.res.clone().json().catch(() => null);
  if (body?.code !== "SUP") return;
  const { code, message, detail, hint } = store.error;
  const answered = { code, message, details: detail ?? null, hint: hint ?? null };
  context.res = undefined; // otherwise Hono keeps the headers of the old response, including its length
  context.res = Response.json(answered, { status: statusOf(code) });
}

// Lite returns timestamps as Postgres prints them, which pydantic and supabase-py refuse. PostgREST returns
// ISO 8601: 2026-11-23T09:51:21.28+00:00.
function isoTimestamp(text) {
  const [, day, time, zone, rest] = /^(\S+) ([\d:.]+)([+-][\d:]+)(.*)$/.exec(text) ?? [];
  return day === undefined ? text : `${day}T${time}${zone.includes(":") ? zone : `${zone}:00`}${rest}`;
}

// A number that a double cannot hold, such as a big integer, kept as it is written.
class ExactNumber {
  constructor(text) {
    this.text = text;
  }
  toString() {
    return this.text;
  }
  toJSON() {
    return JSON.rawJSON(this.text);
  }
}

function parseNumber(text) {
  if (!/\d$/.test(text)) return text; // NaN, Infinity
  return String(Number(text)) === text ? Number(text) : new ExactNumber(text);
}

// Lite parses bodies and results with JSON.parse, which rounds numbers. Reviving each value is slow, so only
// texts that may hold such a number are revived.
const parseJson = JSON.parse;
const revive = (_, value, { source }) => (typeof value === "number" ? parseNumber(source) : value);
const MAY_ROUND = /(?:^|[\s:,[])-?\d+(?:[.eE]|\d{15})/;
JSON.parse = (text, reviver = MAY_ROUND.test(text) ? revive : undefined) => parseJson(text, reviver);

// Lite reads a number in a filter as a double too, unless it is quoted.
function quoteNumbers(filter) {
  const quote = (text) => (/^-?\d+(\.\d+)?$/.test(text) && typeof parseNumber(text) === "object" ? `"${text}"` : text);
  return filter
    .replace(/((?:^|[.(,])(?:n?eq|[gl]te?)\.)([-\d.]+)(?=$|[,)])/g, (_, operator, text) => operator + quote(text))
    .replace(/((?:^|\.)in\.)\(([^()"]*)\)/g, (_, operator, list) => `${operator}(${list.split(",").map(quote)})`);
}

function withExactFilters(request) {
  const url = new URL(request.url);
  const given = [...url.searchParams];
  const exact = given.map(([name, filter]) => [name, quoteNumbers(filter)]);
  if (exact.every(([, filter], index) => filter === given[index][1])) return request;
  url.search = new URLSearchParams(exact);
  return new Request(url, { method: request.method, headers: request.headers, body: request.body, duplex: "half" });
}

// Lite encodes a function's JSON arguments, and the driver then encodes them again, so that an object would
// arrive as a string. A wrapper marks the values that Lite has encoded; `serializeJson` removes it.
const WRAPPER = `json ${randomUUID()}`;
const WRAPPED = `{"${WRAPPER}":`;

function serializeJson(value) {
  const isWrapped = typeof value === "string" && value.startsWith(WRAPPED);
  return isWrapped ? value.slice(WRAPPED.length, -1) : JSON.stringify(value);
}

// The auth server encodes all its JSON itself. Encoded twice, a trigger on auth.users would find a string.
const authJson = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function wrapJsonArguments(body, functions) {
  const typeOf = (name, { arg_names, arg_types }) => arg_types[arg_names.indexOf(name)];
  const isJson = (name) => functions.some((fn) => ["json", "jsonb"].includes(typeOf(name, fn)));
  const wrap = ([name, value]) => [name, value !== null && isJson(name) ? { [WRAPPER]: value } : value];
  return Object.fromEntries(Object.entries(body).map(wrap));
}

async function createAuthSchema({ database, authLogin }) {
  const { getAuthSchemaSql, SUPABASE_AUTH_HELPERS_SQL } = await import("@supabase/lite");
  const { default: connect } = await import("postgres");
  const server = { host: "127.0.0.1", port: database, database: "postgres" };
  const sql = connect({ ...server, ...authLogin, max: 1, onnotice: () => {} });
  // schemas.sql has created the schema, and this role may not create one, not even "if not exists".
  const statements = getAuthSchemaSql() + SUPABASE_AUTH_HELPERS_SQL;
  await sql.unsafe(statements.replace(/create schema if not exists auth;/gi, ""));
  // The REST API checks that the user and the session of a token still exist.
  await sql.unsafe(`
    grant usage on schema auth to authenticator;
    grant select on auth.users, auth.sessions to authenticator`);
  // As on a hosted project: migrations refer to users, and may have triggers on them.
  await sql.unsafe("grant all on all tables in schema auth to postgres");
  await sql.end();
  answer({ auth: true });
}

// The driver reads a null in an array as the string "NULL", and cannot read an array with explicit bounds.
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
  const { bodyLimit } = await import("hono/body-limit");

  function connect({ user, password }, toJson = serializeJson) {
    const connection = createPostgresConnection({
      url: `postgres://${user}:${password}@127.0.0.1:${database}/postgres`,
      postgresOptions: {
        onnotice: () => {},
        // The project's own settings would change how values are written.
        connection: { DateStyle: "ISO", IntervalStyle: "postgres", extra_float_digits: "1", bytea_output: "hex" },
        types: {
          bigint: { to: 20, from: [20], serialize: String, parse: parseNumber },
          numeric: { to: 1700, from: [1700], serialize: String, parse: parseNumber },
          timestamptz: { to: 1184, from: [1184], serialize: String, parse: isoTimestamp },
          uuids: { to: 2951, from: [2951], serialize: serializeUuids, parse: parseUuids },
          json: { to: 114, from: [114], serialize: toJson, parse: JSON.parse },
          jsonb: { to: 3802, from: [3802], serialize: toJson, parse: JSON.parse },
        },
      },
    });
    // Otherwise Lite grants the API roles everything on every table at its first request.
    connection.rlsState = "active";
    const withContext = connection.withContext.bind(connection);
    connection.withContext = async (variables, run, options) => {
      const store = request.getStore();
      try {
        return await withContext(variables, run, { ...options, rpc: options?.rpc ?? store?.settings });
      } catch (error) {
        if (store && typeof error?.code === "string" && /^[0-9A-Z]{5}$/.test(error.code)) store.error = error;
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
      admin: false, // admin routes would bypass the keys
      disableStudio: true,
      middlewares: [restoreDatabaseErrors],
      apiKeys: {
        // Without a resolver, Lite refuses the legacy JWT keys.
        resolver: async (apikey) => {
          const match = keys.find(({ key }) => key === apikey);
          return match ? { type: match.type, claims: claims[match.type] } : null;
        },
      },
    },
  };
  // Lite reads the schema from views that show a role only its own objects, and authenticator has no rights
  // of its own. So postgres reads the schema. (PostgREST reads pg_catalog, which shows all objects.)
  const inspector = connect(schemaLogin);
  const connection = connect(login);
  let schema = null; // a promise, so that requests at the same time read it once
  connection.introspect = () => {
    schema ??= inspector.introspect().catch((error) => {
      schema = null;
      throw error;
    });
    return schema;
  };
  // As with PostgREST: `notify pgrst, 'reload schema'`, which schemas.sql does after each change.
  await inspector.driver.listen("pgrst", (payload) => {
    if (payload === "" || payload === "reload schema") schema = null;
  });
  connection.viewOptionsMetadata = inspector.viewOptionsMetadata.bind(inspector);
  const rest = new App({ ...config, connection, options });
  const auth = new App({ ...config, connection: connect(authLogin, authJson), options });
  await rest.init();
  await auth.init();
  const hono = new Hono();
  const tooLarge = { code: null, message: `The request is larger than ${MAX_BODY_BYTES / 2 ** 20} MiB` };
  hono.use(bodyLimit({ maxSize: MAX_BODY_BYTES, onError: (context) => context.json(tooLarge, 413) }));
  hono.get("/health", (context) => context.json({ status: "ok" }));
  hono.use("/rest/v1/*", async (context, next) => {
    // Lite treats a token that is not a JWT as no token. PostgREST refuses it.
    const token = /^bearer (.*)$/i.exec(context.req.header("Authorization") ?? "")?.[1];
    if (token === undefined || /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return next();
    // Clients send their API key here too. Lite checks the key itself.
    if (token === context.req.header("apikey") || keys.some(({ key }) => key === token)) return next();
    return context.json({ code: "PGRST301", message: "The token is not a JWT", details: null, hint: null }, 401);
  });
  hono.post("/rest/v1/rpc/:name", async (context) => {
    const { method, url, headers } = context.req.raw;
    let body = await context.req.text();
    try {
      const isCalled = (fn) => fn.schema === "public" && fn.name === context.req.param("name");
      const { functions } = await connection.introspect();
      const parsed = JSON.parse(body);
      if (!Array.isArray(parsed)) body = JSON.stringify(wrapJsonArguments(parsed, functions.filter(isCalled)));
    } catch {
      // The body is not JSON. Lite answers that.
    }
    const forwarded = new Headers(headers);
    forwarded.delete("Content-Length");
    return rest.server.fetch(new Request(url, { method, headers: forwarded, body }), context.env);
  });
  hono.on("ALL", ["/rest/v1", "/rest/v1/*"], (context) =>
    rest.server.fetch(withExactFilters(context.req.raw), context.env),
  );
  hono.all("/auth/v1/*", (context) => auth.server.fetch(context.req.raw, context.env));
  const server = serve({ fetch: hono.fetch, hostname: "127.0.0.1", port }, () => answer({ api: port }));
  server.on("error", fail);
}

// --- commands ----------------------------------------------------------------------------------

const commands = createInterface({ input: process.stdin });
commands.on("line", (line) => {
  const command = JSON.parse(line);
  if (command.postgres) startPostgres(command.postgres);
  else if (command.auth) createAuthSchema(command.auth).catch(fail);
  else if (command.api) serveApi(command.api).catch(fail);
  else if (command.detach) {
    detached = true;
    answer({ detach: true });
  }
});
commands.on("close", () => {
  if (!detached) stop(0);
});
