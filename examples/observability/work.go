package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// people are whom the work is about: nothing of them is to be seen.
type people struct {
	owner, guest string // e-mails
	name, team   string
	hash         db.PasswordHash
	ip           netip.Addr
	metadata     map[string]any
	customer     string
	subscription string
	event        string
	token        store.Token // which work is handed
}

func newPeople() people {
	n := time.Now().UnixNano() // a database of yours may have those of the last run
	return people{
		owner: fmt.Sprintf("ada-%d@example.com", n), guest: fmt.Sprintf("grace-%d@example.com", n),
		name: "Ada", team: "Analytical Engines", hash: "what argon2id made of the password",
		ip: netip.MustParseAddr("203.0.113.7"), metadata: map[string]any{"file": "notes.pdf"},
		customer: fmt.Sprintf("cus_%d", n), subscription: fmt.Sprintf("sub_%d", n), event: fmt.Sprintf("evt_%d", n),
	}
}

// work does something of each kind, each in a span such as a service has for a request:
// statements, pipelines of several, transactions, a COPY, and what is refused.
func work(ctx context.Context, tracer trace.Tracer, st *store.Store, p *people) error {
	var owner store.SignedUp
	for _, request := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"sign up", func(ctx context.Context) (err error) {
			owner, err = st.SignUp(ctx, store.SignUp{Email: p.owner, PasswordHash: p.hash, Name: p.name, TeamName: p.team, IP: p.ip})
			return err
		}},
		{"sign up again", func(ctx context.Context) error {
			_, err := st.SignUp(ctx, store.SignUp{Email: p.owner, PasswordHash: p.hash, Name: p.name})
			return refusedWith(store.ErrEmailTaken, err)
		}},
		{"invite", func(ctx context.Context) (err error) {
			_, p.token, err = st.InviteMember(ctx, store.InviteMember{Actor: store.Actor{UserID: owner.User.ID, IP: p.ip}, TeamID: owner.Team.ID, Email: p.guest, Role: db.RoleMember})
			return err
		}},
		{"sign up with the invitation", func(ctx context.Context) error {
			_, err := st.SignUpWithInvitation(ctx, store.SignUpWithInvitation{Token: p.token, Email: p.guest, PasswordHash: p.hash, Name: p.name, IP: p.ip})
			return err
		}},
		{"leave", func(ctx context.Context) error {
			return refusedWith(store.ErrLastOwner, st.LeaveTeam(ctx, store.LeaveTeam{Actor: store.Actor{UserID: owner.User.ID, IP: p.ip}, TeamID: owner.Team.ID}))
		}},
		{"show the team", func(ctx context.Context) error {
			_, err := st.TeamWithMembers(ctx, owner.Team.ID)
			return err
		}},
		{"sign in", func(ctx context.Context) error {
			return st.InTx(ctx, func(tx *store.Store) error {
				if _, err := tx.Credentials(ctx, p.owner); err != nil {
					return err
				}
				return tx.RecordSignIn(ctx, store.Actor{UserID: owner.User.ID, IP: p.ip})
			})
		}},
		{"change their mind", func(ctx context.Context) error {
			changed := errors.New("the mind is changed")
			return refusedWith(changed, st.InTx(ctx, func(tx *store.Store) error {
				_, err := tx.UpdateAccount(ctx, store.UpdateAccount{Actor: store.Actor{UserID: owner.User.ID, IP: p.ip}, Name: &p.team})
				return errors.Join(err, changed)
			}))
		}},
		{"subscribe", func(ctx context.Context) error {
			if err := st.LinkStripeCustomer(ctx, store.LinkStripeCustomer{TeamID: owner.Team.ID, CustomerID: p.customer}); err != nil {
				return err
			}
			now := time.Now().Truncate(time.Second)
			_, _, err := st.ApplySubscription(ctx, store.ApplySubscription{
				EventID: p.event, EventType: "customer.subscription.created", Created: now,
				Subscription: store.StripeSubscription{ID: p.subscription, CustomerID: p.customer, Status: db.SubscriptionActive, PlanName: p.name, Created: now},
			})
			return err
		}},
		{"import activity", func(ctx context.Context) error {
			entry := store.RecordActivity{TeamID: owner.Team.ID, UserID: owner.User.ID, Action: "IMPORT", IP: p.ip, Metadata: p.metadata}
			if err := st.RecordActivities(ctx, []store.RecordActivity{entry, entry, entry}); err != nil {
				return err
			}
			// The service's own, by COPY.
			_, err := st.Conn().CopyFrom(ctx, pgx.Identifier{"activity_logs"}, []string{"team_id", "action", "ip_address", "metadata"},
				pgx.CopyFromRows([][]any{{owner.Team.ID, "COPY", p.ip.String(), p.metadata}, {owner.Team.ID, "COPY", p.ip.String(), p.metadata}}))
			return err
		}},
		{"show the activity", func(ctx context.Context) error {
			_, _, err := st.TeamActivity(ctx, owner.Team.ID, store.ActivityPage{})
			return err
		}},
		{"ask what the server can't read", func(ctx context.Context) error {
			_, err := st.Conn().Exec(ctx, "SELECT $1::integer", p.name)
			return mustFail(err)
		}},
		{"ask what pgx can't write", func(ctx context.Context) error {
			_, err := st.Conn().Exec(ctx, "SELECT $1::integer", []string{p.name})
			return mustFail(err)
		}},
		{"break a constraint", func(ctx context.Context) error {
			_, err := db.NewUser{Email: p.owner, PasswordHash: p.hash}.Insert(ctx, st.Conn())
			return mustFail(err)
		}},
	} {
		ctx, span := tracer.Start(ctx, request.name)
		err := request.do(ctx)
		span.End()
		if err != nil {
			return fmt.Errorf("%s: %w", request.name, err)
		}
	}
	return nil
}

// refusedWith takes the refusal that is wanted for a success.
func refusedWith(want, err error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("want it refused with %w, got: %w", want, err)
}

func mustFail(err error) error {
	if err == nil {
		return errors.New("want an error")
	}
	return nil
}
