-- name: LockInvitation :exec
-- LockInvitation is LockUser and then LockTeam in one statement, for who knows a token. At
-- a sign-up, whose user is not there yet (actor_id is 0), it locks who invited.
--
-- It says which invitation that was to the statement that follows, which looks at no
-- other: one that it found for itself could have come meanwhile, into a team that is not
-- locked.
SELECT set_config('rowhouse.locked_invitation', coalesce((
    SELECT invitations.id::text
    FROM users, invitations JOIN teams ON teams.id = invitations.team_id
    WHERE invitations.token_hash = @token_hash::bytea
        AND users.id = coalesce(nullif(@actor_id::bigint, 0), invitations.invited_by) AND users.deleted_at IS NULL
    FOR NO KEY UPDATE OF users, teams -- in this order
), ''), true);

-- name: LockInvitationByID :exec
-- LockInvitationByID is LockInvitation for an invitation without a token. One that has a
-- token is not found by its id, which can be guessed.
SELECT set_config('rowhouse.locked_invitation', coalesce((
    SELECT invitations.id::text
    FROM users, invitations JOIN teams ON teams.id = invitations.team_id
    WHERE invitations.id = @invitation_id AND invitations.token_hash IS NULL
        AND users.id = coalesce(nullif(@actor_id::bigint, 0), invitations.invited_by) AND users.deleted_at IS NULL
    FOR NO KEY UPDATE OF users, teams
), ''), true);

-- name: InviteMember :one
-- InviteMember runs after LockTeam. No row comes back, and nothing is written, when the
-- actor is no owner, or the address is a member's or has an invitation that can be
-- used: ExplainInvite tells. The rest of the row is what the caller gave.
WITH allowed AS (
    SELECT FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
        AND NOT EXISTS (
            SELECT FROM users AS invitee JOIN team_members AS standing ON standing.user_id = invitee.id
            WHERE lower(invitee.email) = lower(@email::text) AND invitee.deleted_at IS NULL AND standing.team_id = @team_id
        )
),
retired AS (
    -- A pending row that nobody can use makes room: it is expired, or its inviter is no owner any more.
    UPDATE invitations
    SET status = CASE WHEN invitations.expires_at <= timezone('utc', now()) THEN 'expired' ELSE 'canceled' END
    WHERE invitations.team_id = @team_id AND lower(invitations.email) = lower(@email::text) AND invitations.status = 'pending'
        AND EXISTS (SELECT FROM allowed)
        AND (
            invitations.expires_at <= timezone('utc', now())
            OR NOT EXISTS (
                SELECT FROM team_members AS inviter
                WHERE inviter.team_id = invitations.team_id AND inviter.user_id = invitations.invited_by AND inviter.role = 'owner'
                    AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = inviter.user_id)
            )
        )
    RETURNING invitations.id
),
invited AS (
    INSERT INTO invitations (team_id, email, role, invited_by, invited_at, status, token_hash, expires_at)
    SELECT @team_id, @email::text, @role::text, @actor_id, timezone('utc', now()), 'pending', @token_hash,
        timezone('utc', now()) + make_interval(secs => @ttl_seconds::double precision)
    FROM allowed
    WHERE (SELECT count(*) FROM retired) >= 0 -- always true: counting makes retired run before the insert
    ON CONFLICT (team_id, lower(email)) WHERE status = 'pending' DO NOTHING
    RETURNING invitations.id, invitations.invited_at, invitations.expires_at
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT @team_id, @actor_id, 'INVITE_TEAM_MEMBER', invited.invited_at, sqlc.narg(ip_address),
        jsonb_build_object('invitationId', invited.id, 'email', @email::text, 'role', @role::text)
    FROM invited
)
SELECT invited.id, invited.invited_at, invited.expires_at
FROM invited;

-- name: ExplainInvite :one
-- ExplainInvite tells why InviteMember did nothing.
SELECT
    EXISTS (
        SELECT FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
        WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
    ) AS allowed,
    EXISTS (
        SELECT FROM users JOIN team_members ON team_members.user_id = users.id
        WHERE lower(users.email) = lower(@email) AND users.deleted_at IS NULL AND team_members.team_id = @team_id
    ) AS already_member,
    EXISTS (
        SELECT FROM invitations
        WHERE invitations.team_id = @team_id AND lower(invitations.email) = lower(@email) AND invitations.status = 'pending'
    ) AS already_invited;

