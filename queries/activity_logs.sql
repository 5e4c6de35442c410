-- name: RecordActivity :execrows
-- RecordActivity inserts no row when there is no such team. An unknown user breaks activity_logs_user_id_users_id_fk.
INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
SELECT teams.id, sqlc.narg(user_id), @action, timezone('utc', now()), sqlc.narg(ip_address), sqlc.narg(metadata)
FROM teams
WHERE teams.id = @team_id AND teams.deleted_at IS NULL;

-- name: RecordUserActivity :one
-- RecordUserActivity logs in the team of the user's earliest membership, and nowhere
-- when there is none. No row comes back when there is no such user.
WITH actor AS (
    SELECT users.id
    FROM users
    WHERE users.id = @user_id AND users.deleted_at IS NULL
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address)
    SELECT home.team_id, actor.id, @action, timezone('utc', now()), sqlc.narg(ip_address)
    FROM actor, LATERAL (
        SELECT team_members.team_id FROM team_members
        WHERE team_members.user_id = actor.id
        ORDER BY team_members.joined_at, team_members.id
        LIMIT 1
    ) AS home
)
SELECT actor.id
FROM actor;

-- name: ListUserActivityPage :many
-- ListUserActivityPage reads a user's log before a position, newest first
-- (activity_logs_user_id_timestamp_id_idx). Deleted users keep their names. The plain
-- bound on the time would let a partitioned log skip partitions; the row comparison
-- alone would not.
SELECT activity_logs.id, activity_logs.team_id, activity_logs.action, activity_logs."timestamp", activity_logs.ip_address, activity_logs.metadata, users.name AS user_name
FROM activity_logs LEFT JOIN users ON users.id = activity_logs.user_id
WHERE activity_logs.user_id = @user_id
    AND activity_logs."timestamp" >= @since::timestamp
    AND activity_logs."timestamp" <= @before_timestamp::timestamp
    AND (activity_logs."timestamp", activity_logs.id) < (@before_timestamp::timestamp, @before_id::bigint)
ORDER BY activity_logs."timestamp" DESC, activity_logs.id DESC
LIMIT (SELECT @page_limit::integer); -- a bare parameter would be planned at every call

-- name: ListTeamActivityPage :many
-- ListTeamActivityPage is ListUserActivityPage for a team (activity_logs_team_id_timestamp_id_idx).
SELECT activity_logs.id, activity_logs.user_id, activity_logs.action, activity_logs."timestamp", activity_logs.ip_address, activity_logs.metadata, users.name AS user_name
FROM activity_logs LEFT JOIN users ON users.id = activity_logs.user_id
WHERE activity_logs.team_id = @team_id
    AND activity_logs."timestamp" >= @since::timestamp
    AND activity_logs."timestamp" <= @before_timestamp::timestamp
    AND (activity_logs."timestamp", activity_logs.id) < (@before_timestamp::timestamp, @before_id::bigint)
ORDER BY activity_logs."timestamp" DESC, activity_logs.id DESC
LIMIT (SELECT @page_limit::integer);

-- name: ListUserActivityOfPage :many
-- ListUserActivityOfPage is ListUserActivityPage for some actions. It reads over the
-- user's other rows.
SELECT activity_logs.id, activity_logs.team_id, activity_logs.action, activity_logs."timestamp", activity_logs.ip_address, activity_logs.metadata, users.name AS user_name
FROM activity_logs LEFT JOIN users ON users.id = activity_logs.user_id
WHERE activity_logs.user_id = @user_id
    AND activity_logs.action = ANY (@actions::text[])
    AND activity_logs."timestamp" >= @since::timestamp
    AND activity_logs."timestamp" <= @before_timestamp::timestamp
    AND (activity_logs."timestamp", activity_logs.id) < (@before_timestamp::timestamp, @before_id::bigint)
ORDER BY activity_logs."timestamp" DESC, activity_logs.id DESC
LIMIT (SELECT @page_limit::integer);

