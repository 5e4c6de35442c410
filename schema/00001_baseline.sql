-- The five tables of the TypeScript starter, as Drizzle creates them: same
-- columns, types, defaults and constraint names. A database that the TypeScript
-- app made is adopted as it stands; only a constraint that it lacks is added.

-- +goose Up
CREATE TABLE IF NOT EXISTS users (
    id serial NOT NULL,
    name varchar(100),
    email varchar(255) NOT NULL,
    password_hash text NOT NULL,
    role varchar(20) DEFAULT 'member' NOT NULL,
    created_at timestamp DEFAULT now() NOT NULL,
    updated_at timestamp DEFAULT now() NOT NULL,
    deleted_at timestamp,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);

CREATE TABLE IF NOT EXISTS teams (
    id serial NOT NULL,
    name varchar(100) NOT NULL,
    created_at timestamp DEFAULT now() NOT NULL,
    updated_at timestamp DEFAULT now() NOT NULL,
    stripe_customer_id text,
    stripe_subscription_id text,
    stripe_product_id text,
    plan_name varchar(50),
    subscription_status varchar(20),
    CONSTRAINT teams_pkey PRIMARY KEY (id)
);

CREATE TABLE IF NOT EXISTS team_members (
    id serial NOT NULL,
    user_id integer NOT NULL,
    team_id integer NOT NULL,
    role varchar(50) NOT NULL,
    joined_at timestamp DEFAULT now() NOT NULL,
    CONSTRAINT team_members_pkey PRIMARY KEY (id)
);

CREATE TABLE IF NOT EXISTS activity_logs (
    id serial NOT NULL,
    team_id integer NOT NULL,
    user_id integer,
    action text NOT NULL,
    "timestamp" timestamp DEFAULT now() NOT NULL,
    ip_address varchar(45),
    CONSTRAINT activity_logs_pkey PRIMARY KEY (id)
);

CREATE TABLE IF NOT EXISTS invitations (
    id serial NOT NULL,
    team_id integer NOT NULL,
    email varchar(255) NOT NULL,
    role varchar(50) NOT NULL,
    invited_by integer NOT NULL,
    invited_at timestamp DEFAULT now() NOT NULL,
    status varchar(20) DEFAULT 'pending' NOT NULL,
    CONSTRAINT invitations_pkey PRIMARY KEY (id)
);

-- +goose StatementBegin
DO $$
DECLARE
    rule record;
BEGIN
    FOR rule IN
        SELECT * FROM (VALUES
            ('users', 'users_email_unique', 'UNIQUE (email)'),
            ('teams', 'teams_stripe_customer_id_unique', 'UNIQUE (stripe_customer_id)'),
            ('teams', 'teams_stripe_subscription_id_unique', 'UNIQUE (stripe_subscription_id)'),
            ('team_members', 'team_members_user_id_users_id_fk', 'FOREIGN KEY (user_id) REFERENCES users (id)'),
            ('team_members', 'team_members_team_id_teams_id_fk', 'FOREIGN KEY (team_id) REFERENCES teams (id)'),
            ('activity_logs', 'activity_logs_team_id_teams_id_fk', 'FOREIGN KEY (team_id) REFERENCES teams (id)'),
            ('activity_logs', 'activity_logs_user_id_users_id_fk', 'FOREIGN KEY (user_id) REFERENCES users (id)'),
            ('invitations', 'invitations_team_id_teams_id_fk', 'FOREIGN KEY (team_id) REFERENCES teams (id)'),
            ('invitations', 'invitations_invited_by_users_id_fk', 'FOREIGN KEY (invited_by) REFERENCES users (id)')
        ) AS rules (on_table, name, definition)
    LOOP
        -- Asked first: ADD CONSTRAINT would lock an adopted table before it found the name taken.
        IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = rule.on_table::regclass AND conname = rule.name) THEN
            EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I %s', rule.on_table, rule.name, rule.definition);
        END IF;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- First of all, or a row that commits after the look below would go with its table.
LOCK TABLE teams, invitations, users, team_members, activity_logs IN ACCESS EXCLUSIVE MODE;

-- +goose StatementBegin
DO $$
BEGIN
    -- Rolling back the baseline drops the tables. It never does so with data in them.
    IF EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM teams) OR EXISTS (SELECT FROM activity_logs)
        OR EXISTS (SELECT FROM team_members) OR EXISTS (SELECT FROM invitations) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'rolling back the baseline would drop tables that hold rows',
            HINT = 'Save what you need, empty users, teams, team_members, activity_logs and invitations, and run it again.';
    END IF;
END
$$;
-- +goose StatementEnd
DROP TABLE invitations;
DROP TABLE activity_logs;
DROP TABLE team_members;
DROP TABLE teams;
DROP TABLE users;
