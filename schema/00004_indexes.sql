-- An index for every foreign key and every list, its columns in the order in
-- which the list is read. Each is dropped first: see 00002.

-- +goose NO TRANSACTION
-- +goose Up
-- A user's memberships, earliest first.
DROP INDEX CONCURRENTLY IF EXISTS team_members_user_id_joined_at_id_idx;
CREATE INDEX CONCURRENTLY team_members_user_id_joined_at_id_idx ON team_members (user_id, joined_at, id);

-- A team's members, in the order in which they joined.
DROP INDEX CONCURRENTLY IF EXISTS team_members_team_id_joined_at_id_idx;
CREATE INDEX CONCURRENTLY team_members_team_id_joined_at_id_idx ON team_members (team_id, joined_at, id);

-- A team's owners, without reading its other members.
DROP INDEX CONCURRENTLY IF EXISTS team_members_team_id_owner_idx;
CREATE INDEX CONCURRENTLY team_members_team_id_owner_idx ON team_members (team_id) WHERE role = 'owner';

-- The log of a team and of a user, read backwards; a team's also by action, so that
-- rare ones are found without reading the others; and everybody's oldest rows, which
-- retention removes.
DROP INDEX CONCURRENTLY IF EXISTS activity_logs_team_id_timestamp_id_idx;
CREATE INDEX CONCURRENTLY activity_logs_team_id_timestamp_id_idx ON activity_logs (team_id, "timestamp", id);

DROP INDEX CONCURRENTLY IF EXISTS activity_logs_user_id_timestamp_id_idx;
CREATE INDEX CONCURRENTLY activity_logs_user_id_timestamp_id_idx ON activity_logs (user_id, "timestamp", id);

DROP INDEX CONCURRENTLY IF EXISTS activity_logs_team_id_action_timestamp_id_idx;
CREATE INDEX CONCURRENTLY activity_logs_team_id_action_timestamp_id_idx ON activity_logs (team_id, action, "timestamp", id);

DROP INDEX CONCURRENTLY IF EXISTS activity_logs_timestamp_id_idx;
CREATE INDEX CONCURRENTLY activity_logs_timestamp_id_idx ON activity_logs ("timestamp", id);

-- What an e-mail is invited to, over all teams.
DROP INDEX CONCURRENTLY IF EXISTS invitations_lower_email_pending_idx;
CREATE INDEX CONCURRENTLY invitations_lower_email_pending_idx ON invitations (lower(email), invited_at, id) WHERE status = 'pending';

-- The invitations of a team and of whoever sent them, read backwards.
DROP INDEX CONCURRENTLY IF EXISTS invitations_team_id_invited_at_id_idx;
CREATE INDEX CONCURRENTLY invitations_team_id_invited_at_id_idx ON invitations (team_id, invited_at, id);

DROP INDEX CONCURRENTLY IF EXISTS invitations_invited_by_invited_at_id_idx;
CREATE INDEX CONCURRENTLY invitations_invited_by_invited_at_id_idx ON invitations (invited_by, invited_at, id);

-- An invitation by its token. Partial: the TypeScript app's rows have none.
DROP INDEX CONCURRENTLY IF EXISTS invitations_token_hash_unique;
CREATE UNIQUE INDEX CONCURRENTLY invitations_token_hash_unique ON invitations (token_hash) WHERE token_hash IS NOT NULL;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS invitations_token_hash_unique;
DROP INDEX CONCURRENTLY IF EXISTS invitations_invited_by_invited_at_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS invitations_team_id_invited_at_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS invitations_lower_email_pending_idx;
DROP INDEX CONCURRENTLY IF EXISTS activity_logs_timestamp_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS activity_logs_team_id_action_timestamp_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS activity_logs_user_id_timestamp_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS activity_logs_team_id_timestamp_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS team_members_team_id_owner_idx;
DROP INDEX CONCURRENTLY IF EXISTS team_members_team_id_joined_at_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS team_members_user_id_joined_at_id_idx;
