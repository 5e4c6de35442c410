-- name: ListTeamMembers :many
-- ListTeamMembers reads the live members of a team with name and e-mail, in the order
-- in which they joined (team_members_team_id_joined_at_id_idx). The team is in a subselect
-- so that one plan serves all: a team that is smaller than most would be planned anew at
-- every call, which takes longer than to read it.
SELECT team_members.id, team_members.user_id, team_members.role, team_members.joined_at, users.name AS user_name, users.email AS user_email
FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
WHERE team_members.team_id = (SELECT @team_id::integer)
ORDER BY team_members.joined_at, team_members.id;

-- name: ListTeamMembersForUser :many
-- ListTeamMembersForUser is ListTeamMembers of the team that GetTeamForUser reads, and
-- says which that is.
SELECT team_members.team_id, team_members.id, team_members.user_id, team_members.role, team_members.joined_at, users.name AS user_name, users.email AS user_email
FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
WHERE team_members.team_id = (
        SELECT home.team_id
        FROM team_members AS home JOIN teams ON teams.id = home.team_id AND teams.deleted_at IS NULL
        WHERE home.user_id = @user_id
        ORDER BY home.joined_at, home.id
        LIMIT 1
    )
ORDER BY team_members.joined_at, team_members.id;

-- name: ListMembersPage :many
-- ListMembersPage is ListTeamMembers from a position on.
SELECT team_members.id, team_members.user_id, team_members.role, team_members.joined_at, users.name AS user_name, users.email AS user_email
FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
WHERE team_members.team_id = @team_id
    AND (team_members.joined_at, team_members.id) > (@after_joined_at::timestamp, @after_id::bigint)
ORDER BY team_members.joined_at, team_members.id
LIMIT (SELECT @page_limit::integer); -- a bare parameter would be planned at every call

-- name: ListMembershipsPage :many
-- ListMembershipsPage reads a user's memberships from a position on, earliest first
-- (team_members_user_id_joined_at_id_idx). The user is looked up once: see ListTeamsForUserPage.
SELECT team_members.*
FROM team_members
WHERE team_members.user_id = @user_id
    AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = @user_id)
    AND (team_members.joined_at, team_members.id) > (@after_joined_at::timestamp, @after_id::bigint)
ORDER BY team_members.joined_at, team_members.id
LIMIT (SELECT @page_limit::integer);

-- name: ListMembersOfTeams :many
-- ListMembersOfTeams reads the earliest live members of each team, limit_each at most.
SELECT team_members.team_id, team_members.id, team_members.user_id, team_members.role, team_members.joined_at, users.name AS user_name, users.email AS user_email
FROM teams
CROSS JOIN LATERAL (
    SELECT member.*
    FROM team_members AS member JOIN users AS live ON live.id = member.user_id AND live.deleted_at IS NULL
    WHERE member.team_id = teams.id
    ORDER BY member.joined_at, member.id
    LIMIT (SELECT @limit_each::integer)
) AS team_members
JOIN users ON users.id = team_members.user_id
WHERE teams.id = ANY (@team_ids::bigint[])
ORDER BY team_members.team_id, team_members.joined_at, team_members.id;

-- name: ListMembershipsOfUsers :many
-- ListMembershipsOfUsers reads the earliest memberships of each live user, limit_each at most.
SELECT sqlc.embed(team_members)
FROM users
CROSS JOIN LATERAL (
    SELECT membership.*
    FROM team_members AS membership
    WHERE membership.user_id = users.id
    ORDER BY membership.joined_at, membership.id
    LIMIT (SELECT @limit_each::integer)
) AS team_members
WHERE users.id = ANY (@user_ids::bigint[]) AND users.deleted_at IS NULL
ORDER BY team_members.user_id, team_members.joined_at, team_members.id;

-- name: RemoveMember :one
-- RemoveMember runs after LockTeam, so that of two owners who remove each other the
-- second is no owner any more.
WITH actor AS (
    SELECT FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
),
removed AS (
    DELETE FROM team_members
    WHERE team_members.team_id = @team_id AND team_members.id = @member_id
        AND EXISTS (SELECT FROM actor)
        AND EXISTS (
            SELECT FROM team_members AS owner
            WHERE owner.team_id = @team_id AND owner.role = 'owner' AND owner.id <> @member_id
                AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = owner.user_id)
        )
    RETURNING team_members.id, team_members.user_id, team_members.role
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT @team_id, @actor_id, 'REMOVE_TEAM_MEMBER', timezone('utc', now()), sqlc.narg(ip_address),
        jsonb_build_object('memberId', removed.id, 'userId', removed.user_id, 'role', removed.role)
    FROM removed
)
-- The reasons are looked for only when nothing was removed.
SELECT removed.done AS removed,
    (removed.done OR EXISTS (SELECT FROM actor))::boolean AS allowed,
    (removed.done OR EXISTS (SELECT FROM team_members AS member WHERE member.team_id = @team_id AND member.id = @member_id))::boolean AS found
