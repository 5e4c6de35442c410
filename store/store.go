// Package store holds the operations of a multi-tenant service: accounts, teams and
// their members, invitations, subscriptions and the activity log.
//
// A method of [Store] is one business operation. It is one transaction and, when it
// succeeds, one round trip to the server: what it changes, the rules that it keeps and
// the activity row that records it are written together or not at all.
//
// # Who may
//
// Operations on a team read the [Actor]'s role from team_members inside the same
// transaction; nothing that the caller claims is believed. A row of another team is
// [ErrNotFound].
//
// # Concurrency
//
// Whatever adds, removes or invites a member locks the team's row, after the user's where
// an account is concerned, and decides on what it reads after that. Two such operations
// on one team run one after the other; on two teams, side by side. Reads never wait. A
// log row waits only for a change of its user's e-mail or its team's Stripe ids to
// commit. This rests on READ COMMITTED, Postgres' default and what [Store.InTx] asks for:
// with a default_transaction_isolation of REPEATABLE READ the rules can be broken, and
// SERIALIZABLE keeps them at the price of many attempts. schema.Verify refuses both.
//
// An operation that Postgres ends to break a deadlock, as between two users who take each
// other's e-mail, is run again: see [Store.InTx]. What a refused operation has locked it
// holds, inside InTx, until the transaction ends.
//
// # Faults
//
// An operation that fails has done nothing, or its error is [ErrOutcomeUnknown]: the
// connection was lost, or ctx ended, after it was sent and before the server had answered.
// Then it happened wholly or not at all, never in part, and the Store does not send it
// again. Every other error is certain: what the Store refuses, what the server refuses, a
// connection that was not to be had, a ctx that ended before anything was sent.
//
//   - What reads never has an unknown outcome. Where the connection is lost it is run once
//     more, and so is what writes where certainly nothing of it was sent: on a connection
//     that has answered, and only while ctx lasts.
//   - What Postgres ended by a deadlock or a serialization failure is run again, five times
//     at most.
//   - Inside [Store.InTx] an operation runs once, and its failure is certain: nothing has
//     been committed. InTx itself can be unknown, by the loss of its COMMIT alone.
//   - The end of ctx is noticed at once, whatever is waited for: a connection, a lock, an
//     answer. The transaction is rolled back; by the server, where it can't be told.
//
// After an unknown outcome, read what is there, or repeat the operation with the same
// arguments. A server that has not noticed that its client is gone may even be about to do
// the first one, as soon as it has a lock: a repeated one waits for it, a read does not.
// (With client_connection_check_interval, of PostgreSQL 14, the server does notice.) What
// a repeated operation does when the first one had happened:
//
//   - Nothing, and answers the same: RenameTeam, SetSeatLimit, ChangeRole,
//     LinkStripeCustomer, UpdateSubscription, ApplySubscription, ReconcileSubscription,
//     PurgeActivity, PurgeSubscriptionEvents. These are safe to repeat, unless somebody
//     else has changed the same in between.
//   - Nothing, and refuses: SignUp with [ErrEmailTaken]; SignUpWithInvitation,
//     AcceptInvitation, DeclineInvitation and CancelInvitation with
//     [ErrInvitationNotPending]; InviteMember, and InviteMembers in its results, with
//     [ErrAlreadyInvited], after which ResendInvitation makes a new token for the lost one;
//     UpdatePassword with [ErrConflict] when Expected is set; RemoveMember, LeaveTeam and
//     DeleteAccount with [ErrNotFound]; TransferOwnership and DeleteTeam with
//     [ErrForbidden].
//   - The same once more, with a log row of its own: UpdateAccount, ResendInvitation,
//     UpdatePassword when Expected is not set.
//   - Another one: CreateTeam, RecordSignIn, RecordSignOut, RecordActivity,
//     RecordActivities.
//
// # Times and texts
//
// Times are UTC, and the server's clock sets them: the start of the transaction. An
// e-mail is trimmed and lower-cased before it is written or looked for. An empty name
// is no name, and is stored as NULL. Lengths are counted in characters.
package store

import (
	"context"
	"net/netip"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/db"
)

// Store runs operations on a pool or, inside [Store.InTx], on a transaction. On a pool
// it is safe for concurrent use; in a transaction it is as little so as the transaction.
type Store struct {
	pool  *pgxpool.Pool // nil inside InTx
	tx    pgx.Tx        // nil outside; a transaction or, inside one, a savepoint
	conn  db.DBTX       // for reads: the transaction, or the pool's connections
	owned bool          // Close closes the pool
}

// Conn is what the Store runs on: a *pgxpool.Pool or a pgx.Tx.
type Conn interface {
	db.DBTX
	Begin(context.Context) (pgx.Tx, error)
	SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
	CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
}

// New returns a Store on a pool that the caller owns and closes. The database has been
// migrated by package schema.
func New(pool *pgxpool.Pool) *Store {
	s := &Store{pool: pool}
	s.conn = reads{s}
	return s
}

// Conn returns what the Store runs on, for the caller's own queries: inside
// [Store.InTx] they are part of the transaction.
func (s *Store) Conn() Conn {
	if s.tx != nil {
		return s.tx
	}
	return s.pool
}

// Actor is who does an operation, and from where. The zero Actor is the system: it may
// do what needs no role in a team, and is logged without a user.
type Actor struct {
	UserID db.UserID
	IP     netip.Addr
}

// user is the actor as the log has it: none for the system.
func (a Actor) user() *db.UserID {
	if a.UserID == 0 {
		return nil
	}
	return &a.UserID
}

// ip is the address as the log has it, nil for none.
func (a Actor) ip() *string { return ipText(a.IP) }

func ipText(ip netip.Addr) *string {
	if !ip.IsValid() {
		return nil
	}
	return new(addressText(ip))
}

// addressText leaves out the zone, which is of no use elsewhere and may be too long for
// the column.
func addressText(ip netip.Addr) string { return ip.Unmap().WithZone("").String() }

var queries = db.New()