-- name: AcceptInvitation :one
-- AcceptInvitation runs after LockInvitation, on what that locked. No row comes back, and
-- nothing is written, when the invitation can't be used: ExplainInvitation tells. The
-- user of the membership is the actor.
WITH actor AS (
    SELECT users.id, users.email
    FROM users
    WHERE users.id = @actor_id AND users.deleted_at IS NULL
),
invitation AS (
    SELECT invitations.id, invitations.team_id, invitations.role, actor.id AS user_id
    FROM invitations JOIN actor ON lower(actor.email) = lower(invitations.email)
    WHERE invitations.id = nullif(current_setting('rowhouse.locked_invitation', true), '')::bigint
        AND invitations.token_hash IS NOT DISTINCT FROM sqlc.narg(token_hash) -- which ResendInvitation may have replaced
        AND invitations.status = 'pending'
        AND (invitations.expires_at IS NULL OR invitations.expires_at > timezone('utc', now()))
        AND EXISTS (
            SELECT FROM team_members AS inviter
            WHERE inviter.team_id = invitations.team_id AND inviter.user_id = invitations.invited_by AND inviter.role = 'owner'
                AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = inviter.user_id)
        )
    FOR NO KEY UPDATE OF invitations
),
standing AS (
    SELECT team_members.*
    FROM team_members JOIN invitation ON team_members.team_id = invitation.team_id AND team_members.user_id = invitation.user_id
),
new_membership AS (
    INSERT INTO team_members (user_id, team_id, role, joined_at)
    SELECT invitation.user_id, invitation.team_id, invitation.role, timezone('utc', now())
    FROM invitation JOIN teams ON teams.id = invitation.team_id
    WHERE teams.deleted_at IS NULL
        AND NOT EXISTS (SELECT FROM standing)
        -- A seat is free when nobody has the last one. All memberships first, which the index
        -- alone has: only when those fill the team is each member's account looked up, for a
        -- deleted one takes no seat.
        AND (teams.seat_limit IS NULL OR teams.seat_limit > 0 AND (
            NOT EXISTS (SELECT FROM team_members AS member WHERE member.team_id = teams.id OFFSET teams.seat_limit - 1)
            OR NOT EXISTS (
                SELECT FROM team_members AS member
                WHERE member.team_id = teams.id
                    AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = member.user_id)
                OFFSET teams.seat_limit - 1
            )))
    RETURNING *
),
membership AS (
    SELECT *, true AS joined FROM new_membership
    UNION ALL
    SELECT *, false FROM standing
),
accepted AS (
    UPDATE invitations
    SET status = 'accepted'
    FROM invitation, membership
    WHERE invitations.team_id = invitation.team_id AND invitations.id = invitation.id
    RETURNING invitations.id
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT membership.team_id, membership.user_id, 'ACCEPT_INVITATION', timezone('utc', now()), sqlc.narg(ip_address),
        jsonb_build_object('invitationId', accepted.id, 'role', membership.role, 'joined', membership.joined)
    FROM membership, accepted
)
SELECT membership.id, membership.team_id, membership.role, membership.joined_at, membership.joined
FROM membership;

-- name: ExplainInvitation :one
-- ExplainInvitation tells why an invitation could not be used: by an actor or, where
-- email is given, by who signs up with it. No row: there is no such invitation.
SELECT
    invitations.status,
    (invitee.email IS NOT NULL)::boolean AS for_somebody,
    coalesce(invitations.expires_at <= timezone('utc', now()), false)::boolean AS expired,
    coalesce(lower(invitations.email) = lower(invitee.email), false)::boolean AS email_matches,
    EXISTS (
        SELECT FROM team_members AS inviter
        WHERE inviter.team_id = invitations.team_id AND inviter.user_id = invitations.invited_by AND inviter.role = 'owner'
            AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = inviter.user_id)
    ) AS inviter_may,
    (teams.seat_limit IS NULL OR teams.seat_limit > 0 AND (
        NOT EXISTS (SELECT FROM team_members AS member WHERE member.team_id = teams.id OFFSET teams.seat_limit - 1)
        OR NOT EXISTS (
            SELECT FROM team_members AS member
            WHERE member.team_id = teams.id
                AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = member.user_id)
            OFFSET teams.seat_limit - 1
        )))::boolean AS seat_free, -- as AcceptInvitation has it
    (
        EXISTS (SELECT FROM users WHERE lower(users.email) = lower(sqlc.narg(email)::text) AND users.deleted_at IS NULL)
        OR EXISTS (SELECT FROM users WHERE users.email = sqlc.narg(email)::text)
    )::boolean AS email_taken
