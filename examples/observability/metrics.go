package main

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
)

// statementMetrics are how long statements take and how many rows they have, by the names
// of queries: a label has as many values as the code has queries.
type statementMetrics struct {
	duration *prometheus.HistogramVec
	rows     *prometheus.CounterVec
}

func newStatementMetrics(registry prometheus.Registerer) (*statementMetrics, error) {
	m := &statementMetrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "db_statement_duration_seconds",
			Help:    "Time from sending a statement to the end of its result.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}, []string{"operation", "query", "sqlstate"}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "db_statement_rows_total",
			Help: "Rows that statements returned or changed.",
		}, []string{"operation", "query"}),
	}
	return m, errors.Join(registry.Register(m.duration), registry.Register(m.rows))
}

// observe counts a statement. Its sqlstate is empty when it succeeded, "client" when it
// failed otherwise than by the server's refusal.
func (m *statementMetrics) observe(s statement) {
	state := ""
	if s.err != nil {
		state = "client"
		if pgErr, ok := errors.AsType[*pgconn.PgError](s.err); ok {
			state = pgErr.Code
		}
	}
	m.duration.WithLabelValues(s.operation, s.name, state).Observe(s.duration.Seconds())
	if s.err == nil && s.name != "" && s.operation != operationPrepare {
		m.rows.WithLabelValues(s.operation, s.name).Add(float64(s.rows))
	}
}
