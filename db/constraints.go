package db

// Constraint is the name of a constraint or unique index: what a [pgconn.PgError]
// carries in ConstraintName.
//
// [pgconn.PgError]: https://pkg.go.dev/github.com/jackc/pgx/v5/pgconn#PgError
type Constraint string

const (
	UsersPkey                       Constraint = "users_pkey"
	UsersEmailUnique                Constraint = "users_email_unique"
	UsersLowerEmailUnique           Constraint = "users_lower_email_unique"
	TeamsPkey                       Constraint = "teams_pkey"
	TeamsStripeCustomerIDUnique     Constraint = "teams_stripe_customer_id_unique"
	TeamsStripeSubscriptionIDUnique Constraint = "teams_stripe_subscription_id_unique"

	TeamMembersPkey               Constraint = "team_members_pkey"
	TeamMembersUserIDFk           Constraint = "team_members_user_id_users_id_fk"
	TeamMembersTeamIDFk           Constraint = "team_members_team_id_teams_id_fk"
	TeamMembersTeamIDUserIDUnique Constraint = "team_members_team_id_user_id_unique"

	ActivityLogsPkey     Constraint = "activity_logs_pkey"
	ActivityLogsTeamIDFk Constraint = "activity_logs_team_id_teams_id_fk"
	ActivityLogsUserIDFk Constraint = "activity_logs_user_id_users_id_fk"

	InvitationsPkey            Constraint = "invitations_pkey"
	InvitationsTeamIDFk        Constraint = "invitations_team_id_teams_id_fk"
	InvitationsInvitedByFk     Constraint = "invitations_invited_by_users_id_fk"
	InvitationsPendingUnique   Constraint = "invitations_team_id_lower_email_pending_unique"
	InvitationsTokenHashUnique Constraint = "invitations_token_hash_unique"

	SubscriptionsPkey      Constraint = "subscriptions_pkey"
	SubscriptionsTeamIDFk  Constraint = "subscriptions_team_id_teams_id_fk"
	SubscriptionEventsPkey Constraint = "subscription_events_pkey"
)

// Constraints lists all of the above.
var Constraints = []Constraint{
	UsersPkey, UsersEmailUnique, UsersLowerEmailUnique,
	TeamsPkey, TeamsStripeCustomerIDUnique, TeamsStripeSubscriptionIDUnique,
	TeamMembersPkey, TeamMembersUserIDFk, TeamMembersTeamIDFk, TeamMembersTeamIDUserIDUnique,
	ActivityLogsPkey, ActivityLogsTeamIDFk, ActivityLogsUserIDFk,
	InvitationsPkey, InvitationsTeamIDFk, InvitationsInvitedByFk, InvitationsPendingUnique, InvitationsTokenHashUnique,
	SubscriptionsPkey, SubscriptionsTeamIDFk, SubscriptionEventsPkey,
}
