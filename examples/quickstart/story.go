package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// passwordHash stands for what a service makes with argon2id or bcrypt. The Store keeps
// the text as it is; this one is the hash of no password, so nobody can sign in with it.
const passwordHash db.PasswordHash = "!"

// tell is the life of a team. Each step is one operation of the Store: one transaction
// that keeps the rules, and writes the row of the feed itself.
func tell(ctx context.Context, st *store.Store, log *stepLog) error {
	run := strings.ToLower(rand.Text()[:8]) // so that each run has e-mails and Stripe ids of its own
	email := func(name string) string { return name + "." + run + "@example.com" }
	ip := netip.MustParseAddr("203.0.113.7") // of the request; it is logged

	step := log.step("Ada signs up, and owns a new team")
	ada, err := st.SignUp(ctx, store.SignUp{
		Email: email("ada"), PasswordHash: passwordHash, Name: "Ada", TeamName: "Analytical Engines", IP: ip,
	})
	if err := step.done(err); err != nil {
		return err
	}
	team := ada.Team.ID
	byAda := store.Actor{UserID: ada.User.ID, IP: ip}

	step = log.step("Grace signs up, with a team of her own")
	grace, err := st.SignUp(ctx, store.SignUp{Email: email("grace"), PasswordHash: passwordHash, Name: "Grace", IP: ip})
	if err := step.done(err); err != nil {
		return err
	}
	byGrace := store.Actor{UserID: grace.User.ID, IP: ip}

	// The token goes into the link that the service mails. It can't be read again.
	step = log.step("Ada invites Alan, who has no account")
	_, alanToken, err := st.InviteMember(ctx, store.InviteMember{
		Actor: byAda, TeamID: team, Email: email("alan"), Role: db.RoleMember,
	})
	if err := step.done(err); err != nil {
		return err
	}

	step = log.step("Ada invites Grace, who has one")
	_, graceToken, err := st.InviteMember(ctx, store.InviteMember{
		Actor: byAda, TeamID: team, Email: email("grace"), Role: db.RoleMember,
	})
	if err := step.done(err); err != nil {
		return err
	}

	step = log.step("Ada invites Edsger")
	edsger, _, err := st.InviteMember(ctx, store.InviteMember{
		Actor: byAda, TeamID: team, Email: email("edsger"), Role: db.RoleMember,
	})
	if err := step.done(err); err != nil {
		return err
	}

	step = log.step("Ada takes Edsger's invitation back")
	err = st.CancelInvitation(ctx, store.CancelInvitation{Actor: byAda, TeamID: team, InvitationID: edsger.ID})
	if err := step.done(err); err != nil {
		return err
	}

	step = log.step("Alan signs up with his invitation, and is a member")
	alan, err := st.SignUpWithInvitation(ctx, store.SignUpWithInvitation{
		Token: alanToken, Email: email("alan"), PasswordHash: passwordHash, Name: "Alan", IP: ip,
	})
	if err := step.done(err); err != nil {
		return err
	}

	step = log.step("Grace accepts hers, and is a member of two teams")
	_, _, err = st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: byGrace, Token: graceToken})
	if err := step.done(err); err != nil {
		return err
	}

	step = log.step("Grace tries to remove Ada, and is refused: she is no owner")
	err = st.RemoveMember(ctx, store.RemoveMember{Actor: byGrace, TeamID: team, MemberID: ada.TeamMember.ID})
	if !errors.Is(err, store.ErrForbidden) {
		return step.done(fmt.Errorf("want the refusal %q, got: %v", store.ErrForbidden, err))
	}
	if err := step.done(nil); err != nil {
		return err
	}

	step = log.step("Ada comes back from the checkout, and the team has a Stripe customer")
	err = st.LinkStripeCustomer(ctx, store.LinkStripeCustomer{Actor: byAda, TeamID: team, CustomerID: "cus_" + run})
	if err := step.done(err); err != nil {
		return err
	}

	step = log.step("Stripe reports a subscription, and the team has a plan")
	err = st.UpdateSubscription(ctx, store.UpdateSubscription{
		TeamID: team, SubscriptionID: "sub_" + run, ProductID: "prod_plus", PlanName: "Plus", Status: db.SubscriptionActive,
	})
	if err := step.done(err); err != nil {
		return err
	}

	step = log.step("Ada removes Alan")
	err = st.RemoveMember(ctx, store.RemoveMember{Actor: byAda, TeamID: team, MemberID: alan.TeamMember.ID})
	if err := step.done(err); err != nil {
		return err
	}

	if err := showTeam(ctx, st, log, team); err != nil {
		return err
	}
	return showActivity(ctx, st, log, team)
}

// showTeam prints the team as an API would answer: its JSON has the names of the
// TypeScript app's TeamDataWithMembers.
func showTeam(ctx context.Context, st *store.Store, log *stepLog, id db.TeamID) error {
	step := log.step("The team with its members, as JSON:")
	team, err := st.TeamWithMembers(ctx, id)
	if err := step.done(err); err != nil {
		return err
	}
	text, err := json.MarshalIndent(team, "", "  ")
	if err != nil {
		return err
	}
	log.println(string(text))
	return log.err
}

// showActivity prints the team's feed, page by page as a service would show it.
func showActivity(ctx context.Context, st *store.Store, log *stepLog, team db.TeamID) error {
	step := log.step("The team's activity, newest first:")
	read := func(page store.Page) ([]store.Activity, store.Cursor, error) {
		return st.TeamActivity(ctx, team, store.ActivityPage{Page: page})
	}
	var all []store.Activity
	for activity, err := range store.All(store.Page{}, read) {
		if err != nil {
			return step.done(err)
		}
		all = append(all, activity)
	}
	if err := step.done(nil); err != nil {
		return err
	}

	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHEN (UTC)\tWHO\tACTION\tFROM")
	for _, a := range all {
		who := "the system"
		switch {
		case a.UserName != nil:
			who = *a.UserName
		case a.UserID != nil:
			who = fmt.Sprint("user ", *a.UserID)
		}
		from := "-"
		if a.IPAddress != nil {
			from = *a.IPAddress
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", a.Timestamp.Format("2006-01-02 15:04:05.000"), who, a.Action, from)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	log.println(strings.TrimSuffix(text.String(), "\n"))
	return log.err
}