FROM invitations
JOIN teams ON teams.id = invitations.team_id
CROSS JOIN (
    SELECT coalesce(sqlc.narg(email)::text, (
        SELECT actor.email FROM users AS actor WHERE actor.id = @actor_id AND actor.deleted_at IS NULL
    )) AS email
) AS invitee
WHERE invitations.id = (
    SELECT by_token.id FROM invitations AS by_token WHERE by_token.token_hash = sqlc.narg(token_hash)
    UNION ALL
    SELECT by_id.id FROM invitations AS by_id WHERE by_id.id = sqlc.narg(invitation_id) AND by_id.token_hash IS NULL
);

-- name: DeclineInvitation :one
-- DeclineInvitation runs after LockInvitation, as AcceptInvitation does. An expired
-- invitation can be declined.
WITH actor AS (
    SELECT users.id, users.email
    FROM users
    WHERE users.id = @actor_id AND users.deleted_at IS NULL
),
invitation AS (
    SELECT invitations.id, invitations.team_id, invitations.email, invitations.role
    FROM invitations
    WHERE invitations.id = nullif(current_setting('rowhouse.locked_invitation', true), '')::bigint
        AND invitations.token_hash IS NOT DISTINCT FROM sqlc.narg(token_hash)
),
declined AS (
    UPDATE invitations
    SET status = 'declined'
    FROM invitation JOIN actor ON lower(actor.email) = lower(invitation.email)
    WHERE invitations.team_id = invitation.team_id AND invitations.id = invitation.id AND invitations.status = 'pending'
    RETURNING invitations.id, invitations.team_id, invitations.role, actor.id AS actor_id
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT declined.team_id, declined.actor_id, 'DECLINE_INVITATION', timezone('utc', now()), sqlc.narg(ip_address),
        jsonb_build_object('invitationId', declined.id, 'role', declined.role)
    FROM declined
)
SELECT
    EXISTS (SELECT FROM actor) AS actor_found,
    EXISTS (SELECT FROM invitation) AS found,
    EXISTS (SELECT FROM invitation JOIN actor ON lower(actor.email) = lower(invitation.email)) AS email_matches,
    EXISTS (SELECT FROM declined) AS declined;

-- name: CancelInvitation :one
-- CancelInvitation runs after LockTeam.
WITH actor AS (
    SELECT team_members.user_id
    FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
),
canceled AS (
    UPDATE invitations
    SET status = 'canceled'
    FROM actor
    WHERE invitations.team_id = @team_id AND invitations.id = @invitation_id AND invitations.status = 'pending'
    RETURNING invitations.id, invitations.email, invitations.role, actor.user_id AS actor_id
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT @team_id, canceled.actor_id, 'CANCEL_INVITATION', timezone('utc', now()), sqlc.narg(ip_address),
        jsonb_build_object('invitationId', canceled.id, 'email', canceled.email, 'role', canceled.role)
    FROM canceled
)
SELECT
    EXISTS (SELECT FROM actor) AS allowed,
    EXISTS (SELECT FROM invitations WHERE invitations.team_id = @team_id AND invitations.id = @invitation_id) AS found,
    EXISTS (SELECT FROM canceled) AS canceled;

-- name: ListInvitationsPage :many
-- ListInvitationsPage reads a team's invitations before a position, newest first
-- (invitations_team_id_invited_at_id_idx). One whose time is over reads as expired.
SELECT sqlc.embed(invitations)
FROM (
    SELECT id, team_id, email, role, invited_by, invited_at,
        CASE WHEN status = 'pending' AND expires_at <= timezone('utc', now()) THEN 'expired' ELSE status END AS status,
        NULL::bytea AS token_hash, expires_at
    FROM invitations
) AS invitations
WHERE invitations.team_id = @team_id
    AND (invitations.invited_at, invitations.id) < (@before_invited_at::timestamp, @before_id::bigint)
ORDER BY invitations.invited_at DESC, invitations.id DESC
LIMIT (SELECT @page_limit::integer);

-- name: ListInvitationsSentPage :many
-- ListInvitationsSentPage is ListInvitationsPage for who sent them, over all teams
-- (invitations_invited_by_invited_at_id_idx).
SELECT sqlc.embed(invitations)
FROM (
    SELECT id, team_id, email, role, invited_by, invited_at,
        CASE WHEN status = 'pending' AND expires_at <= timezone('utc', now()) THEN 'expired' ELSE status END AS status,
        NULL::bytea AS token_hash, expires_at
    FROM invitations
) AS invitations
WHERE invitations.invited_by = @user_id
    AND (invitations.invited_at, invitations.id) < (@before_invited_at::timestamp, @before_id::bigint)
ORDER BY invitations.invited_at DESC, invitations.id DESC
LIMIT (SELECT @page_limit::integer);

