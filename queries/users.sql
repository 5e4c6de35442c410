-- name: SignUp :one
-- SignUp creates an account, its team and its membership as owner, and logs both. What
-- comes back is what the caller can't know: the ids and the time.
-- No row comes back when a unique index has its e-mail, which IsEmailTaken confirms:
-- ON CONFLICT leaves a surrounding transaction usable.
WITH new_user AS (
    INSERT INTO users (name, email, password_hash, role, created_at, updated_at)
    VALUES (sqlc.narg(name), @email, @password_hash, 'owner', timezone('utc', now()), timezone('utc', now()))
    ON CONFLICT DO NOTHING
    RETURNING users.id, users.created_at
),
new_team AS (
    INSERT INTO teams (name, created_at, updated_at)
    SELECT @team_name, new_user.created_at, new_user.created_at
    FROM new_user
    RETURNING teams.id
),
new_membership AS (
    INSERT INTO team_members (user_id, team_id, role, joined_at)
    SELECT new_user.id, new_team.id, 'owner', new_user.created_at
    FROM new_user, new_team
    RETURNING team_members.id, team_members.user_id, team_members.team_id, team_members.joined_at
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT new_membership.team_id, new_membership.user_id, step.action, new_membership.joined_at, sqlc.narg(ip_address), step.metadata
    FROM new_membership, (VALUES
        (1, 'CREATE_TEAM', jsonb_build_object('name', @team_name::text)),
        (2, 'SIGN_UP', NULL)
    ) AS step (n, action, metadata)
    ORDER BY step.n
)
SELECT new_membership.id, new_membership.user_id, new_membership.team_id, new_membership.joined_at
FROM new_membership;

-- name: SignUpWithInvitation :one
-- SignUpWithInvitation creates an account that joins the invitation's team. It runs
-- after LockInvitation, on what that locked. No row comes back, and nothing is written,
-- when the invitation can't be used or a live account has the e-mail: ExplainInvitation
-- tells.
WITH invitation AS (
    SELECT invitations.id, invitations.team_id, invitations.role
    FROM invitations
    WHERE invitations.id = nullif(current_setting('rowhouse.locked_invitation', true), '')::bigint
        AND invitations.token_hash IS NOT DISTINCT FROM sqlc.narg(token_hash) -- which ResendInvitation may have replaced
        AND invitations.status = 'pending'
        AND (invitations.expires_at IS NULL OR invitations.expires_at > timezone('utc', now()))
        AND lower(invitations.email) = lower(@email)
        AND EXISTS (
            SELECT FROM team_members AS inviter
            WHERE inviter.team_id = invitations.team_id AND inviter.user_id = invitations.invited_by AND inviter.role = 'owner'
                AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = inviter.user_id)
        )
    FOR NO KEY UPDATE OF invitations -- against writers that don't lock the team, such as the TypeScript app
),
invited_to AS (
    SELECT teams.*
    FROM invitation JOIN teams ON teams.id = invitation.team_id
    WHERE teams.deleted_at IS NULL
        -- As for AcceptInvitation: a seat is free when nobody has the last one.
        AND (teams.seat_limit IS NULL OR teams.seat_limit > 0 AND (
            NOT EXISTS (SELECT FROM team_members AS member WHERE member.team_id = teams.id OFFSET teams.seat_limit - 1)
            OR NOT EXISTS (
                SELECT FROM team_members AS member
                WHERE member.team_id = teams.id
                    AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = member.user_id)
                OFFSET teams.seat_limit - 1
            )))
),
new_user AS (
    INSERT INTO users (name, email, password_hash, role, created_at, updated_at)
    SELECT sqlc.narg(name), @email, @password_hash, invitation.role, timezone('utc', now()), timezone('utc', now())
    FROM invitation, invited_to
    ON CONFLICT DO NOTHING
    RETURNING id, name, email, '' AS password_hash, role, created_at, updated_at, deleted_at
),
accepted AS (
    UPDATE invitations
    SET status = 'accepted'
    FROM invitation, new_user
    WHERE invitations.team_id = invitation.team_id AND invitations.id = invitation.id
    RETURNING invitations.id
),
new_membership AS (
    INSERT INTO team_members (user_id, team_id, role, joined_at)
    SELECT new_user.id, invitation.team_id, invitation.role, new_user.created_at
    FROM new_user, invitation
    RETURNING *
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT new_membership.team_id, new_membership.user_id, step.action, new_membership.joined_at, sqlc.narg(ip_address), step.metadata
    FROM new_membership, accepted, LATERAL (VALUES
        (1, 'ACCEPT_INVITATION', jsonb_build_object('invitationId', accepted.id, 'role', new_membership.role, 'joined', true)),
        (2, 'SIGN_UP', NULL)
    ) AS step (n, action, metadata)
    ORDER BY step.n
)
SELECT sqlc.embed(users), sqlc.embed(teams), sqlc.embed(team_members)
FROM new_user AS users, invited_to AS teams, new_membership AS team_members;