-- name: ListTeamActivityOfPage :many
-- ListTeamActivityOfPage is ListTeamActivityPage for some actions: a page of each by
-- activity_logs_team_id_action_timestamp_id_idx, and the newest of those.
SELECT activity_logs.id, activity_logs.user_id, activity_logs.action, activity_logs."timestamp", activity_logs.ip_address, activity_logs.metadata, users.name AS user_name
FROM (SELECT DISTINCT unnest(@actions::text[]) AS action) AS wanted
CROSS JOIN LATERAL (
    SELECT entry.*
    FROM activity_logs AS entry
    WHERE entry.team_id = @team_id
        AND entry.action = wanted.action
        AND entry."timestamp" >= @since::timestamp
        AND entry."timestamp" <= @before_timestamp::timestamp
        AND (entry."timestamp", entry.id) < (@before_timestamp::timestamp, @before_id::bigint)
    ORDER BY entry."timestamp" DESC, entry.id DESC
    LIMIT (SELECT @page_limit::integer)
) AS activity_logs
LEFT JOIN users ON users.id = activity_logs.user_id
ORDER BY activity_logs."timestamp" DESC, activity_logs.id DESC
LIMIT (SELECT @page_limit::integer);

-- name: RecordActivities :one
-- RecordActivities inserts a row for each element of the arrays, or none when one of the
-- teams is not there. 0 and '' stand for NULL.
WITH wanted AS (
    SELECT
        unnest(@team_ids::bigint[]) AS team_id,
        unnest(@user_ids::bigint[]) AS user_id,
        unnest(@actions::text[]) AS action,
        unnest(@ip_addresses::text[]) AS ip_address,
        unnest(@metadata::text[]) AS metadata
),
missing AS (
    SELECT asked.team_id
    FROM (SELECT DISTINCT wanted.team_id FROM wanted) AS asked
    WHERE NOT EXISTS (SELECT FROM teams WHERE teams.id = asked.team_id AND teams.deleted_at IS NULL)
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT wanted.team_id, nullif(wanted.user_id, 0), wanted.action, timezone('utc', now()),
        nullif(wanted.ip_address, ''), nullif(wanted.metadata, '')::jsonb
    FROM wanted
    WHERE NOT EXISTS (SELECT FROM missing)
)
SELECT EXISTS (SELECT FROM missing) AS missing;

-- name: PurgeActivity :one
-- PurgeActivity removes the oldest rows (activity_logs_timestamp_id_idx), all teams'.
-- SKIP LOCKED: two purges share the work, and neither waits. It begins where the batch
-- before it ended, because what that removed is still in the index.
WITH removed AS (
    DELETE FROM activity_logs
    WHERE activity_logs.id = ANY (ARRAY(
        SELECT oldest.id
        FROM activity_logs AS oldest
        WHERE oldest."timestamp" >= @since::timestamp AND oldest."timestamp" < @before::timestamp
        ORDER BY oldest."timestamp", oldest.id
        LIMIT (SELECT @batch_size::integer)
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING activity_logs.team_id, activity_logs."timestamp"
)
SELECT count(*) AS removed, coalesce(max(removed."timestamp"), @since::timestamp)::timestamp AS until
FROM removed;

-- name: ListActivityOfTeams :many
-- ListActivityOfTeams reads the newest log rows of each team, limit_each at most.
SELECT activity_logs.team_id, activity_logs.id, activity_logs.user_id, activity_logs.action, activity_logs."timestamp", activity_logs.ip_address, activity_logs.metadata, users.name AS user_name
FROM teams
CROSS JOIN LATERAL (
    SELECT entry.*
    FROM activity_logs AS entry
    WHERE entry.team_id = teams.id
    ORDER BY entry."timestamp" DESC, entry.id DESC
    LIMIT (SELECT @limit_each::integer)
) AS activity_logs
LEFT JOIN users ON users.id = activity_logs.user_id
WHERE teams.id = ANY (@team_ids::bigint[])
ORDER BY activity_logs.team_id, activity_logs."timestamp" DESC, activity_logs.id DESC;

-- name: InsertActivityLog :one
INSERT INTO activity_logs (id, team_id, user_id, action, "timestamp", ip_address)
VALUES (
    coalesce(sqlc.narg(id)::bigint, nextval('activity_logs_id_seq')),
    @team_id,
    sqlc.narg(user_id),
    @action,
    coalesce(sqlc.narg(logged_at)::timestamp, timezone('utc', now())),
    sqlc.narg(ip_address)
)
RETURNING id;
