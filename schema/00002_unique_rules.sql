-- Three rules that the TypeScript app only checks in code, before it inserts:
-- one live account per e-mail in any case, one membership per user and team, one
-- pending invitation per team and e-mail. Rows that already break one stop the
-- migration: check.go finds them before it begins, and says how to repair them.
--
-- CONCURRENTLY, because the tables may be large and in use; hence no transaction,
-- and each index is dropped first: a build that failed leaves an invalid one.

-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS users_lower_email_unique;
CREATE UNIQUE INDEX CONCURRENTLY users_lower_email_unique ON users (lower(email)) WHERE deleted_at IS NULL;

DROP INDEX CONCURRENTLY IF EXISTS team_members_team_id_user_id_unique;
CREATE UNIQUE INDEX CONCURRENTLY team_members_team_id_user_id_unique ON team_members (team_id, user_id);

DROP INDEX CONCURRENTLY IF EXISTS invitations_team_id_lower_email_pending_unique;
CREATE UNIQUE INDEX CONCURRENTLY invitations_team_id_lower_email_pending_unique ON invitations (team_id, lower(email)) WHERE status = 'pending';

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS invitations_team_id_lower_email_pending_unique;
DROP INDEX CONCURRENTLY IF EXISTS team_members_team_id_user_id_unique;
DROP INDEX CONCURRENTLY IF EXISTS users_lower_email_unique;
