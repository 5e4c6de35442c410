-- name: ListViolations :many
-- ListViolations reads every row that breaks a rule of the house. It reads whole tables.
WITH live_member AS (
    SELECT team_members.*
    FROM team_members JOIN users ON users.id = team_members.user_id AND users.deleted_at IS NULL
),
accepted AS (
    -- Who accepted: whoever the log says or, for the TypeScript app, whoever has the e-mail.
    SELECT invitations.id, invitations.team_id, invitations.invited_at, acceptance.id AS acceptance_id, coalesce(
        acceptance.user_id,
        (SELECT users.id FROM users WHERE lower(users.email) = lower(invitations.email) AND users.deleted_at IS NULL)
    ) AS user_id
    FROM invitations
    LEFT JOIN LATERAL (
        SELECT entry.id, entry.user_id
        FROM activity_logs AS entry
        WHERE entry.team_id = invitations.team_id AND entry.action = 'ACCEPT_INVITATION'
            AND entry.metadata ->> 'invitationId' = invitations.id::text
        ORDER BY entry.id
        LIMIT 1
    ) AS acceptance ON true
    WHERE invitations.status = 'accepted'
)
SELECT 'team without an owner'::text AS rule, 'teams'::text AS table_name, live_member.team_id::bigint AS id, live_member.team_id::bigint AS team_id
FROM live_member
GROUP BY live_member.team_id
HAVING count(*) FILTER (WHERE live_member.role = 'owner') = 0
UNION ALL
SELECT 'duplicate membership', 'team_members', team_members.id, team_members.team_id
FROM team_members
WHERE (team_members.team_id, team_members.user_id) IN (
    SELECT twin.team_id, twin.user_id FROM team_members AS twin GROUP BY twin.team_id, twin.user_id HAVING count(*) > 1
)
UNION ALL
SELECT 'membership of a deleted user', 'team_members', team_members.id, team_members.team_id
FROM team_members JOIN users ON users.id = team_members.user_id
WHERE users.deleted_at IS NOT NULL
UNION ALL
SELECT 'membership in a deleted team', 'team_members', team_members.id, team_members.team_id
FROM team_members JOIN teams ON teams.id = team_members.team_id
WHERE teams.deleted_at IS NOT NULL
UNION ALL
SELECT 'duplicate e-mail', 'users', users.id, 0
FROM users
WHERE users.deleted_at IS NULL AND lower(users.email) IN (
    SELECT lower(twin.email) FROM users AS twin WHERE twin.deleted_at IS NULL GROUP BY lower(twin.email) HAVING count(*) > 1
)
UNION ALL
SELECT 'several pending invitations', 'invitations', invitations.id, invitations.team_id
FROM invitations
WHERE invitations.status = 'pending' AND (invitations.team_id, lower(invitations.email)) IN (
    SELECT twin.team_id, lower(twin.email) FROM invitations AS twin
    WHERE twin.status = 'pending'
    GROUP BY twin.team_id, lower(twin.email) HAVING count(*) > 1
)
UNION ALL
SELECT 'pending invitation to a deleted team', 'invitations', invitations.id, invitations.team_id
FROM invitations JOIN teams ON teams.id = invitations.team_id
WHERE invitations.status = 'pending' AND teams.deleted_at IS NOT NULL
UNION ALL
SELECT 'pending invitation by a deleted user', 'invitations', invitations.id, invitations.team_id
FROM invitations JOIN users ON users.id = invitations.invited_by
WHERE invitations.status = 'pending' AND users.deleted_at IS NOT NULL
UNION ALL
SELECT 'accepted invitation without a membership', 'invitations', accepted.id, accepted.team_id
FROM accepted
WHERE accepted.user_id IS NOT NULL -- else nobody can tell any more who it was
    AND NOT EXISTS (SELECT FROM team_members AS seat WHERE seat.team_id = accepted.team_id AND seat.user_id = accepted.user_id)
    AND NOT EXISTS (
        SELECT FROM activity_logs AS ending
        WHERE ending.team_id = accepted.team_id AND CASE
                -- Ids are in the order of the team's lock. Times are not: they are those of
                -- beginnings, and who began first may have waited.
                WHEN accepted.acceptance_id IS NOT NULL THEN ending.id > accepted.acceptance_id
                ELSE ending."timestamp" >= accepted.invited_at
            END AND (
            ending.action IN ('LEAVE_TEAM', 'DELETE_ACCOUNT') AND ending.user_id = accepted.user_id
            OR ending.action = 'DELETE_TEAM'
            -- The TypeScript app does not say whom it removed.
            OR ending.action = 'REMOVE_TEAM_MEMBER' AND (ending.metadata IS NULL OR ending.metadata ->> 'userId' = accepted.user_id::text)
        )
    )
ORDER BY 1, 3;