-- name: ListInvitationsOfTeams :many
-- ListInvitationsOfTeams reads the newest invitations of each team, limit_each at most.
SELECT sqlc.embed(invitations)
FROM teams
CROSS JOIN LATERAL (
    SELECT id, sent.team_id, email, role, invited_by, invited_at,
        CASE WHEN status = 'pending' AND expires_at <= timezone('utc', now()) THEN 'expired' ELSE status END AS status,
        NULL::bytea AS token_hash, expires_at
    FROM invitations AS sent
    WHERE sent.team_id = teams.id
    ORDER BY sent.invited_at DESC, sent.id DESC
    LIMIT (SELECT @limit_each::integer)
) AS invitations
WHERE teams.id = ANY (@team_ids::bigint[])
ORDER BY invitations.team_id, invitations.invited_at DESC, invitations.id DESC;

-- name: ListInvitationsSentByUsers :many
-- ListInvitationsSentByUsers reads the newest invitations that each user sent, limit_each at most.
SELECT sqlc.embed(invitations)
FROM users
CROSS JOIN LATERAL (
    SELECT id, team_id, email, role, invited_by, invited_at,
        CASE WHEN status = 'pending' AND expires_at <= timezone('utc', now()) THEN 'expired' ELSE status END AS status,
        NULL::bytea AS token_hash, expires_at
    FROM invitations AS sent
    WHERE sent.invited_by = users.id
    ORDER BY sent.invited_at DESC, sent.id DESC
    LIMIT (SELECT @limit_each::integer)
) AS invitations
WHERE users.id = ANY (@user_ids::bigint[])
ORDER BY invitations.invited_by, invitations.invited_at DESC, invitations.id DESC;

-- name: InsertInvitation :one
INSERT INTO invitations (id, team_id, email, role, invited_by, invited_at, status)
VALUES (
    coalesce(sqlc.narg(id)::bigint, nextval('invitations_id_seq')),
    @team_id,
    @email,
    @role,
    @invited_by,
    coalesce(sqlc.narg(invited_at)::timestamp, timezone('utc', now())),
    coalesce(sqlc.narg(status)::text, 'pending')
)
RETURNING id;

-- name: InviteMembers :many
-- InviteMembers is InviteMember for a list of distinct addresses. What comes back are
-- the invitations that were made; ExplainInvites tells of the others.
WITH actor AS (
    SELECT team_members.user_id
    FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
),
asked AS (
    SELECT unnest(@emails::text[]) AS email, unnest(@roles::text[]) AS role, unnest(@token_hashes::bytea[]) AS token_hash
),
wanted AS (
    SELECT actor.user_id, asked.email, asked.role, asked.token_hash
    FROM actor, asked
    WHERE NOT EXISTS (
        SELECT FROM users JOIN team_members ON team_members.user_id = users.id
        WHERE lower(users.email) = lower(asked.email) AND users.deleted_at IS NULL AND team_members.team_id = @team_id
        OFFSET 0 -- looked up for each address, never hashed for the whole team
    )
),
retired AS (
    UPDATE invitations
    SET status = CASE WHEN invitations.expires_at <= timezone('utc', now()) THEN 'expired' ELSE 'canceled' END
    WHERE invitations.team_id = @team_id AND invitations.status = 'pending'
        AND invitations.id = ANY (ARRAY(
            SELECT (
                SELECT standing.id
                FROM invitations AS standing
                WHERE standing.team_id = @team_id AND standing.status = 'pending' AND lower(standing.email) = lower(wanted.email)
            )
            FROM wanted
        ))
        AND (
            invitations.expires_at <= timezone('utc', now())
            OR NOT EXISTS (
                SELECT FROM team_members AS inviter
                WHERE inviter.team_id = invitations.team_id AND inviter.user_id = invitations.invited_by AND inviter.role = 'owner'
                    AND (SELECT users.deleted_at IS NULL FROM users WHERE users.id = inviter.user_id)
            )
        )
    RETURNING invitations.id
),
invited AS (
    INSERT INTO invitations (team_id, email, role, invited_by, invited_at, status, token_hash, expires_at)
    SELECT @team_id, wanted.email, wanted.role, wanted.user_id, timezone('utc', now()), 'pending', wanted.token_hash,
        timezone('utc', now()) + make_interval(secs => @ttl_seconds::double precision)
    FROM wanted
    WHERE (SELECT count(*) FROM retired) >= 0 -- always true: counting makes retired run before the insert
    ON CONFLICT (team_id, lower(email)) WHERE status = 'pending' DO NOTHING
    RETURNING id, team_id, email, role, invited_by, invited_at, status, NULL::bytea AS token_hash, expires_at
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT invited.team_id, invited.invited_by, 'INVITE_TEAM_MEMBER', invited.invited_at, sqlc.narg(ip_address),
        jsonb_build_object('invitationId', invited.id, 'email', invited.email, 'role', invited.role)
    FROM invited
    ORDER BY invited.id
)
SELECT sqlc.embed(invitations)
FROM invited AS invitations;