-- name: IsEmailTaken :one
-- IsEmailTaken asks both unique indexes: a deleted account that still has its e-mail
-- holds it as well.
SELECT (
    EXISTS (SELECT FROM users WHERE lower(users.email) = lower(@email) AND users.deleted_at IS NULL)
    OR EXISTS (SELECT FROM users WHERE users.email = @email)
)::boolean AS taken;

-- name: GetCredentials :one
-- GetCredentials is the only read of a password hash.
SELECT id, password_hash
FROM users
WHERE lower(email) = lower(@email) AND deleted_at IS NULL;

-- name: GetUser :one
-- GetUser reads a live user, without the hash and deleted_at.
SELECT id, name, email, role, created_at, updated_at
FROM users
WHERE id = @user_id AND deleted_at IS NULL;

-- name: GetUserByEmail :one
-- GetUserByEmail is GetUser by e-mail (users_lower_email_unique).
SELECT id, name, email, role, created_at, updated_at
FROM users
WHERE lower(email) = lower(@email) AND deleted_at IS NULL;

-- name: ListUsers :many
-- ListUsers includes deleted accounts, which the log and invitations refer to.
SELECT sqlc.embed(users)
FROM (
    SELECT id, name, email, '' AS password_hash, role, created_at, updated_at, deleted_at
    FROM users
    WHERE users.id = ANY (@user_ids::bigint[])
) AS users;

-- name: LockUser :exec
-- LockUser is the first lock of whatever makes or ends a user's memberships. Not FOR
-- UPDATE, which would also stop every insert that refers to the user.
SELECT FROM users
WHERE id = @user_id AND deleted_at IS NULL
FOR NO KEY UPDATE;

-- name: UpdateAccount :one
WITH updated AS (
    UPDATE users
    SET name = CASE WHEN @set_name::boolean THEN sqlc.narg(name) ELSE users.name END,
        email = coalesce(sqlc.narg(email), users.email),
        updated_at = timezone('utc', now())
    WHERE users.id = @user_id AND users.deleted_at IS NULL
    RETURNING id, name, email, '' AS password_hash, role, created_at, updated_at, deleted_at
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT home.team_id, updated.id, 'UPDATE_ACCOUNT', updated.updated_at, sqlc.narg(ip_address), jsonb_build_object('fields', @fields::text[])
    FROM updated, LATERAL (
        SELECT team_members.team_id FROM team_members
        WHERE team_members.user_id = updated.id
        ORDER BY team_members.joined_at, team_members.id
        LIMIT 1
    ) AS home
)
SELECT sqlc.embed(users)
FROM updated AS users;

