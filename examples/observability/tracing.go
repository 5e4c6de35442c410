package main

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// spans makes a span of each statement, batch, COPY, preparation, connection and wait for
// one, inside the span that the context brings; outside of any it makes none.
//
// It is otelpgx with three things of its own. Spans get the names of sqlc's queries, and
// what kind of work they are. Statements of a batch get their time and rows. And errors are
// told without their texts: those of PostgreSQL and of pgx can repeat an argument.
type spans struct {
	*otelpgx.Tracer
	tracer trace.Tracer
}

func newSpans(provider trace.TracerProvider) *spans {
	return &spans{
		Tracer: otelpgx.NewTracer(
			otelpgx.WithTracerProvider(provider),
			otelpgx.WithSpanNameFunc(queryName),
			// The name leads to the text, which is long, and in a service's own SQL may have
			// literals. Without the text otelpgx has no arguments either.
			otelpgx.WithDisableSQLStatementInAttributes(),
		),
		tracer: provider.Tracer("github.com/rowhouse/rowhouse/examples/observability"),
	}
}

// as says what kind of work the span is that otelpgx has begun, if it has.
func as(ctx context.Context, operation string) context.Context {
	trace.SpanFromContext(ctx).SetAttributes(otelpgx.PGXOperationTypeKey.String(operation))
	return ctx
}

// TraceQueryStart implements [pgx.QueryTracer].
func (s *spans) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return as(s.Tracer.TraceQueryStart(ctx, conn, data), operationQuery)
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (s *spans) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	data.Err = withoutValues(data.Err)
	s.Tracer.TraceQueryEnd(ctx, conn, data)
}

// TraceBatchStart implements [pgx.BatchTracer].
func (s *spans) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	return as(s.Tracer.TraceBatchStart(ctx, conn, data), operationBatch)
}

// TraceBatchQuery implements [pgx.BatchTracer]. Otelpgx would make a span without duration
// and rows.
func (s *spans) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return
	}
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(otelpgx.PGXOperationTypeKey.String(operationBatchQuery)),
	}
	if !data.ReadStartTime.IsZero() {
		options = append(options, trace.WithTimestamp(data.ReadStartTime))
	}
	_, span := s.tracer.Start(ctx, queryName(data.SQL), options...)
	if err := withoutValues(data.Err); err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	} else {
		span.SetAttributes(otelpgx.RowsAffectedKey.Int64(data.CommandTag.RowsAffected()))
	}
	span.End()
}

// TraceBatchEnd implements [pgx.BatchTracer].
func (s *spans) TraceBatchEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchEndData) {
	data.Err = withoutValues(data.Err)
	s.Tracer.TraceBatchEnd(ctx, conn, data)
}

// TraceCopyFromStart implements [pgx.CopyFromTracer].
func (s *spans) TraceCopyFromStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromStartData) context.Context {
	return as(s.Tracer.TraceCopyFromStart(ctx, conn, data), operationCopy)
}

// TraceCopyFromEnd implements [pgx.CopyFromTracer].
func (s *spans) TraceCopyFromEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromEndData) {
	data.Err = withoutValues(data.Err)
	s.Tracer.TraceCopyFromEnd(ctx, conn, data)
}

// TracePrepareStart implements [pgx.PrepareTracer].
func (s *spans) TracePrepareStart(ctx context.Context, conn *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	return as(s.Tracer.TracePrepareStart(ctx, conn, data), operationPrepare)
}

// TracePrepareEnd implements [pgx.PrepareTracer].
func (s *spans) TracePrepareEnd(ctx context.Context, conn *pgx.Conn, data pgx.TracePrepareEndData) {
	data.Err = withoutValues(data.Err)
	s.Tracer.TracePrepareEnd(ctx, conn, data)
}

// TraceConnectStart implements [pgx.ConnectTracer].
func (s *spans) TraceConnectStart(ctx context.Context, data pgx.TraceConnectStartData) context.Context {
	return as(s.Tracer.TraceConnectStart(ctx, data), operationConnect)
}

// TraceConnectEnd implements [pgx.ConnectTracer].
func (s *spans) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	data.Err = withoutValues(data.Err)
	s.Tracer.TraceConnectEnd(ctx, data)
}

// TraceAcquireStart implements [pgxpool.AcquireTracer].
func (s *spans) TraceAcquireStart(ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireStartData) context.Context {
	return as(s.Tracer.TraceAcquireStart(ctx, pool, data), operationAcquire)
}

// TraceAcquireEnd implements [pgxpool.AcquireTracer].
func (s *spans) TraceAcquireEnd(ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	data.Err = withoutValues(data.Err)
	s.Tracer.TraceAcquireEnd(ctx, pool, data)
}

// errInClient is what is told of an error that may be about an argument.
var errInClient = errors.New("failed before the server was asked")

// withoutValues returns what may be told of an error. PostgreSQL's messages and details
// quote values (a date that is none, the key that is there already), and so do pgx's, of an
// argument that it can't encode.
func withoutValues(err error) error {
	if err == nil {
		return nil
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		is := "refused"
		if pgErr.ConstraintName != "" {
			is = "breaks " + pgErr.ConstraintName
		}
		return &pgconn.PgError{Severity: pgErr.Severity, Code: pgErr.Code, ConstraintName: pgErr.ConstraintName, Message: is}
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, pgconn.ErrConnClosed} {
		if errors.Is(err, known) {
			return known
		}
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network // which has addresses alone
	}
	return errInClient
}
