package store_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// openInvitation is a round of a race about an invitation: a team's owner, and whom he invited.
type openInvitation struct {
	*house
	guest *house // has an account or, to sign up, an e-mail alone
	id    db.InvitationID
	token store.Token
}

// newOpenInvitations makes n teams of one owner, who has invited one e-mail.
func newOpenInvitations(t *testing.T, st *store.Store, n int, withAccount bool) []openInvitation {
	t.Helper()
	hosts := slices.Concat(newCrews(t, st, n, 1, 0)...)
	guests := make([]*house, n)
	if withAccount {
		guests = slices.Concat(newCrews(t, st, n, 1, 0)...)
	} else {
		for i := range guests {
			guests[i] = &house{owner: db.User{Email: newEmail()}}
		}
	}
	rounds := make([]openInvitation, n)
	var emails []string
	var teamIDs, ownerIDs []int64
	var hashes [][]byte
	for i := range rounds {
		secret := sha256.Sum256(fmt.Append(nil, "secret", serial.Add(1)))
		hash := sha256.Sum256(secret[:])
		rounds[i] = openInvitation{house: hosts[i], guest: guests[i], token: store.Token(base64.RawURLEncoding.EncodeToString(secret[:]))}
		emails, hashes = append(emails, guests[i].owner.Email), append(hashes, hash[:])
		teamIDs, ownerIDs = append(teamIDs, int64(hosts[i].team.ID)), append(ownerIDs, int64(hosts[i].owner.ID))
	}
	ids := column[db.InvitationID](t, st, `INSERT INTO invitations (team_id, invited_by, email, token_hash, role, invited_at, expires_at)
		SELECT t, u, e, h, 'member', timezone('utc', now()), timezone('utc', now()) + interval '1 day'
		FROM unnest($1::integer[], $2::integer[], $3::text[], $4::bytea[]) WITH ORDINALITY AS r (t, u, e, h, n) ORDER BY n RETURNING id`, teamIDs, ownerIDs, emails, hashes)
	for i := range rounds {
		rounds[i].id = ids[i]
	}
	return rounds
}

func (r openInvitation) accept(ctx context.Context) error {
	_, _, err := r.st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: r.guest.actor, Token: r.token})
	return err
}

func (r openInvitation) signUp(ctx context.Context) error {
	_, err := r.st.SignUpWithInvitation(ctx, store.SignUpWithInvitation{Token: r.token, Email: r.guest.owner.Email, PasswordHash: "hash"})
	return err
}

func (r openInvitation) decline(ctx context.Context) error {
	return r.st.DeclineInvitation(ctx, store.DeclineInvitation{Actor: r.guest.actor, Token: r.token})
}

func (r openInvitation) cancel(ctx context.Context) error {
	return r.st.CancelInvitation(ctx, store.CancelInvitation{Actor: r.actor, TeamID: r.team.ID, InvitationID: r.id})
}

func (r openInvitation) resend(ctx context.Context) error {
	_, _, err := r.st.ResendInvitation(ctx, store.ResendInvitation{Actor: r.actor, TeamID: r.team.ID, InvitationID: r.id})
	return err
}

func (r openInvitation) deleteTeam(ctx context.Context) error {
	return r.st.DeleteTeam(ctx, store.DeleteTeam{Actor: r.actor, TeamID: r.team.ID})
}

func (r openInvitation) limit(seats int) func(context.Context) error {
	return func(ctx context.Context) error {
		return r.st.SetSeatLimit(ctx, store.SetSeatLimit{TeamID: r.team.ID, Limit: &seats})
	}
}

// outcome is what the two of a round answered, and what is then in the tables.
type outcome struct {
	a, b error
	end  string // the invitation's status, and whether its e-mail has an account and a seat in the team
}