-- name: UpdatePassword :one
-- UpdatePassword compares with the expected hash in the UPDATE itself, so that of two
-- changes from one old password the second finds the first's.
WITH updated AS (
    UPDATE users
    SET password_hash = @password_hash, updated_at = timezone('utc', now())
    WHERE users.id = @user_id AND users.deleted_at IS NULL
        AND (users.password_hash = @expected_hash OR @expected_hash = '')
    RETURNING users.id, users.updated_at
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address)
    SELECT home.team_id, updated.id, 'UPDATE_PASSWORD', updated.updated_at, sqlc.narg(ip_address)
    FROM updated, LATERAL (
        SELECT team_members.team_id FROM team_members
        WHERE team_members.user_id = updated.id
        ORDER BY team_members.joined_at, team_members.id
        LIMIT 1
    ) AS home
)
SELECT
    EXISTS (SELECT FROM users WHERE users.id = @user_id AND users.deleted_at IS NULL) AS found,
    EXISTS (SELECT FROM updated) AS updated;

-- name: DeleteAccount :one
-- DeleteAccount runs after LockUser and LockTeamsOfUser: its snapshot is younger than
-- their locks, so nobody joins, leaves or changes role in those teams meanwhile. It
-- writes nothing when a team would keep live members and no live owner.
WITH account AS (
    SELECT users.id, users.email, '-' || users.id || '-deleted' AS suffix
    FROM users
    WHERE users.id = @user_id AND users.deleted_at IS NULL
),
membership AS (
    SELECT team_members.team_id, team_members.role
    FROM team_members JOIN account ON account.id = team_members.user_id
),
stranded AS (
    SELECT membership.team_id
    FROM membership
    WHERE membership.role = 'owner'
        AND EXISTS (
            SELECT FROM team_members AS other
            WHERE other.team_id = membership.team_id AND other.user_id <> @user_id
                AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = other.user_id)
        )
        AND NOT EXISTS (
            SELECT FROM team_members AS owner
            WHERE owner.team_id = membership.team_id AND owner.user_id <> @user_id AND owner.role = 'owner'
                AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = owner.user_id)
        )
),
deletable AS (
    SELECT * FROM account WHERE NOT EXISTS (SELECT FROM stranded)
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT membership.team_id, deletable.id, 'DELETE_ACCOUNT', timezone('utc', now()), sqlc.narg(ip_address), jsonb_build_object('role', membership.role)
    FROM deletable, membership
    ORDER BY membership.team_id
),
ended AS (
    DELETE FROM team_members
    USING deletable
    WHERE team_members.user_id = deletable.id AND team_members.team_id IN (SELECT membership.team_id FROM membership)
),
sent AS (
    -- In any team: also one that the user has left. Locked in the order of ids, as by
    -- every writer of several.
    SELECT invitations.id, invitations.team_id
    FROM invitations
    WHERE invitations.invited_by = (SELECT deletable.id FROM deletable) AND invitations.status = 'pending'
    ORDER BY invitations.id
    FOR NO KEY UPDATE
),
canceled AS (
    UPDATE invitations
    SET status = 'canceled'
    FROM sent
    WHERE invitations.team_id = sent.team_id AND invitations.id = sent.id
),
deleted AS (
    UPDATE users
    SET email = left(deletable.email, 255 - length(deletable.suffix)) || deletable.suffix,
        deleted_at = timezone('utc', now()),
        updated_at = timezone('utc', now())
    FROM deletable
    WHERE users.id = deletable.id
)
SELECT
    EXISTS (SELECT FROM account) AS found,
    ARRAY(SELECT stranded.team_id::bigint FROM stranded ORDER BY stranded.team_id)::bigint[] AS stranded_team_ids;

-- name: InsertUser :one
INSERT INTO users (id, name, email, password_hash, role, created_at, updated_at, deleted_at)
VALUES (
    coalesce(sqlc.narg(id)::bigint, nextval('users_id_seq')),
    sqlc.narg(name),
    @email,
    @password_hash,
    coalesce(sqlc.narg(role)::text, 'member'),
    coalesce(sqlc.narg(created_at)::timestamp, timezone('utc', now())),
    coalesce(sqlc.narg(updated_at)::timestamp, timezone('utc', now())),
    sqlc.narg(deleted_at)
)
RETURNING id;
