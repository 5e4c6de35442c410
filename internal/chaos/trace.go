package main

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// attempts is what one operation sent: a statement that is sent again is a retry.
type attempts struct {
	sent    map[string]int
	failure string // of the last one, by kind
	retries map[string]int
}

type attemptsKey struct{}

func withAttempts(ctx context.Context) (context.Context, *attempts) {
	a := &attempts{sent: make(map[string]int), retries: make(map[string]int)}
	return context.WithValue(ctx, attemptsKey{}, a), a
}

// tracer watches what is sent. An operation runs on one goroutine.
type tracer struct{}

const noConnection = "no connection"

func (tracer) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	if a, ok := ctx.Value(attemptsKey{}).(*attempts); ok && a.failure == noConnection {
		a.retries[a.failure]++
	}
	return ctx
}

func (tracer) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	if a, ok := ctx.Value(attemptsKey{}).(*attempts); ok && data.Err != nil {
		a.failure = noConnection
	}
}

func (tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(data.SQL, "-- ping") { // the pool's
		return context.WithValue(ctx, attemptsKey{}, nil)
	}
	start(ctx, data.SQL)
	return ctx
}

func (tracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	end(ctx, data.Err)
}

func (tracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	queries := data.Batch.QueuedQueries
	start(ctx, queries[len(queries)-1].SQL)
	return ctx
}

func (tracer) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	if data.Err != nil && !errors.Is(data.Err, pgx.ErrNoRows) {
		end(ctx, data.Err)
	}
}

func (tracer) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchEndData) {
	if data.Err != nil {
		end(ctx, data.Err)
	}
}

func start(ctx context.Context, sql string) {
	a, ok := ctx.Value(attemptsKey{}).(*attempts)
	if !ok {
		return
	}
	if strings.HasPrefix(sql, "begin") { // InTx, and all of it again when not for the first time
		begun := a.sent["begin"]
		clear(a.sent)
		a.sent["begin"] = begun
		sql = "begin"
	}
	if a.sent[sql]++; a.sent[sql] > 1 && a.failure != "" && a.failure != noConnection {
		a.retries[a.failure]++
	}
}

func end(ctx context.Context, err error) {
	if a, ok := ctx.Value(attemptsKey{}).(*attempts); ok {
		a.failure = cmp.Or(kindOf(err), a.failure) // a rollback that succeeds comes before what runs again
	}
}

// kindOf names what an error comes from.
func kindOf(err error) string {
	var pgErr *pgconn.PgError
	switch {
	case err == nil || errors.Is(err, pgx.ErrNoRows):
		return ""
	case errors.As(err, &pgErr):
		switch pgErr.Code {
		case "40P01":
			return "deadlock"
		case "40001":
			return "serialization failure"
		case "57014":
			return "statement canceled (57014)"
		case "57P01", "57P02", "57P03":
			return "server shutting down (" + pgErr.Code + ")"
		}
		return "SQLSTATE " + pgErr.Code
	case errors.Is(err, context.Canceled):
		return "client canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "client's deadline"
	}
	return "connection"
}