func TestInvitationsAreRacedFor(t *testing.T) {
	t.Parallel()
	st := racers(t, sideBySide)
	type way = func(openInvitation, context.Context) error
	lift := func(r openInvitation, ctx context.Context) error { return r.limit(2)(ctx) }
	lower := func(r openInvitation, ctx context.Context) error { return r.limit(1)(ctx) }
	notPending := store.ErrInvitationNotPending
	t.Run("races", func(t *testing.T) {
		for _, c := range []struct {
			name    string
			account bool
			a, b    way
			want    []outcome
		}{
			{"accept and cancel", true, openInvitation.accept, openInvitation.cancel,
				[]outcome{{nil, notPending, "accepted account seat"}, {notPending, nil, "canceled account"}}},
			{"accept and decline", true, openInvitation.accept, openInvitation.decline,
				[]outcome{{nil, notPending, "accepted account seat"}, {notPending, nil, "declined account"}}},
			{"accept and resend", true, openInvitation.accept, openInvitation.resend,
				[]outcome{{nil, notPending, "accepted account seat"}, {store.ErrNotFound, nil, "pending account"}}},
			{"accept and delete the team", true, openInvitation.accept, openInvitation.deleteTeam,
				[]outcome{{nil, nil, "accepted account"}, {notPending, nil, "canceled account"}}},
			{"accept and take the seat away", true, openInvitation.accept, lower,
				[]outcome{{nil, nil, "accepted account seat"}, {store.ErrSeatLimit, nil, "pending account"}}},
			{"accept and add a seat", true, openInvitation.accept, lift,
				[]outcome{{nil, nil, "accepted account seat"}, {store.ErrSeatLimit, nil, "pending account"}, {store.ErrConflict, nil, "pending account"}}},
			{"sign up and cancel", false, openInvitation.signUp, openInvitation.cancel,
				[]outcome{{nil, notPending, "accepted account seat"}, {notPending, nil, "canceled"}}},
			{"sign up, though there is an account, which declines", true, openInvitation.signUp, openInvitation.decline,
				[]outcome{{store.ErrEmailTaken, nil, "declined account"}, {notPending, nil, "declined account"}}},
			{"sign up and resend", false, openInvitation.signUp, openInvitation.resend,
				[]outcome{{nil, notPending, "accepted account seat"}, {store.ErrNotFound, nil, "pending"}}},
			{"sign up and delete the team", false, openInvitation.signUp, openInvitation.deleteTeam,
				[]outcome{{nil, nil, "accepted account"}, {notPending, nil, "canceled"}}},
			{"sign up and take the seat away", false, openInvitation.signUp, lower,
				[]outcome{{nil, nil, "accepted account seat"}, {store.ErrSeatLimit, nil, "pending"}}},
			{"sign up and add a seat", false, openInvitation.signUp, lift,
				[]outcome{{nil, nil, "accepted account seat"}, {store.ErrSeatLimit, nil, "pending"}, {store.ErrConflict, nil, "pending"}}},
			{"cancel and resend", true, openInvitation.cancel, openInvitation.resend,
				[]outcome{{nil, notPending, "canceled account"}, {nil, nil, "canceled account"}}},
			{"cancel and decline", true, openInvitation.cancel, openInvitation.decline,
				[]outcome{{nil, notPending, "canceled account"}, {notPending, nil, "declined account"}}},
			{"delete the team and decline", true, openInvitation.deleteTeam, openInvitation.decline,
				[]outcome{{nil, notPending, "canceled account"}, {nil, nil, "declined account"}}},
			{"decline by the old token and resend", true, openInvitation.decline, openInvitation.resend,
				[]outcome{{nil, notPending, "declined account"}, {store.ErrNotFound, nil, "pending account"}}},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				rounds := newOpenInvitations(t, st, lifeRounds, c.account)
				if strings.HasSuffix(c.name, "add a seat") {
					for _, r := range rounds {
						exec(t, st, "UPDATE teams SET seat_limit = 1 WHERE id = $1", r.team.ID)
					}
				}
				seen := make([]int, len(c.want))
				for i, r := range rounds {
					starters := []func() error{func() error { return c.a(r, t.Context()) }, func() error { return c.b(r, t.Context()) }}
					if i%2 == 0 { // the first one tends to win
						starters[0], starters[1] = starters[1], starters[0]
					}
					errs := race(starters...)
					if i%2 == 0 {
						errs[0], errs[1] = errs[1], errs[0]
					}
					end := column[string](t, st, `SELECT concat_ws(' ', status, CASE WHEN users.id > 0 THEN 'account' END, CASE WHEN team_members.id > 0 THEN 'seat' END)
						FROM invitations LEFT JOIN users ON users.email = invitations.email LEFT JOIN team_members ON user_id = users.id AND team_members.team_id = invitations.team_id
						WHERE invitations.id = $1`, r.id)[0]
					known := slices.IndexFunc(c.want, func(o outcome) bool { return same(o.a, errs[0]) && same(o.b, errs[1]) && o.end == end })
					require.GreaterOrEqual(t, known, 0, "round %d: %v, %v, %s", i, errs[0], errs[1], end)
					seen[known]++
				}
				t.Logf("outcomes, in the order above: %v", seen)
			})
		}
	})
	violations, err := st.CheckInvariants(t.Context())
	require.NoError(t, err)
	require.Empty(t, violations)
}

