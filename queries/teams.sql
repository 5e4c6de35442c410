-- name: GetTeam :one
-- GetTeam reads a live team, without deleted_at.
SELECT id, name, created_at, updated_at, stripe_customer_id, stripe_subscription_id, stripe_product_id, plan_name, subscription_status, seat_limit
FROM teams
WHERE id = @team_id AND deleted_at IS NULL;

-- name: ListTeams :many
-- ListTeams includes deleted teams, which the log and invitations refer to.
SELECT *
FROM teams
WHERE id = ANY (@team_ids::bigint[]);

-- name: GetTeamForUser :one
-- GetTeamForUser is GetTeam of the user's earliest membership.
SELECT id, name, created_at, updated_at, stripe_customer_id, stripe_subscription_id, stripe_product_id, plan_name, subscription_status, seat_limit
FROM teams
WHERE id = (
        SELECT team_members.team_id
        FROM team_members
        JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
        JOIN teams AS home ON home.id = team_members.team_id AND home.deleted_at IS NULL
        WHERE team_members.user_id = @user_id
        ORDER BY team_members.joined_at, team_members.id
        LIMIT 1
    );

-- name: LockTeam :exec
-- LockTeam is the one lock of whatever changes who is in a team or who may join it.
-- What follows it in the transaction has a younger snapshot, so what it counts can't
-- change before it commits. Not FOR UPDATE, which would also stop every insert that
-- refers to the team.
SELECT FROM teams
WHERE id = @team_id
FOR NO KEY UPDATE;

-- name: LockTeamsOfUser :exec
-- LockTeamsOfUser locks in ascending order, so that two of them can't wait for each
-- other. = ANY (ARRAY(…)) rather than IN: the planner looks teams up one by one, also
-- when it knows nothing of the tables yet.
SELECT FROM teams
WHERE teams.id = ANY (ARRAY(SELECT team_members.team_id FROM team_members WHERE team_members.user_id = @user_id))
ORDER BY teams.id
FOR NO KEY UPDATE;

-- name: CreateTeam :one
-- CreateTeam locks its user's row, as LockUser does: the account can't be deleted meanwhile.
WITH actor AS (
    SELECT users.id
    FROM users
    WHERE users.id = @actor_id AND users.deleted_at IS NULL
    FOR NO KEY UPDATE
),
new_team AS (
    INSERT INTO teams (name, created_at, updated_at)
    SELECT @name, timezone('utc', now()), timezone('utc', now())
    FROM actor
    RETURNING *
),
new_membership AS (
    INSERT INTO team_members (user_id, team_id, role, joined_at)
    SELECT actor.id, new_team.id, 'owner', new_team.created_at
    FROM actor, new_team
    RETURNING *
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT new_membership.team_id, new_membership.user_id, 'CREATE_TEAM', new_membership.joined_at, sqlc.narg(ip_address), jsonb_build_object('name', new_team.name)
    FROM new_membership, new_team
)
SELECT sqlc.embed(teams), sqlc.embed(team_members)
FROM new_team AS teams, new_membership AS team_members;

-- name: InsertTeam :one
INSERT INTO teams (id, name, created_at, updated_at, stripe_customer_id, stripe_subscription_id, stripe_product_id, plan_name, subscription_status)
VALUES (
    coalesce(sqlc.narg(id)::bigint, nextval('teams_id_seq')),
    @name,
    coalesce(sqlc.narg(created_at)::timestamp, timezone('utc', now())),
    coalesce(sqlc.narg(updated_at)::timestamp, timezone('utc', now())),
    sqlc.narg(stripe_customer_id),
    sqlc.narg(stripe_subscription_id),
    sqlc.narg(stripe_product_id),
    sqlc.narg(plan_name),
    sqlc.narg(subscription_status)
)
RETURNING id;

-- name: ListTeamsForUserPage :many
-- ListTeamsForUserPage reads the teams of a live user from a position on, earliest
-- membership first (team_members_user_id_joined_at_id_idx). The user is looked up in a
-- subselect: once, where a join would do it for each team.
SELECT teams.id, teams.name, teams.created_at, teams.updated_at, teams.stripe_customer_id, teams.stripe_subscription_id,
    teams.stripe_product_id, teams.plan_name, teams.subscription_status, teams.seat_limit,
    team_members.id AS member_id, team_members.role, team_members.joined_at
