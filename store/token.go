package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"

	"github.com/rowhouse/rowhouse/db"
)

// Token is the secret in an invitation's link: whoever has it, and the e-mail that it
// was sent to, may accept. The database has its SHA-256 only. It is redacted as
// [db.PasswordHash] is; string(t) is the text for the link, safe in a URL.
type Token string

const redacted = "[redacted]"

func (t Token) String() string               { return redacted }
func (t Token) GoString() string             { return redacted }
func (t Token) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (t Token) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (t Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

var tokenText = base64.RawURLEncoding.Strict()

const tokenBytes = 32

func newToken() (Token, []byte) {
	b := make([]byte, tokenBytes)
	rand.Read(b) // never fails
	hash := sha256.Sum256(b)
	return Token(tokenText.EncodeToString(b)), hash[:]
}

// hashToken is what the database has of a token. What no row has is the hash of a text
// that is no token, be it the 32 bytes that one stands for.
func hashToken(t Token) []byte {
	b, err := tokenText.DecodeString(string(t))
	if err != nil || len(b) != tokenBytes {
		return []byte{}
	}
	hash := sha256.Sum256(b)
	return hash[:]
}

// invitationRef is how a caller names an invitation. One of its fields is set.
type invitationRef struct {
	tokenHash []byte
	id        db.InvitationID
}

func (in *input) invitation(t Token, id db.InvitationID) (ref invitationRef) {
	if (t == "") == (id == 0) {
		in.refuse("Token", "or InvitationID must be set, not both")
		return ref
	}
	if id != 0 {
		return invitationRef{id: id}
	}
	return invitationRef{tokenHash: hashToken(t)}
}

// lock locks the invitation's team for the statement that follows, and the actor before
// it. There is none at a sign-up.
func (r invitationRef) lock(ctx context.Context, pl *pipeline, actor db.UserID) {
	if r.id != 0 {
		_ = queries.LockInvitationByID(ctx, pl, db.LockInvitationByIDParams{InvitationID: r.id, ActorID: int64(actor)})
		return
	}
	_ = queries.LockInvitation(ctx, pl, db.LockInvitationParams{TokenHash: r.tokenHash, ActorID: int64(actor)})
}
