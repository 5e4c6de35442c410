package schema_test

import (
	"context"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

func TestMigrationsAreSafe(t *testing.T) {
	t.Parallel()
	entries, err := fs.ReadDir(schema.Files, ".")
	require.NoError(t, err)
	var files, complaints []string
	met := map[string]bool{}
	for _, entry := range entries {
		content, err := schema.Files.ReadFile(entry.Name())
		require.NoError(t, err)
		files = append(files, entry.Name())
		complaints = append(complaints, lint(entry.Name(), string(content))...)
		script, fault := readScript(string(content))
		require.Nil(t, fault, entry.Name())
		for _, s := range slices.Concat(script.up, script.down) {
			met[entry.Name()+" "+digest(s)] = true
		}
	}
	require.NotEmpty(t, files)
	require.Empty(t, append(lintNames(files), complaints...))
	for statement := range accepted {
		require.True(t, met[statement], "the lint accepts %s, which is in no file: delete it there", statement)
	}
}

// sentStatements is a tracer that notes what is sent.
type sentStatements []string

func (s *sentStatements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	*s = append(*s, data.SQL)
	return ctx
}

func (s *sentStatements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// The lint judges what it reads in a file, so that has to be what goose sends.
func TestLintReadsAsGooseDoes(t *testing.T) {
	t.Parallel()
	sent := &sentStatements{}
	pool := open(t, storetest.EmptyURL(t), func(config *pgxpool.Config) { config.ConnConfig.Tracer = sent })
	migrate(t, pool)
	for range schema.Latest() {
		_, err := schema.Rollback(t.Context(), pool)
		require.NoError(t, err)
	}
	ups, downs := 0, len(*sent)
	files, err := fs.Glob(schema.Files, "*.sql")
	require.NoError(t, err)
	for _, name := range files {
		content, err := schema.Files.ReadFile(name)
		require.NoError(t, err)
		script, fault := readScript(string(content))
		require.Nil(t, fault, name)
		ups = inOrder(t, *sent, ups, script.up)
		// The last file goes first on the way down, so this is its own search.
		inOrder(t, (*sent)[:downs], 0, script.down)
	}
	require.NotZero(t, ups)
}

// inOrder finds the statements in sent, one after another, and returns where it
// stopped.
func inOrder(t *testing.T, sent []string, from int, statements []statement) int {
	t.Helper()
	require.NotEmpty(t, statements)
	for _, s := range statements {
		i := slices.Index(sent[from:], s.text)
		require.GreaterOrEqual(t, i, 0, "goose did not send, or not here: %s", s.text)
		from += i + 1
	}
	return from
}

// The bad files have one fault each.
func TestLintFindsEachFault(t *testing.T) {
	t.Parallel()
	const noTx, up, down = "-- +goose NO TRANSACTION\n", "-- +goose Up\n", "-- +goose Down\n"
	const build = "DROP INDEX CONCURRENTLY IF EXISTS i;\nCREATE INDEX CONCURRENTLY i ON users (name);\n"
	const unbuild = down + "DROP INDEX CONCURRENTLY IF EXISTS i;"
	const add, dropColumn = "ALTER TABLE users ADD COLUMN IF NOT EXISTS ", down + "ALTER TABLE users DROP COLUMN c;"
	const constrain = "ALTER TABLE users DROP CONSTRAINT IF EXISTS k, ADD CONSTRAINT k "
	const unconstrain = down + "ALTER TABLE users DROP CONSTRAINT k;"
	const table, dropTable = "CREATE TABLE IF NOT EXISTS n (id integer);\n", down + "DROP TABLE n;"
	long := strings.Repeat("x", 64)

	for name, test := range map[string]struct{ content, want string }{
		// How a file is read.
		"no down":             {up + "ALTER TABLE users ADD COLUMN IF NOT EXISTS c text;", `2: no "-- +goose Down"`},
		"SQL before up":       {table + up + dropTable, `1: a statement before`},
		"unknown annotation":  {"-- +goose ENVSUB ON\n" + up + table + dropTable, `1: "-- +goose ENVSUB ON" is no annotation`},
		"annotation inside":   {up + "CREATE TABLE IF NOT EXISTS n\n-- +goose StatementBegin\n(id integer);\n" + dropTable, `3: "-- +goose StatementBegin" inside`},
		"two ups":             {up + up + table + dropTable, `2: "-- +goose Up" is no annotation of these files, or stands in the wrong place`},
		"late no transaction": {up + noTx + build + unbuild + "\n", `2: "-- +goose NO TRANSACTION" is no annotation of these files, or stands in the wrong place`},
		"two in a line":       {up + "DROP TABLE IF EXISTS a; DROP TABLE IF EXISTS b;\n" + down, `2: more than one statement`},
		"no end":              {up + table + down + "DROP TABLE n", `4: the statement never ends`},
		"semicolon in string": {up + add + "c text DEFAULT 'a;\nb';\n" + dropColumn, `2: a quote is never closed`},
		"block comment":       {up + table + "DROP TABLE a /* b */;\n" + dropTable, `3: goose does not know this kind of comment`},
		"escape string":       {up + add + "c text DEFAULT E'a';\n" + dropColumn, `2: a string with a prefix`},
		"open dollars":        {up + "DO $$ BEGIN;\n" + down, `2: a quote is never closed`},

		// Statements.
		"set":                 {up + "SET lock_timeout = '1s';\n" + down, `2: changes a setting`},
		"set local":           {up + "SET LOCAL lock_timeout = '1s';\n" + down, `2: changes a setting`},
		"reset":               {up + "RESET ALL;\n" + down, `2: changes a setting`},
		"set_config":          {up + "SELECT 1,\n  pg_catalog.set_config('lock_timeout', '1s', true);\n" + down, `3: changes a setting`},
		"set on the way down": {up + table + down + "SET lock_timeout = '1s';\nDROP TABLE n;", `4: changes a setting`},
		"drop table":          {up + "DROP TABLE users;\n" + down, `2: takes data away`},
		"truncate":            {up + "TRUNCATE users;\n" + down, `2: takes data away`},
		"update":              {up + "UPDATE users SET name = '';\n" + down, `2: of no form`},
		"do":                  {up + "-- +goose StatementBegin\nDO $$BEGIN NULL; END$$;\n-- +goose StatementEnd\n" + down, `3: of no form`},
		"rename an index":     {up + "ALTER INDEX users_pkey RENAME TO p;\n" + down, `2: of no form`},
		"vacuum full":         {noTx + up + build + "VACUUM FULL users;\n" + unbuild, `5: of no form`},

		// Tables.
		"table twice":           {up + "CREATE TABLE n (id integer);\n" + down, `2: can't be run twice`},
		"temporary table":       {up + "CREATE TEMP TABLE IF NOT EXISTS n (id integer);\n" + down, `2: of no form`},
		"table in a schema":     {up + "CREATE TABLE IF NOT EXISTS public.n (id integer);\n" + down, `2: of no form`},
		"table as":              {up + "CREATE TABLE IF NOT EXISTS n AS SELECT * FROM users;\n" + down, `2: of no form`},
		"partitions":            {up + "CREATE TABLE IF NOT EXISTS n (id integer) PARTITION BY HASH (id);\n" + down, `2: of no form`},
		"like":                  {up + "CREATE TABLE IF NOT EXISTS n (LIKE users INCLUDING ALL);\n" + dropTable, `2: of no form`},
		"unnamed primary key":   {up + "CREATE TABLE IF NOT EXISTS n (\nid integer PRIMARY KEY);\n" + dropTable, `3: a constraint without a name: CONSTRAINT name PRIMARY`},
		"unnamed unique":        {up + "CREATE TABLE IF NOT EXISTS n (id integer CONSTRAINT p PRIMARY KEY UNIQUE);\n" + dropTable, `2: a constraint without a name: CONSTRAINT name UNIQUE`},
		"unnamed check":         {up + "CREATE TABLE IF NOT EXISTS n (id integer CONSTRAINT c NOT NULL CHECK (id > 0));\n" + dropTable, `2: a constraint without a name: CONSTRAINT name CHECK`},
		"unnamed references":    {up + "CREATE TABLE IF NOT EXISTS n (id integer REFERENCES users);\n" + dropTable, `2: a constraint without a name: CONSTRAINT name REFERENCES`},
		"unnamed foreign key":   {up + "CREATE TABLE IF NOT EXISTS n (id integer,\nFOREIGN KEY (id) REFERENCES users);\n" + dropTable, `3: a constraint without a name: CONSTRAINT name FOREIGN`},
		"unnamed exclude":       {up + "CREATE TABLE IF NOT EXISTS n (id integer, EXCLUDE USING gist (id WITH =));\n" + dropTable, `2: a constraint without a name: CONSTRAINT name EXCLUDE`},
		"long table":            {up + "CREATE TABLE IF NOT EXISTS " + long + " (id integer);\n" + down + "DROP TABLE " + long + ";", `2: ` + long + ` is 64 bytes long`},
		"long constraint":       {up + "CREATE TABLE IF NOT EXISTS n (id integer CONSTRAINT " + long + " PRIMARY KEY);\n" + dropTable, `2: ` + long + ` is 64 bytes long`},
		"reference to a schema": {up + "CREATE TABLE IF NOT EXISTS n (id integer CONSTRAINT f REFERENCES public.users);\n" + dropTable, `2: names a schema`},

		// Indexes.
		"index that locks":       {up + "CREATE INDEX IF NOT EXISTS i ON users (name);\n" + down + "DROP INDEX CONCURRENTLY i;", `2: keeps writers of users out`},
		"index without a name":   {up + table + "CREATE INDEX ON n (id);\n" + dropTable, `3: an index without a name`},
		"long index":             {up + table + "CREATE INDEX IF NOT EXISTS " + long + " ON n (id);\n" + dropTable, `3: ` + long + ` is 64 bytes long`},
		"index twice":            {up + table + "CREATE INDEX i ON n (id);\n" + dropTable, `3: can't be run twice`},
		"index in a schema":      {noTx + up + build + "CREATE INDEX CONCURRENTLY j ON public.users (name);\n" + unbuild, `5: names a schema`},
		"index in a transaction": {up + build + unbuild, `3: CONCURRENTLY needs NO TRANSACTION`},
		"index if not exists":    {noTx + up + "DROP INDEX CONCURRENTLY IF EXISTS i;\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON users (name);\n" + unbuild, `4: IF NOT EXISTS keeps the invalid index`},
		"index not dropped":      {noTx + up + "CREATE INDEX CONCURRENTLY i ON users (name);\n" + unbuild, `3: not directly after DROP INDEX CONCURRENTLY IF EXISTS i`},
		"another index dropped":  {noTx + up + build + "DROP INDEX CONCURRENTLY IF EXISTS i;\nCREATE INDEX CONCURRENTLY j ON users (name);\n" + unbuild + "\nDROP INDEX CONCURRENTLY IF EXISTS j;", `6: not directly after DROP INDEX CONCURRENTLY IF EXISTS j`},
		"dropped too early":      {noTx + up + "DROP INDEX CONCURRENTLY IF EXISTS i;\n" + table + "CREATE INDEX CONCURRENTLY i ON users (name);\n" + unbuild + "\nDROP TABLE IF EXISTS n;", `5: not directly after DROP INDEX CONCURRENTLY IF EXISTS i`},
		"index with more":        {noTx + up + build + "CREATE INDEX CONCURRENTLY j ON users (name) NULLS NOT DISTINCT;\n" + unbuild, `5: of no form`},
		"index dropped":          {noTx + up + build + "DROP INDEX CONCURRENTLY IF EXISTS j;\n" + unbuild, `5: drops index j, which this file does not make`},
		"index dropped, locking": {up + "DROP INDEX IF EXISTS users_lower_email_unique;\n" + down, `2: locks the index's table`},

		// Columns.
		"rename column":         {up + "ALTER TABLE users RENAME COLUMN name TO n;\n" + down, `2: renames`},
		"rename table":          {up + "ALTER TABLE users RENAME TO n;\n" + down, `2: renames`},
		"drop column":           {up + "ALTER TABLE users\n  DROP COLUMN name;\n" + down, `3: takes away`},
		"drop column, short":    {up + "ALTER TABLE users DROP IF EXISTS name;\n" + down, `2: takes away`},
		"type":                  {up + "ALTER TABLE users ALTER COLUMN id TYPE bigint;\n" + down, `2: retypes`},
		"set data type":         {up + "ALTER TABLE users ALTER id SET DATA TYPE bigint;\n" + down, `2: retypes`},
		"set not null":          {up + "ALTER TABLE users ALTER COLUMN name SET NOT NULL;\n" + down, `2: SET NOT NULL reads the whole table`},
		"set default":           {up + "ALTER TABLE users ALTER COLUMN name SET DEFAULT '';\n" + down, `2: of no form`},
		"set logged":            {up + "ALTER TABLE users SET UNLOGGED;\n" + down, `2: of no form`},
		"alter in a schema":     {up + "ALTER TABLE public.users ADD COLUMN IF NOT EXISTS c text;\n" + down, `2: names a schema`},
		"alter only":            {up + "ALTER TABLE ONLY users ADD COLUMN IF NOT EXISTS c text;\n" + down, `2: of no form`},
		"column twice":          {up + "ALTER TABLE users ADD COLUMN c text;\n" + down, `2: can't be run twice: ADD COLUMN`},
		"column, short":         {up + "ALTER TABLE users ADD c text;\n" + down, `2: of no form`},
		"not null":              {up + add + "c text NOT NULL;\n" + dropColumn, `2: c is NOT NULL without a default`},
		"not null default null": {up + add + "c text NOT NULL DEFAULT NULL;\n" + dropColumn, `2: c is NOT NULL without a default`},
		"default now":           {up + add + "c timestamp DEFAULT now();\n" + dropColumn, `2: the default of c is no constant`},
		"default that goes on":  {up + add + "c text DEFAULT 'a' || random();\n" + dropColumn, `2: the default of c is no constant`},
		"default that casts":    {up + add + "c text DEFAULT 'a'::mood;\n" + dropColumn, `2: the default of c is no constant`},
		"serial":                {up + add + "c bigserial;\n" + dropColumn, `2: a serial column is filled`},
		"generated":             {up + add + "c text GENERATED ALWAYS AS (lower(name)) STORED;\n" + dropColumn, `2: c is computed for every row`},
		"identity":              {up + add + "c integer GENERATED ALWAYS AS IDENTITY;\n" + dropColumn, `2: c is computed for every row`},
		"domain":                {up + add + "c mood;\n" + dropColumn, `2: a column of type "mood"`},
		"unique column":         {up + add + "c text UNIQUE;\n" + dropColumn, `2: builds its index`},
		"checked column":        {up + add + "c text CHECK (c > '');\n" + dropColumn, `2: a constraint of an added column`},
		"named check of column": {up + add + "c text CONSTRAINT k CHECK (c > '');\n" + dropColumn, `2: a constraint of an added column`},
		"referring column":      {up + add + "c integer REFERENCES teams;\n" + dropColumn, `2: a constraint of an added column`},
		"collation":             {up + add + "c text COLLATE \"C\";\n" + dropColumn, `2: c has an option, from "collate" on`},

		// Constraints.
		"unnamed":                {up + "ALTER TABLE users ADD CHECK (id > 0) NOT VALID;\n" + down, `2: a constraint without a name`},
		"unique":                 {up + constrain + "UNIQUE (name);\n" + unconstrain, `2: builds its index`},
		"primary key":            {up + constrain + "PRIMARY KEY (name);\n" + unconstrain, `2: builds its index`},
		"check":                  {up + constrain + "CHECK (id > 0);\n" + unconstrain, `2: reads every row of users`},
		"foreign key":            {noTx + up + constrain + "FOREIGN KEY (id) REFERENCES teams (id);\n" + down + "ALTER TABLE users DROP CONSTRAINT IF EXISTS k;", `3: reads every row of users`},
		"cascade":                {noTx + up + constrain + "FOREIGN KEY (id) REFERENCES teams (id) ON DELETE CASCADE NOT VALID;\n" + down + "ALTER TABLE users DROP CONSTRAINT IF EXISTS k;", `3: of no form`},
		"exclude":                {up + constrain + "EXCLUDE USING gist (id WITH =);\n" + unconstrain, `2: of no form`},
		"check twice":            {up + "ALTER TABLE users ADD CONSTRAINT k CHECK (id > 0) NOT VALID;\n" + unconstrain, `2: can't be run twice`},
		"constraint dropped":     {up + "ALTER TABLE users DROP CONSTRAINT IF EXISTS users_email_unique;\n" + down, `2: drops constraint users_email_unique of users, which this file does not make`},
		"dropped, no if exists":  {up + "ALTER TABLE users DROP CONSTRAINT users_email_unique;\n" + down, `2: takes away`},
		"index of another file":  {up + constrain + "UNIQUE USING INDEX users_lower_email_unique;\n" + unconstrain, `2: takes over the index users_lower_email_unique`},
		"index taken over twice": {noTx + up + build + constrain + "UNIQUE USING INDEX i;\n" + down + "ALTER TABLE users DROP CONSTRAINT IF EXISTS k;", `5: can't be run twice`},
		"validate beside others": {up + constrain + "CHECK (id > 0) NOT VALID;\nALTER TABLE users VALIDATE CONSTRAINT k;\n" + unconstrain, `3: VALIDATE reads the whole table`},
		"validate in a list":     {up + constrain + "CHECK (id > 0) NOT VALID, VALIDATE CONSTRAINT k;\n" + unconstrain, `2: VALIDATE reads the whole table`},

		// Transactions.
		"two tables":          {up + add + "c text;\nALTER TABLE teams ADD COLUMN IF NOT EXISTS c text;\n" + dropColumn + "\nALTER TABLE teams DROP COLUMN c;", `3: locks teams and users in one transaction`},
		"table and reference": {up + add + "c text;\nCREATE TABLE IF NOT EXISTS n (id integer CONSTRAINT f REFERENCES teams);\n" + dropColumn + "\nDROP TABLE n;", `3: locks teams and users in one transaction`},
		"two references":      {noTx + up + build + "CREATE TABLE IF NOT EXISTS n (\nt integer CONSTRAINT f REFERENCES teams,\nu integer CONSTRAINT g REFERENCES users);\n" + unbuild + "\nDROP TABLE IF EXISTS n;", `7: locks teams and users in one transaction`},
		"foreign key between": {up + constrain + "FOREIGN KEY (id) REFERENCES teams (id) NOT VALID;\n" + unconstrain, `2: locks teams and users in one transaction`},
		"needless no tx":      {noTx + up + add + "c text;\n" + down + "ALTER TABLE users DROP COLUMN IF EXISTS c;", `1: NO TRANSACTION without need`},

		// The way down.
		"index stays":            {noTx + up + build + down, `5: the way down does not drop index i`},
		"column stays":           {up + add + "c text, ADD COLUMN IF NOT EXISTS d text;\n" + dropColumn, `3: the way down does not drop column d of users`},
		"constraint stays":       {up + constrain + "CHECK (id > 0) NOT VALID;\n" + down, `3: the way down does not drop constraint k of users`},
		"table stays":            {up + table + down, `3: the way down does not drop table n`},
		"drops another's table":  {up + table + dropTable + "\nDROP TABLE users;", `5: drops table users, which the way up has not made`},
		"drops another's column": {up + table + dropTable + "\nALTER TABLE users DROP COLUMN name;", `5: drops column name of users, which`},
		"drops another's index":  {up + table + dropTable + "\nDROP INDEX users_email_unique;", `5: drops index users_email_unique, which`},
		"drop cascade":           {up + table + dropTable + "\nDROP TABLE users CASCADE;", `5: of no form`},
		"drop that locks":        {noTx + up + build + down + "DROP INDEX IF EXISTS i;", `6: locks the index's table`},
		"drop once":              {noTx + up + build + down + "DROP INDEX CONCURRENTLY i;", `6: can't be run twice`},
		"delete":                 {up + table + dropTable + "\nDELETE FROM users;", `5: of no form`},
		"locks another's table":  {up + table + dropTable + "\nLOCK TABLE users IN ACCESS EXCLUSIVE MODE;", `5: of no form`},
		"retype on the way down": {up + table + dropTable + "\nALTER TABLE users ALTER COLUMN id TYPE integer;", `5: of no form`},
	} {
		complaints := lint("00006_bad.sql", test.content)
		require.Len(t, complaints, 1, "%s: %s\n%s", name, strings.Join(complaints, "\n"), test.content)
		require.Contains(t, complaints[0], "00006_bad.sql:"+test.want, name)
	}

	for name, content := range map[string]string{
		"nothing":          up + down,
		"columns":          up + add + "c varchar(20) DEFAULT 'a' NOT NULL,\n  ADD COLUMN IF NOT EXISTS d numeric(5, 2) NOT NULL DEFAULT -1.5, -- a; comment;\n  ADD COLUMN IF NOT EXISTS \"e\" text[] DEFAULT '{}'::text[] NULL, ADD COLUMN IF NOT EXISTS f boolean DEFAULT false; -- why\n" + dropColumn + "\nALTER TABLE users DROP COLUMN IF EXISTS d, DROP COLUMN e, DROP COLUMN f;",
		"index":            noTx + up + build + unbuild,
		"index of another": noTx + up + "DROP INDEX CONCURRENTLY IF EXISTS i;\nCREATE UNIQUE INDEX CONCURRENTLY i ON users USING btree (lower(name), id) INCLUDE (role) WHERE name = 'it''s';\n" + unbuild,
		"two tables":       noTx + up + add + "c text;\nALTER TABLE teams ADD COLUMN IF NOT EXISTS c text;\n" + down + "ALTER TABLE teams DROP COLUMN IF EXISTS c;\nALTER TABLE users DROP COLUMN IF EXISTS c;",
		"check":            up + constrain + "CHECK (id > 0) NOT VALID;\n" + unconstrain,
		"validate":         up + "ALTER TABLE users VALIDATE CONSTRAINT k;\n" + down,
		"foreign key":      noTx + up + constrain + "FOREIGN KEY (id) REFERENCES teams (id) NOT VALID;\nALTER TABLE users VALIDATE CONSTRAINT k;\n" + down + "ALTER TABLE users DROP CONSTRAINT IF EXISTS k;",
		"unique": noTx + up + "ALTER TABLE users DROP CONSTRAINT IF EXISTS k;\nDROP INDEX CONCURRENTLY IF EXISTS k;\nCREATE UNIQUE INDEX CONCURRENTLY k ON users (name);\nALTER TABLE users ADD CONSTRAINT k UNIQUE USING INDEX k;\n" +
			down + "ALTER TABLE users DROP CONSTRAINT IF EXISTS k;",
		"table": up + "CREATE TABLE IF NOT EXISTS n (\n  id integer CONSTRAINT n_pkey PRIMARY KEY, -- one; two\n  a text NOT NULL CONSTRAINT a_check CHECK (a IN ('references', 'unique')),\n  \"check\" text GENERATED ALWAYS AS (lower(a)) STORED,\n  m integer CONSTRAINT own REFERENCES n (id),\n  CONSTRAINT u UNIQUE (a, m),\n  CONSTRAINT f FOREIGN KEY (m) REFERENCES users (id)\n);\n" +
			"CREATE UNIQUE INDEX IF NOT EXISTS i ON n (id);\nALTER TABLE n DROP CONSTRAINT IF EXISTS k, ADD CONSTRAINT k UNIQUE (m);\n" + down + "LOCK TABLE n IN ACCESS EXCLUSIVE MODE;\nDROP TABLE n;",
	} {
		require.Empty(t, lint("00006_good.sql", content), "%s\n%s", name, content)
	}
}

func TestLintOfNames(t *testing.T) {
	t.Parallel()
	require.Empty(t, lintNames(names))
	require.Equal(t, []string{
		"00003_c.sql: the number is not 00002, which is next",
		"3_d.sql: the name is not NNNNN_what_it_does.sql",
		"00004_É.sql: the name is not NNNNN_what_it_does.sql",
	}, lintNames([]string{"00001_a_b2.sql", "00003_c.sql", "3_d.sql", "00004_É.sql"}))
	require.Equal(t, []string{"00001_b.sql: the number is not 00002, which is next"}, lintNames([]string{"00001_a.sql", "00001_b.sql"}))
}
