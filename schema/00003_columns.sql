-- What the Store keeps beyond the TypeScript app's columns. All are nullable and
-- without a default, so no row is rewritten and that app's inserts go on working.
--
-- No transaction, so that never two tables are locked at once: whatever their
-- order, some transaction of a service takes them in the other. With one
-- transaction the plain insert of an activity row, whose foreign key locks teams
-- second, deadlocked in nearly every run. Hence IF NOT EXISTS, to be run twice.

-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE teams
    ADD COLUMN IF NOT EXISTS seat_limit integer,   -- members at most; NULL is no limit
    ADD COLUMN IF NOT EXISTS deleted_at timestamp; -- UTC; set once, by the team's deletion

ALTER TABLE invitations
    ADD COLUMN IF NOT EXISTS token_hash bytea,     -- SHA-256 of the token that was sent; NULL in the TypeScript app's rows
    ADD COLUMN IF NOT EXISTS expires_at timestamp; -- UTC; NULL never expires

ALTER TABLE activity_logs
    ADD COLUMN IF NOT EXISTS metadata jsonb;       -- whom and what the action was about

-- +goose Down
ALTER TABLE activity_logs
    DROP COLUMN IF EXISTS metadata;

ALTER TABLE invitations
    DROP COLUMN IF EXISTS token_hash,
    DROP COLUMN IF EXISTS expires_at;

ALTER TABLE teams
    DROP COLUMN IF EXISTS seat_limit,
    DROP COLUMN IF EXISTS deleted_at;