// Of 20 who would join a team with k free seats, by accepting and by signing up, k do.
func TestSeatsAreRacedFor(t *testing.T) {
	t.Parallel()
	const joiners = 20
	st := racers(t, joiners)
	hosts := slices.Concat(newCrews(t, st, lifeRounds, 1, 0)...)
	members, strangers := newOpenInvitations(t, st, lifeRounds*joiners/2, true), newOpenInvitations(t, st, lifeRounds*joiners/2, false)
	for i := range members {
		members[i].house, strangers[i].house = hosts[i%lifeRounds], hosts[i%lifeRounds]
		exec(t, st, "UPDATE invitations SET team_id = $1, invited_by = $2 WHERE id = ANY ($3)", hosts[i%lifeRounds].team.ID, hosts[i%lifeRounds].owner.ID, []int64{int64(members[i].id), int64(strangers[i].id)})
	}
	for round, h := range hosts {
		free := round % (joiners + 1)
		exec(t, st, "UPDATE teams SET seat_limit = $2 WHERE id = $1", h.team.ID, 1+free)
		errs := race(crowdOf(joiners, func(i int) error {
			if i%2 == 0 {
				return members[round+i/2*lifeRounds].accept(t.Context())
			}
			return strangers[round+i/2*lifeRounds].signUp(t.Context())
		})...)
		require.Equal(t, free, allBut(t, errs, store.ErrSeatLimit))
		require.Equal(t, []int{1 + free}, column[int](t, st, "SELECT count(*) FROM team_members WHERE team_id = $1", h.team.ID))
	}
	requireNoViolations(t, st)
}

