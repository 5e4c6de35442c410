// Does what the benchmark asks for: a command is a line of JSON on stdin, its answer one on
// stdout, in order. It ends when stdin does, and so with the benchmark, whatever ends that.
// Where the database is, is what the environment says, as for every client of PostgreSQL.
import { createInterface } from 'node:readline';
import { drizzle } from 'drizzle-orm/postgres-js';
import postgres from 'postgres';
import * as queries from './queries.mjs';
import * as schema from './schema.mjs';

const connections = Number(process.argv[2]);

// The starter's columns default to the session's now(), and its hosts' servers are in UTC.
const client = postgres({ max: connections, connection: { TimeZone: 'UTC' } });
const db = drizzle(client, { schema });

const commands = {
  // Makes all connections.
  connect: () => Promise.all(Array.from({ length: connections }, () => client`SELECT pg_sleep(0.01)`)),

  answer: ({ query, input }) => queries[query](db, input),

  // Makes the calls in a number of loops at a time. Times are in µs.
  time: async ({ query, inputs, loops }) => {
    const run = queries[query];
    const calls = new Array(inputs.length);
    let next = 0;
    const loop = async () => {
      while (next < inputs.length) {
        const i = next++;
        const started = performance.now();
        await run(db, inputs[i]);
        calls[i] = 1000 * (performance.now() - started);
      }
    };
    const usage = process.cpuUsage();
    const started = performance.now();
    await Promise.all(Array.from({ length: loops }, loop));
    const elapsed = 1000 * (performance.now() - started);
    const { user, system } = process.cpuUsage(usage);
    return { calls, elapsed, client: user + system };
  },
};

createInterface({ input: process.stdin })
  .on('line', async (line) => {
    let answer;
    try {
      const { command, ...args } = JSON.parse(line);
      answer = { result: (await commands[command](args)) ?? null };
    } catch (e) {
      answer = { error: String(e.cause ?? e) };
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
  })
  .on('close', () => process.exit());