-- name: ExplainInvites :many
-- ExplainInvites tells, for each address that InviteMembers did nothing for, why.
SELECT
    wanted.email::text AS email,
    EXISTS (
        SELECT FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
        WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
    ) AS allowed,
    EXISTS (
        SELECT FROM users JOIN team_members ON team_members.user_id = users.id
        WHERE lower(users.email) = lower(wanted.email) AND users.deleted_at IS NULL AND team_members.team_id = @team_id
        OFFSET 0
    ) AS already_member,
    EXISTS (
        SELECT FROM invitations
        WHERE invitations.team_id = @team_id AND lower(invitations.email) = lower(wanted.email) AND invitations.status = 'pending'
        OFFSET 0
    ) AS already_invited
FROM (SELECT unnest(@emails::text[]) AS email) AS wanted;

-- name: ResendInvitation :one
-- ResendInvitation runs after LockTeam. The row gets a new token, a new end, and the
-- actor as who vouches for it.
WITH actor AS (
    SELECT team_members.user_id
    FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
    WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
),
resent AS (
    UPDATE invitations
    SET token_hash = @token_hash,
        expires_at = timezone('utc', now()) + make_interval(secs => @ttl_seconds::double precision),
        invited_by = actor.user_id
    FROM actor
    WHERE invitations.team_id = @team_id AND invitations.id = @invitation_id AND invitations.status = 'pending'
    RETURNING invitations.id, invitations.team_id, invitations.email, invitations.role, invitations.invited_by,
        invitations.invited_at, invitations.status, NULL::bytea AS token_hash, invitations.expires_at
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT resent.team_id, resent.invited_by, 'RESEND_INVITATION', timezone('utc', now()), sqlc.narg(ip_address),
        jsonb_build_object('invitationId', resent.id, 'email', resent.email, 'role', resent.role)
    FROM resent
)
SELECT sqlc.embed(invitations)
FROM resent AS invitations;

-- name: ExplainInvitationOfTeam :one
-- ExplainInvitationOfTeam tells why an owner's operation on an invitation did nothing.
SELECT
    EXISTS (
        SELECT FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
        WHERE team_members.team_id = @team_id AND team_members.user_id = @actor_id AND team_members.role = 'owner'
    ) AS allowed,
    EXISTS (SELECT FROM invitations WHERE invitations.team_id = @team_id AND invitations.id = @invitation_id) AS found;

-- name: GetInvitationByToken :one
-- GetInvitationByToken reads an invitation in any state, with its team and who sent it.
SELECT sqlc.embed(invitations), teams.name AS team_name, inviter.name AS inviter_name, inviter.email AS inviter_email
FROM (
    SELECT id, team_id, email, role, invited_by, invited_at,
        CASE WHEN status = 'pending' AND expires_at <= timezone('utc', now()) THEN 'expired' ELSE status END AS status,
        NULL::bytea AS token_hash, expires_at
    FROM invitations AS by_token
    WHERE by_token.token_hash = @token_hash
) AS invitations
JOIN teams ON teams.id = invitations.team_id
LEFT JOIN users AS inviter ON inviter.id = invitations.invited_by AND inviter.deleted_at IS NULL;

-- name: ListInvitationsForEmailPage :many
-- ListInvitationsForEmailPage reads an e-mail's pending invitations, in any team, newest first
-- (invitations_lower_email_pending_idx).
SELECT sqlc.embed(invitations), teams.name AS team_name, inviter.name AS inviter_name, inviter.email AS inviter_email
FROM (
    SELECT id, team_id, email, role, invited_by, invited_at,
        CASE WHEN expires_at <= timezone('utc', now()) THEN 'expired' ELSE status END AS status,
        NULL::bytea AS token_hash, expires_at
    FROM invitations AS pending
    WHERE lower(pending.email) = lower(@email) AND pending.status = 'pending'
        AND (pending.invited_at, pending.id) < (@before_invited_at::timestamp, @before_id::bigint)
    ORDER BY pending.invited_at DESC, pending.id DESC
    LIMIT (SELECT @page_limit::integer)
) AS invitations
JOIN teams ON teams.id = invitations.team_id
LEFT JOIN users AS inviter ON inviter.id = invitations.invited_by AND inviter.deleted_at IS NULL
ORDER BY invitations.invited_at DESC, invitations.id DESC;
