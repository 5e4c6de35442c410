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
-- LinkStripeCustomer writes nothing when the team has that customer already, or when
-- another team has subscriptions of it.
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
elsewhere AS (
    SELECT subscriptions.team_id
    FROM subscriptions
    WHERE subscriptions.stripe_customer_id = @stripe_customer_id::text AND subscriptions.team_id <> @team_id
    LIMIT 1
),
updated AS (
    UPDATE teams
    SET stripe_customer_id = @stripe_customer_id::text, updated_at = timezone('utc', now())
    FROM team
    WHERE teams.id = team.id AND team.stripe_customer_id IS DISTINCT FROM @stripe_customer_id::text
        AND NOT EXISTS (SELECT FROM elsewhere)
    RETURNING teams.*
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
    SELECT updated.id, (SELECT actor.id FROM actor), 'LINK_BILLING', updated.updated_at, sqlc.narg(ip_address),
        jsonb_build_object('from', team.stripe_customer_id, 'to', updated.stripe_customer_id)
    FROM team, updated
)
SELECT EXISTS (SELECT FROM elsewhere) AS taken
FROM team;

-- name: LockTeamOfCustomer :exec
-- LockTeamOfCustomer locks the team that a subscription's events are for, and says which
-- to the ApplySubscription of the same transaction: the one that has the subscription
-- already, else the customer's, else the one that the customer had. Deleted ones too,
-- whose subscriptions end at Stripe after them.
WITH team AS (
    SELECT teams.id
    FROM teams
    WHERE teams.id = coalesce(
            (SELECT subscriptions.team_id FROM subscriptions WHERE subscriptions.id = @subscription_id),
            (SELECT linked.id FROM teams AS linked WHERE linked.stripe_customer_id = @stripe_customer_id::text),
            (SELECT subscriptions.team_id FROM subscriptions WHERE subscriptions.stripe_customer_id = @stripe_customer_id::text LIMIT 1)
        )
    FOR NO KEY UPDATE
)
SELECT set_config('rowhouse.locked_team', coalesce((SELECT team.id::text FROM team), ''), true);