// Two owners invite the same hundred at once, in different orders: each address is
// invited once, by whom was told so, and the other one learns of it.
func TestListsAreInvitedAtOnce(t *testing.T) {
	t.Parallel()
	st := racers(t, 2)
	for _, owners := range newCrews(t, st, lifeRounds, 2, 0) {
		invitees := make([]store.Invitee, 100)
		for i := range invitees {
			invitees[i] = store.Invitee{Email: newEmail(), Role: db.RoleMember}
		}
		results := make([][]store.Invited, 2)
		lists := make([][]store.Invitee, 2)
		for i := range lists {
			lists[i] = slices.Clone(invitees)
			rand.Shuffle(len(invitees), func(a, b int) { lists[i][a], lists[i][b] = lists[i][b], lists[i][a] })
		}
		allBut(t, race(crowdOf(2, func(i int) (err error) {
			results[i], err = st.InviteMembers(t.Context(), store.InviteMembers{Actor: owners[i].actor, TeamID: owners[i].team.ID, Invitees: lists[i]})
			return err
		})...))
		invitedBy := make(map[string]db.UserID)
		for i, owner := range owners {
			require.Len(t, results[i], len(invitees))
			for j, r := range results[i] {
				require.Equal(t, lists[i][j].Email, r.Email)
				if r.Err != nil {
					require.ErrorIs(t, r.Err, store.ErrAlreadyInvited)
					require.Empty(t, r.Token)
					continue
				}
				require.NotContains(t, invitedBy, r.Email)
				require.Equal(t, r.Email, r.Invitation.Email)
				invitedBy[r.Email] = owner.owner.ID
			}
		}
		require.Len(t, invitedBy, len(invitees))
		require.Equal(t, []int{len(invitees)}, column[int](t, st, "SELECT count(*) FROM invitations WHERE team_id = $1 AND status = 'pending'", owners[0].team.ID))
		require.Equal(t, []int{len(invitees)}, column[int](t, st, "SELECT count(*) FROM activity_logs WHERE team_id = $1 AND action = 'INVITE_TEAM_MEMBER'", owners[0].team.ID))
		for email, by := range invitedBy {
			require.Equal(t, []db.UserID{by}, column[db.UserID](t, st, "SELECT invited_by FROM invitations WHERE lower(email) = $1 AND status = 'pending'", email))
			break // one of them; the counts speak for the others
		}
	}
	requireNoViolations(t, st)
}

// A list of invitations against the end of who sends it, and of the team that it is to:
// whichever is first, none is left that nobody may have sent.
func TestListsAreInvitedByWhoIsGoing(t *testing.T) {
	t.Parallel()
	st := racers(t, 2)
	for round, owners := range newCrews(t, st, lifeRounds, 2, 0) {
		errs := race(
			func() error {
				_, err := owners[0].inviteAll(store.Invitee{newEmail(), db.RoleMember}, store.Invitee{newEmail(), db.RoleOwner})
				return err
			},
			func() error {
				if round%2 == 0 {
					return owners[1].deleteTeam(false)
				}
				return st.DeleteAccount(t.Context(), owners[0].actor)
			},
		)
		require.NoError(t, errs[1])
		allBut(t, errs, store.ErrForbidden)
	}
	requireNoViolations(t, st)
}

// Who left a team as an owner leaves invitations behind. His account goes while what is
// left of them is swept away from the other side.
func TestInvitationsOfWhoHasLeft(t *testing.T) {
	t.Parallel()
	st := racers(t, 4)
	t.Run("races", func(t *testing.T) {
		for name, sweep := range map[string]func(h *house, invitees []store.Invitee) error{
			"invited again": func(h *house, invitees []store.Invitee) error {
				_, err := st.InviteMembers(h.t.Context(), store.InviteMembers{Actor: h.actor, TeamID: h.team.ID, Invitees: invitees})
				return err
			},
			"the team is deleted": func(h *house, _ []store.Invitee) error {
				return st.DeleteTeam(h.t.Context(), store.DeleteTeam{Actor: h.actor, TeamID: h.team.ID})
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for round, owners := range newCrews(t, st, lifeRounds, 2, 0) {
					invitees := make([]store.Invitee, 40)
					for i := range invitees {
						invitees[i] = store.Invitee{Email: newEmail(), Role: db.RoleMember}
					}
					_, err := st.InviteMembers(t.Context(), store.InviteMembers{Actor: owners[1].actor, TeamID: owners[1].team.ID, Invitees: invitees})
					require.NoError(t, err)
					require.NoError(t, st.LeaveTeam(t.Context(), store.LeaveTeam{Actor: owners[1].actor, TeamID: owners[1].team.ID}))
					slices.Reverse(invitees)
					errs := race(
						func() error { return sweep(owners[0], invitees) },
						func() error { return st.DeleteAccount(t.Context(), owners[1].actor) },
					)
					require.Equal(t, 2, allBut(t, errs), "round %d", round)
				}
			})
		}
	})
	requireNoViolations(t, st)
}
