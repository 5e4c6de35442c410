-- Three rules that the TypeScript app only checks in code, before it inserts:
-- one live account per e-mail in any case, one membership per user and team, one
-- pending invitation per team and e-mail. Rows that already break one stop the
-- migration before it changes anything.
--
-- CONCURRENTLY, because the tables may be large and in use; hence no transaction,
-- and each index is dropped first: a build that failed leaves an invalid one.

-- +goose NO TRANSACTION
-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE
    broken text;
BEGIN
    SELECT string_agg(line, '; ') INTO broken FROM (
        (SELECT format('live users %s have one e-mail', string_agg(id::text, ', ' ORDER BY id)) AS line
        FROM users WHERE deleted_at IS NULL
        GROUP BY lower(email) HAVING count(*) > 1 ORDER BY min(id) LIMIT 20)
        UNION ALL
        (SELECT format('team_members %s are one user in team %s', string_agg(id::text, ', ' ORDER BY id), team_id)
        FROM team_members
        GROUP BY team_id, user_id HAVING count(*) > 1 ORDER BY min(id) LIMIT 20)
        UNION ALL
        (SELECT format('pending invitations %s are for one e-mail in team %s', string_agg(id::text, ', ' ORDER BY id), team_id)
        FROM invitations WHERE status = 'pending'
        GROUP BY team_id, lower(email) HAVING count(*) > 1 ORDER BY min(id) LIMIT 20)
    ) AS lines;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'unique_violation',
            MESSAGE = 'rows break a rule that this migration makes unique: ' || broken,
            HINT = 'Keep one row of each group: change the e-mail of the other users or set their deleted_at, delete the other team_members, set the other invitations'' status to canceled. Then run it again.';
    END IF;
END
$$;
-- +goose StatementEnd

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
