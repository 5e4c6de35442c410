package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"
)

// The kinds of work that a connection does.
const (
	operationQuery      = "query"
	operationBatch      = "batch"       // sent at once: what the Store does in one round trip
	operationBatchQuery = "batch query" // one of its statements
	operationCopy       = "copy"
	operationPrepare    = "prepare"
	operationConnect    = "connect"
	operationAcquire    = "acquire"
)

// statement is one that has ended, well or not. It never held an argument.
type statement struct {
	operation string
	name      string // empty for a batch and a connection, which have none
	duration  time.Duration
	rows      int64
	err       error // without values
}

// queryName is the name that the query has in queries/*.sql: sqlc leaves it in the text, as
// the comment in the first line. Of other SQL it is the first word, such as COMMIT.
func queryName(sql string) string {
	if rest, ok := strings.CutPrefix(sql, "-- name: "); ok {
		name, _, _ := strings.Cut(rest, " ")
		return name
	}
	word := otelpgx.SQLOperationName(context.Background(), sql)
	if end := strings.IndexFunc(word, func(r rune) bool { return r < 'A' || r > 'Z' }); end >= 0 {
		word = word[:end]
	}
	return word
}

// statementTracer reports each statement, batch, COPY, preparation and connection when it
// has ended. Pgx's tracelog does nearly that, but hands its logger every argument.
type statementTracer struct {
	report func(context.Context, statement)
}

// started is in the context of what goes on.
type started struct {
	name string
	at   time.Time
}

type startedKey struct{}

func start(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, startedKey{}, started{name, time.Now()})
}

func (t *statementTracer) end(ctx context.Context, operation string, rows int64, err error) {
	s, _ := ctx.Value(startedKey{}).(started)
	t.report(ctx, statement{operation, s.name, time.Since(s.at), rows, withoutValues(err)})
}

// TraceQueryStart implements [pgx.QueryTracer].
func (t *statementTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return start(ctx, queryName(data.SQL))
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (t *statementTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	t.end(ctx, operationQuery, data.CommandTag.RowsAffected(), data.Err)
}

// TraceBatchStart implements [pgx.BatchTracer].
func (t *statementTracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return start(ctx, "")
}

// TraceBatchQuery implements [pgx.BatchTracer]. A statement's time begins when its result is
// waited for: the first one's is that of the round trip.
func (t *statementTracer) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	s := statement{operation: operationBatchQuery, name: queryName(data.SQL), rows: data.CommandTag.RowsAffected(), err: withoutValues(data.Err)}
	if !data.ReadStartTime.IsZero() { // it was sent
		s.duration = time.Since(data.ReadStartTime)
	}
	t.report(ctx, s)
}

// TraceBatchEnd implements [pgx.BatchTracer].
func (t *statementTracer) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchEndData) {
	t.end(ctx, operationBatch, 0, data.Err)
}

// TraceCopyFromStart implements [pgx.CopyFromTracer].
func (t *statementTracer) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceCopyFromStartData) context.Context {
	return start(ctx, strings.Join(data.TableName, "."))
}

// TraceCopyFromEnd implements [pgx.CopyFromTracer].
func (t *statementTracer) TraceCopyFromEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceCopyFromEndData) {
	t.end(ctx, operationCopy, data.CommandTag.RowsAffected(), data.Err)
}

// TracePrepareStart implements [pgx.PrepareTracer].
func (t *statementTracer) TracePrepareStart(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	return start(ctx, queryName(data.SQL))
}

// TracePrepareEnd implements [pgx.PrepareTracer].
func (t *statementTracer) TracePrepareEnd(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareEndData) {
	if !data.AlreadyPrepared {
		t.end(ctx, operationPrepare, 0, data.Err)
	}
}

// TraceConnectStart implements [pgx.ConnectTracer].
func (t *statementTracer) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return start(ctx, "")
}

// TraceConnectEnd implements [pgx.ConnectTracer].
func (t *statementTracer) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	t.end(ctx, operationConnect, 0, data.Err)
}

// logStatement writes a line. The trace's id leads to the span beside it.
func logStatement(ctx context.Context, logger *slog.Logger, s statement) {
	level, attrs := slog.LevelInfo, []slog.Attr{slog.Duration("duration", s.duration)}
	if s.name != "" {
		attrs = append(attrs, slog.String("query", s.name))
	}
	switch {
	case s.err != nil:
		level = slog.LevelError
		attrs = append(attrs, slog.Any("error", s.err))
	case s.name != "" && s.operation != operationPrepare:
		attrs = append(attrs, slog.Int64("rows", s.rows))
	}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		attrs = append(attrs, slog.String("trace", span.TraceID().String()))
	}
	logger.LogAttrs(ctx, level, s.operation, attrs...)
}
