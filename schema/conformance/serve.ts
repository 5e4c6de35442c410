// Lets the Go test call the app: a call is a line of JSON on stdin, its answer one on
// stdout, in order, until stdin ends. Where the database is, and in which time zone the
// session, is what the environment says, as for every client of PostgreSQL.
import { createInterface } from 'node:readline';
import { DrizzleQueryError, type SQL } from 'drizzle-orm';
import type { PgTable } from 'drizzle-orm/pg-core';
import { drizzle } from 'drizzle-orm/postgres-js';
import { migrate } from 'drizzle-orm/postgres-js/migrator';
import postgres from 'postgres';
import * as app from './app';
import * as schema from './schema';

// drizzle-kit shows its progress on stdout, which is for the answers alone.
const answerTo = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;

const client = postgres({ onnotice: () => {} });
const db: app.Database = drizzle(client, { schema });

type Table = 'users' | 'teams' | 'teamMembers' | 'activityLogs' | 'invitations';

const tools = {
  // As `drizzle-kit migrate` and a start script of the app do.
  migrate: (db: app.Database, { folder }: { folder: string }) => migrate(db, { migrationsFolder: folder }),

  // What `drizzle-kit push` would do; it does nothing. It expects the results of another
  // driver.
  push: async (db: app.Database) => {
    const { pushSchema } = await import('drizzle-kit/api'); // takes as long as all the rest
    const execute = async (query: SQL) => ({ rows: await db.execute(query) });
    return (await pushSchema({ ...schema }, { execute } as never, ['public'])).statementsToExecute;
  },

  insert: (db: app.Database, { table, rows }: { table: Table; rows: Record<string, unknown>[] }) => {
    const dated = rows.map((row) =>
      Object.fromEntries(
        Object.entries(row).map(([key, value]) => [
          key,
          typeof value === 'string' && (key.endsWith('At') || key === 'timestamp') ? new Date(value) : value,
        ]),
      ),
    );
    return db.insert(schema[table] as PgTable).values(dated).returning();
  },
};

const calls = { ...app, ...tools } as Record<string, (db: app.Database, args: never) => Promise<unknown>>;

for await (const line of createInterface({ input: process.stdin })) {
  const { call, args } = JSON.parse(line);
  let answer: object;
  try {
    answer = { result: (await calls[call](db, args as never)) ?? null };
  } catch (e) {
    const cause = e instanceof DrizzleQueryError ? e.cause : e;
    answer =
      cause instanceof postgres.PostgresError
        ? { error: cause.message, code: cause.code, constraint: cause.constraint_name }
        : { error: String(cause) };
  }
  answerTo(JSON.stringify(answer) + '\n');
}
await client.end();
