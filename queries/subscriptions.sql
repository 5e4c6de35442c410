-- name: GetTeamByStripeCustomerID :one
SELECT *
FROM teams
WHERE stripe_customer_id = @stripe_customer_id::text AND deleted_at IS NULL;

-- name: UpdateSubscription :one
-- UpdateSubscription locks the row before it compares: what it logs as "from" is what it
-- replaced. It writes nothing when nothing would change.
--
-- The actor's row comes first, and with it the order of all locks: a Stripe id is in a
-- unique constraint, so its UPDATE stops whoever inserts a row that refers to the team.
WITH actor AS (
    SELECT users.id FROM users WHERE users.id = @actor_id FOR KEY SHARE
),
team AS (
    SELECT teams.*
    FROM teams
    WHERE teams.id = @team_id AND teams.deleted_at IS NULL
        AND (@by_system::boolean OR EXISTS (SELECT FROM actor))
    FOR NO KEY UPDATE
),
updated AS (
    UPDATE teams
    SET stripe_subscription_id = sqlc.narg(stripe_subscription_id),
        stripe_product_id = sqlc.narg(stripe_product_id),
        plan_name = sqlc.narg(plan_name),
        subscription_status = sqlc.narg(subscription_status),
        updated_at = timezone('utc', now())
    FROM team
    WHERE teams.id = team.id
        AND (team.stripe_subscription_id, team.stripe_product_id, team.plan_name, team.subscription_status)
            IS DISTINCT FROM (sqlc.narg(stripe_subscription_id), sqlc.narg(stripe_product_id), sqlc.narg(plan_name), sqlc.narg(subscription_status))
    RETURNING teams.*
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT updated.id, (SELECT actor.id FROM actor), 'UPDATE_SUBSCRIPTION', updated.updated_at, sqlc.narg(ip_address),
        jsonb_build_object(
            'from', jsonb_build_object('subscriptionId', team.stripe_subscription_id, 'productId', team.stripe_product_id,
                'planName', team.plan_name, 'status', team.subscription_status),
            'to', jsonb_build_object('subscriptionId', updated.stripe_subscription_id, 'productId', updated.stripe_product_id,
                'planName', updated.plan_name, 'status', updated.subscription_status)
        )
    FROM team, updated
)
SELECT team.id
FROM team;

-- name: LinkStripeCustomer :one
-- LinkStripeCustomer writes nothing when the team has that customer already.
WITH actor AS (
    SELECT users.id FROM users WHERE users.id = @actor_id FOR KEY SHARE
),
team AS (
    SELECT teams.*
    FROM teams
    WHERE teams.id = @team_id AND teams.deleted_at IS NULL
        AND (@by_system::boolean OR EXISTS (SELECT FROM actor))
    FOR NO KEY UPDATE
),
updated AS (
    UPDATE teams
    SET stripe_customer_id = @stripe_customer_id::text, updated_at = timezone('utc', now())
    FROM team
    WHERE teams.id = team.id AND team.stripe_customer_id IS DISTINCT FROM @stripe_customer_id::text
    RETURNING teams.*
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT updated.id, (SELECT actor.id FROM actor), 'LINK_BILLING', updated.updated_at, sqlc.narg(ip_address),
        jsonb_build_object('from', team.stripe_customer_id, 'to', updated.stripe_customer_id)
    FROM team, updated
)
SELECT team.id
FROM team;
