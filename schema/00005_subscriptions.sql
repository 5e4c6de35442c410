-- What Stripe says of each subscription, and which of its events have been applied.
-- The five columns of teams that the TypeScript app reads are a projection of the
-- first table. Both are new, so nothing is rewritten; the foreign key locks teams for
-- a moment.

-- +goose Up
CREATE TABLE IF NOT EXISTS subscriptions (
    id text CONSTRAINT subscriptions_pkey PRIMARY KEY,   -- Stripe's, sub_…
    team_id integer NOT NULL CONSTRAINT subscriptions_team_id_teams_id_fk REFERENCES teams (id),
    stripe_customer_id text NOT NULL,                    -- who pays; the team may have another one by now
    status varchar(20) NOT NULL,
    stripe_product_id text,
    stripe_price_id text,
    plan_name varchar(50),
    quantity integer,
    trial_end timestamp,                                 -- UTC, as all of these
    current_period_end timestamp,
    cancel_at timestamp,
    cancel_at_period_end boolean NOT NULL,
    created_at timestamp NOT NULL,                       -- by Stripe
    event_created_at timestamp NOT NULL,                 -- of the event, or the fetch, that the row is from
    event_id text,                                       -- NULL: from a fetch
    -- Which subscription of a team, and which event of one second, goes before another: the
    -- higher. 0 is the end, which no event leads out of.
    standing smallint NOT NULL GENERATED ALWAYS AS (
        CASE status
            WHEN 'active' THEN 6
            WHEN 'trialing' THEN 5
            WHEN 'past_due' THEN 4
            WHEN 'unpaid' THEN 3
            WHEN 'paused' THEN 2
            WHEN 'incomplete' THEN 1
            ELSE 0
        END
    ) STORED
);

-- A team's subscriptions, as its row is projected from them.
CREATE INDEX IF NOT EXISTS subscriptions_team_id_standing_created_at_id_idx ON subscriptions (team_id, standing, created_at, id);

-- Whose a customer is or was.
CREATE INDEX IF NOT EXISTS subscriptions_stripe_customer_id_idx ON subscriptions (stripe_customer_id);

CREATE TABLE IF NOT EXISTS subscription_events (
    id text CONSTRAINT subscription_events_pkey PRIMARY KEY, -- Stripe's, evt_…
    type text NOT NULL,
    created_at timestamp NOT NULL,                           -- by Stripe
    received_at timestamp NOT NULL
);

-- The oldest, which retention removes.
CREATE INDEX IF NOT EXISTS subscription_events_received_at_id_idx ON subscription_events (received_at, id);

-- +goose Down
DROP TABLE IF EXISTS subscription_events;
DROP TABLE IF EXISTS subscriptions;