FROM team_members JOIN teams ON teams.id = team_members.team_id AND teams.deleted_at IS NULL
WHERE team_members.user_id = @user_id
    AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = @user_id)
    AND (team_members.joined_at, team_members.id) > (@after_joined_at::timestamp, @after_id::bigint)
ORDER BY team_members.joined_at, team_members.id
LIMIT (SELECT @page_limit::integer);

-- name: RenameTeam :one
-- RenameTeam runs after LockTeam.
WITH actor AS (
    SELECT team_members.user_id
    FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
),
team AS (
    SELECT teams.id, teams.name FROM teams WHERE teams.id = @team_id AND teams.deleted_at IS NULL
),
renamed AS (
    UPDATE teams
    SET name = @name, updated_at = timezone('utc', now())
    FROM actor, team
    WHERE teams.id = team.id AND team.name <> @name
    RETURNING teams.id, teams.name, teams.updated_at, actor.user_id AS actor_id
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT renamed.id, renamed.actor_id, 'UPDATE_TEAM', renamed.updated_at, sqlc.narg(ip_address),
        jsonb_build_object('name', jsonb_build_object('from', team.name, 'to', renamed.name))
    FROM renamed, team
)
SELECT EXISTS (SELECT FROM actor, team) AS allowed;

-- name: DeleteTeam :one
-- DeleteTeam runs after LockTeam, so that nobody joins or invites meanwhile.
WITH actor AS (
    SELECT team_members.user_id
    FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
),
team AS (
    SELECT teams.id, teams.name,
        coalesce(teams.subscription_status NOT IN ('canceled', 'incomplete_expired'), false) AS subscribed
    FROM teams
    WHERE teams.id = @team_id AND teams.deleted_at IS NULL
),
deleted AS (
    UPDATE teams
    SET deleted_at = timezone('utc', now()), updated_at = timezone('utc', now())
    FROM actor, team
    WHERE teams.id = team.id AND (@force::boolean OR NOT team.subscribed)
    RETURNING teams.id, teams.name, teams.deleted_at, actor.user_id AS actor_id
),
ended AS (
    DELETE FROM team_members
    USING deleted
    WHERE team_members.team_id = deleted.id
    RETURNING team_members.id
),
pending AS (
    -- Locked in the order of ids, as by every writer of several.
    SELECT invitations.id
    FROM invitations
    WHERE invitations.team_id = (SELECT deleted.id FROM deleted) AND invitations.status = 'pending'
    ORDER BY invitations.id
    FOR NO KEY UPDATE
),
canceled AS (
    UPDATE invitations
    SET status = 'canceled'
    FROM pending
    WHERE invitations.team_id = @team_id AND invitations.id = pending.id
    RETURNING invitations.id
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT deleted.id, deleted.actor_id, 'DELETE_TEAM', deleted.deleted_at, sqlc.narg(ip_address),
        jsonb_build_object('name', deleted.name, 'members', (SELECT count(*) FROM ended), 'invitations', (SELECT count(*) FROM canceled))
    FROM deleted
)
SELECT
    EXISTS (SELECT FROM actor, team) AS allowed,
    EXISTS (SELECT FROM deleted) AS deleted;

-- name: SetSeatLimit :one
-- SetSeatLimit waits for whoever is joining: they hold the team's row.
WITH actor AS (
    SELECT users.id FROM users WHERE users.id = @actor_id FOR KEY SHARE
),
team AS (
    SELECT teams.id, teams.seat_limit
    FROM teams
    WHERE teams.id = @team_id AND teams.deleted_at IS NULL
        AND (@by_system::boolean OR EXISTS (SELECT FROM actor))
    FOR NO KEY UPDATE
),
updated AS (
    UPDATE teams
    SET seat_limit = sqlc.narg(seat_limit), updated_at = timezone('utc', now())
    FROM team
    WHERE teams.id = team.id AND team.seat_limit IS DISTINCT FROM sqlc.narg(seat_limit)
    RETURNING teams.id, teams.seat_limit, teams.updated_at
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT updated.id, (SELECT actor.id FROM actor), 'UPDATE_TEAM', updated.updated_at, sqlc.narg(ip_address),
        jsonb_build_object('seatLimit', jsonb_build_object('from', team.seat_limit, 'to', updated.seat_limit))
    FROM updated, team
)
SELECT team.id
FROM team;