FROM (SELECT EXISTS (SELECT FROM removed) AS done) AS removed;

-- name: InsertTeamMember :one
INSERT INTO team_members (id, user_id, team_id, role, joined_at)
VALUES (
    coalesce(sqlc.narg(id)::bigint, nextval('team_members_id_seq')),
    @user_id,
    @team_id,
    @role,
    coalesce(sqlc.narg(joined_at)::timestamp, timezone('utc', now()))
)
RETURNING id;

-- name: GetMembership :one
SELECT team_members.*
FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
WHERE team_members.team_id = @team_id AND team_members.user_id = @user_id;

-- name: LeaveTeam :one
-- LeaveTeam runs after LockTeam: of two last owners the second finds no other one. The
-- row is found by its user (team_members_team_id_user_id_unique): joined by its id, the
-- planner would read the whole team, which it takes to be small.
WITH membership AS (
    SELECT team_members.id, team_members.user_id, team_members.role
    FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id
),
ended AS (
    DELETE FROM team_members
    USING membership
    WHERE team_members.team_id = @team_id AND team_members.user_id = (SELECT membership.user_id FROM membership)
        AND (membership.role <> 'owner' OR EXISTS (
            SELECT FROM team_members AS owner
            WHERE owner.team_id = @team_id AND owner.role = 'owner' AND owner.id <> membership.id
                AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = owner.user_id)
        ))
    RETURNING team_members.id, team_members.user_id, team_members.role
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT @team_id, ended.user_id, 'LEAVE_TEAM', timezone('utc', now()), sqlc.narg(ip_address),
        jsonb_build_object('memberId', ended.id, 'role', ended.role)
    FROM ended
)
SELECT
    EXISTS (SELECT FROM membership) AS found,
    EXISTS (SELECT FROM ended) AS ended;

-- name: ChangeRole :one
-- ChangeRole runs after LockTeam: of two owners who demote each other the second is no
-- owner any more. It finds the row as LeaveTeam does.
WITH actor AS (
    SELECT team_members.user_id
    FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
),
member AS (
    SELECT team_members.id, team_members.user_id, team_members.role, team_members.role = @role AS has_role
    FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.id = @member_id
),
changed AS (
    UPDATE team_members
    SET role = @role
    FROM actor, member
    WHERE team_members.team_id = @team_id AND team_members.user_id = (SELECT member.user_id FROM member) AND NOT member.has_role
        AND (member.role <> 'owner' OR EXISTS (
            SELECT FROM team_members AS owner
            WHERE owner.team_id = @team_id AND owner.role = 'owner' AND owner.id <> member.id
                AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = owner.user_id)
        ))
    RETURNING team_members.id, team_members.user_id, team_members.role, actor.user_id AS actor_id
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT @team_id, changed.actor_id, 'CHANGE_ROLE', timezone('utc', now()), sqlc.narg(ip_address),
        jsonb_build_object('memberId', changed.id, 'userId', changed.user_id, 'from', member.role, 'to', changed.role)
    FROM changed, member
)
SELECT
    EXISTS (SELECT FROM actor) AS allowed,
    EXISTS (SELECT FROM member) AS found,
    EXISTS (SELECT FROM member WHERE member.has_role) AS has_role,
    EXISTS (SELECT FROM changed) AS changed;

-- name: TransferOwnership :one
-- TransferOwnership runs after LockTeam. It finds the rows as LeaveTeam does.
WITH actor AS (
    SELECT team_members.id, team_members.user_id
    FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
),
member AS (
    SELECT team_members.id, team_members.user_id, team_members.role
    FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.id = @member_id AND team_members.user_id <> @actor_id
),
promoted AS (
    UPDATE team_members
    SET role = 'owner'
    FROM actor, member
    WHERE team_members.team_id = @team_id AND team_members.user_id = (SELECT member.user_id FROM member)
),
demoted AS (
    UPDATE team_members
    SET role = 'member'
    FROM actor, member
    WHERE team_members.team_id = @team_id AND team_members.user_id = (SELECT actor.user_id FROM actor)
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT @team_id, actor.user_id, 'TRANSFER_OWNERSHIP', timezone('utc', now()), sqlc.narg(ip_address),
        jsonb_build_object('memberId', member.id, 'userId', member.user_id, 'from', member.role)
    FROM actor, member
)
SELECT
    EXISTS (SELECT FROM actor) AS allowed,
    EXISTS (SELECT FROM member) AS found;
