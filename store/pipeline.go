package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// pipeline is a db.DBTX whose statements travel together: one round trip and, outside
// InTx, one transaction. Exec, and so a generated :exec method, queues a statement; the
// first read sends all that is queued with itself, then passes over their results.
//
// A statement of a pipeline takes its snapshot when its turn comes: after a lock that
// an earlier one waited for. That is why an operation locks in a statement of its own.
type pipeline struct {
	s       *Store  // which runs it, unless it is on
	on      session // an attempt's
	batch   pgx.Batch
	room    [3]*pgx.QueuedQuery // of the batch, which so needs none of its own
	queued  int                 // statements before the first read
	sent    bool
	pending []statement // what is read after it, on a session alone
	results pgx.BatchResults
}

type statement struct {
	sql  string
	args []any
}

// pipeline is for one row of something that is written: scanning it runs all of it, as
// [Store.write] does.
func (s *Store) pipeline() *pipeline {
	p := &pipeline{s: s}
	p.batch.QueuedQueries = p.room[:0]
	return p
}

// pipelineOn is for more than one row, or the rows of several statements, within one
// attempt. Its user closes it.
func pipelineOn(conn session) *pipeline {
	p := &pipeline{on: conn}
	p.batch.QueuedQueries = p.room[:0]
	return p
}

// readPipeline runs f, which reads from a pipeline, as [Store.read] does.
func (s *Store) readPipeline(ctx context.Context, f func(*pipeline) error) error {
	return s.read(ctx, func(conn session) error {
		pl := pipelineOn(conn)
		return pl.close(f(pl))
	})
}

func (p *pipeline) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	p.batch.Queue(sql, args...)
	p.queued++
	return pgconn.CommandTag{}, nil
}

// then adds a statement that a Query after the first read will find answered.
func (p *pipeline) then(sql string, args ...any) {
	p.pending = append(p.pending, statement{sql, args})
}

// send sends everything, with the first read in its place, and makes that one's result
// the next.
func (p *pipeline) send(ctx context.Context, conn session, first statement) {
	if p.sent { // a batch can be sent once
		again := p.batch.QueuedQueries[:p.queued]
		p.batch = pgx.Batch{}
		for _, q := range again {
			p.batch.Queue(q.SQL, q.Arguments...)
		}
	}
	p.sent = true
	p.batch.Queue(first.sql, first.args...)
	for _, st := range p.pending {
		p.batch.Queue(st.sql, st.args...)
	}
	p.results = conn.SendBatch(ctx, &p.batch)
	for range p.queued {
		// A failure here fails every later read with the same error.
		_, _ = p.results.Exec()
	}
}

// Query is the first read or, after one, the next of those given to then.
func (p *pipeline) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if p.results == nil {
		p.send(ctx, p.on, statement{sql, args})
	} else {
		p.pending = p.pending[1:]
	}
	return p.results.Query()
}

// QueryRow is the first read. What it scans is there when Scan returns nil: unless the
// pipeline is on a session, the transaction has committed by then.
func (p *pipeline) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return pipelineRow{p, ctx, statement{sql, args}}
}

// close ends the pipeline after a read, whose error it takes: nil is a success only
// when the transaction has committed.
func (p *pipeline) close(err error) error {
	closeErr := p.results.Close()
	if closeErr != nil && (err == nil || errors.Is(err, pgx.ErrNoRows)) {
		return closeErr
	}
	return err
}

type pipelineRow struct {
	p    *pipeline
	ctx  context.Context
	read statement
}

func (r pipelineRow) Scan(dest ...any) error {
	if r.p.on != nil {
		r.p.send(r.ctx, r.p.on, r.read)
		return r.p.results.QueryRow().Scan(into(dest))
	}
	return r.p.s.write(r.ctx, func(conn session) error {
		if r.p.queued == 0 { // alone it needs no batch
			return conn.QueryRow(r.ctx, r.read.sql, r.read.args...).Scan(into(dest))
		}
		r.p.send(r.ctx, conn, r.read)
		return r.p.close(r.p.results.QueryRow().Scan(into(dest)))
	})
}