-- name: ApplySubscription :one
-- ApplySubscription runs after LockTeamOfCustomer, on the team that it locked. If it
-- looked for itself it could find a team that got the customer in between, unlocked, and
-- project its subscriptions without the one that another event is writing.
--
-- What a subscription's row says is of the greatest event by this order, whatever the
-- order in which they come: the end after all else; then by Stripe's clock, in seconds; in
-- one second by the end of the paid period, by standing, and by id. A fetched snapshot
-- gives way to a later event alone.
-- The team's columns are those of the subscription with the highest standing, of several
-- the newest. The end leaves the status, as in the TypeScript app.
WITH team AS (
    SELECT teams.*
    FROM teams
    WHERE teams.id = nullif(current_setting('rowhouse.locked_team', true), '')::bigint
),
event AS (
    INSERT INTO subscription_events (id, type, created_at, received_at)
    SELECT sqlc.narg(event_id)::text, @event_type::text, @event_created_at::timestamp, timezone('utc', now())
    FROM team
    WHERE NOT @fetched::boolean
    ON CONFLICT (id) DO NOTHING
    RETURNING subscription_events.id
),
written AS (
    INSERT INTO subscriptions (id, team_id, stripe_customer_id, status, stripe_product_id, stripe_price_id, plan_name, quantity,
        trial_end, current_period_end, cancel_at, cancel_at_period_end, created_at, event_created_at, event_id)
    SELECT @subscription_id, team.id, @stripe_customer_id::text, @status, sqlc.narg(stripe_product_id), sqlc.narg(stripe_price_id),
        sqlc.narg(plan_name), sqlc.narg(quantity), sqlc.narg(trial_end), sqlc.narg(current_period_end), sqlc.narg(cancel_at),
        @cancel_at_period_end, @created_at, @event_created_at::timestamp, sqlc.narg(event_id)::text
    FROM team
    WHERE @fetched::boolean OR EXISTS (SELECT FROM event)
    ON CONFLICT (id) DO UPDATE
    SET status = excluded.status, stripe_product_id = excluded.stripe_product_id, stripe_price_id = excluded.stripe_price_id,
        plan_name = excluded.plan_name, quantity = excluded.quantity, trial_end = excluded.trial_end,
        current_period_end = excluded.current_period_end, cancel_at = excluded.cancel_at,
        cancel_at_period_end = excluded.cancel_at_period_end, created_at = excluded.created_at,
        event_created_at = excluded.event_created_at, event_id = excluded.event_id
    WHERE subscriptions.team_id = excluded.team_id AND CASE
        WHEN @fetched::boolean THEN excluded.event_created_at >= subscriptions.event_created_at
        ELSE (excluded.standing = 0, excluded.event_created_at,
                coalesce(excluded.current_period_end, '-infinity'), excluded.standing, coalesce(excluded.event_id, '') COLLATE "C")
            > (subscriptions.standing = 0, subscriptions.event_created_at,
                coalesce(subscriptions.current_period_end, '-infinity'), subscriptions.standing, coalesce(subscriptions.event_id, '') COLLATE "C")
        END
    RETURNING subscriptions.*
),
best AS (
    -- The snapshot of this statement has the row as it was before.
    SELECT one.id, one.stripe_product_id, one.plan_name, one.status, one.standing
    FROM (
        SELECT written.id, written.stripe_product_id, written.plan_name, written.status, written.standing, written.created_at
        FROM written
        UNION ALL
        SELECT other.id, other.stripe_product_id, other.plan_name, other.status, other.standing, other.created_at
        FROM subscriptions AS other JOIN written ON other.team_id = written.team_id AND other.id <> written.id
    ) AS one
    ORDER BY one.standing DESC, one.created_at DESC, one.id DESC
    LIMIT 1
),
projection AS (
    SELECT
        CASE WHEN best.standing > 0 THEN best.id END AS subscription_id,
        CASE WHEN best.standing > 0 THEN best.stripe_product_id END AS product_id,
        CASE WHEN best.standing > 0 THEN best.plan_name END AS plan_name,
        best.status
    FROM best
),
updated AS (
    UPDATE teams
    SET stripe_subscription_id = projection.subscription_id,
        stripe_product_id = projection.product_id,
        plan_name = projection.plan_name,
        subscription_status = projection.status,
        updated_at = timezone('utc', now())
    FROM team, projection
    WHERE teams.id = team.id
        AND (team.stripe_subscription_id, team.stripe_product_id, team.plan_name, team.subscription_status)
            IS DISTINCT FROM (projection.subscription_id, projection.product_id, projection.plan_name, projection.status)
    RETURNING teams.*
),
logged AS (
    INSERT INTO activity_logs (team_id, user_id, action, "timestamp", metadata)
    SELECT updated.id, NULL, 'UPDATE_SUBSCRIPTION', updated.updated_at,
        jsonb_build_object(
            'from', jsonb_build_object('subscriptionId', team.stripe_subscription_id, 'productId', team.stripe_product_id,
                'planName', team.plan_name, 'status', team.subscription_status),
            'to', jsonb_build_object('subscriptionId', updated.stripe_subscription_id, 'productId', updated.stripe_product_id,
                'planName', updated.plan_name, 'status', updated.subscription_status),
            'eventId', sqlc.narg(event_id)::text
        )
    FROM team, updated
),
result AS (
    SELECT updated.* FROM updated
    UNION ALL
    SELECT team.* FROM team WHERE NOT EXISTS (SELECT FROM updated)
)
SELECT sqlc.embed(teams),
    (NOT @fetched::boolean AND NOT EXISTS (SELECT FROM event))::boolean AS duplicate,
    EXISTS (SELECT FROM written) AS applied
FROM result AS teams;

-- name: ListSubscriptions :many
-- ListSubscriptions reads a team's subscriptions, the one that its row shows first
-- (subscriptions_team_id_standing_created_at_id_idx).
SELECT *
FROM subscriptions
WHERE subscriptions.team_id = @team_id
ORDER BY subscriptions.standing DESC, subscriptions.created_at DESC, subscriptions.id DESC
LIMIT (SELECT @page_limit::integer);

-- name: HadTrial :one
SELECT EXISTS (
    SELECT FROM subscriptions
    WHERE subscriptions.team_id = @team_id AND (subscriptions.trial_end IS NOT NULL OR subscriptions.status = 'trialing')
) AS had_trial;

-- name: PurgeSubscriptionEvents :one
-- PurgeSubscriptionEvents is PurgeActivity for the ids of events
-- (subscription_events_received_at_id_idx).
WITH removed AS (
    DELETE FROM subscription_events
    WHERE subscription_events.id = ANY (ARRAY(
        SELECT oldest.id
        FROM subscription_events AS oldest
        WHERE oldest.received_at >= @since::timestamp AND oldest.received_at < @before::timestamp
        ORDER BY oldest.received_at, oldest.id
        LIMIT (SELECT @batch_size::integer)
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING subscription_events.received_at
)
SELECT count(*) AS removed, coalesce(max(removed.received_at), @since::timestamp)::timestamp AS until
FROM removed;
