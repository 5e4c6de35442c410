package main

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
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

// poolCollector reads a pool's statistics when Prometheus asks.
type poolCollector struct{ pool *pgxpool.Pool }

func newPoolCollector(pool *pgxpool.Pool) prometheus.Collector { return poolCollector{pool} }

// poolNumber is one of the pool's statistics.
type poolNumber struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*pgxpool.Stat) float64
}

func gauge(name, help string, read func(*pgxpool.Stat) int32) poolNumber {
	return poolNumber{prometheus.NewDesc("pgxpool_"+name, help, nil, nil), prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(read(s)) }}
}

func counter(name, help string, read func(*pgxpool.Stat) int64) poolNumber {
	return poolNumber{prometheus.NewDesc("pgxpool_"+name, help, nil, nil), prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(read(s)) }}
}

// Waits are what to watch: a pool that is too small shows in them first.
var poolNumbers = []poolNumber{
	gauge("max_connections", "Connections that the pool may have.", (*pgxpool.Stat).MaxConns),
	gauge("total_connections", "Connections that the pool has: acquired, idle and constructing.", (*pgxpool.Stat).TotalConns),
	gauge("acquired_connections", "Connections that are in use.", (*pgxpool.Stat).AcquiredConns),
	gauge("idle_connections", "Connections that nobody uses.", (*pgxpool.Stat).IdleConns),
	gauge("constructing_connections", "Connections that are being made.", (*pgxpool.Stat).ConstructingConns),
	counter("acquires_total", "Connections that were handed out.", (*pgxpool.Stat).AcquireCount),
	counter("empty_acquires_total", "Of those, the ones that had to wait for a connection.", (*pgxpool.Stat).EmptyAcquireCount),
	counter("canceled_acquires_total", "Waits that a context ended.", (*pgxpool.Stat).CanceledAcquireCount),
	counter("new_connections_total", "Connections that were made.", (*pgxpool.Stat).NewConnsCount),
	counter("max_lifetime_destroys_total", "Connections that were closed for their age.", (*pgxpool.Stat).MaxLifetimeDestroyCount),
	counter("max_idle_destroys_total", "Connections that were closed because nobody used them.", (*pgxpool.Stat).MaxIdleDestroyCount),
	{prometheus.NewDesc("pgxpool_empty_acquire_wait_seconds_total", "Time spent waiting for a connection when none was idle.", nil, nil),
		prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return s.EmptyAcquireWaitTime().Seconds() }},
	{prometheus.NewDesc("pgxpool_acquire_seconds_total", "Time spent acquiring connections.", nil, nil),
		prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return s.AcquireDuration().Seconds() }},
}

// Describe implements [prometheus.Collector].
func (poolCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, n := range poolNumbers {
		descs <- n.desc
	}
}

// Collect implements [prometheus.Collector].
func (c poolCollector) Collect(metrics chan<- prometheus.Metric) {
	stat := c.pool.Stat()
	for _, n := range poolNumbers {
		metrics <- prometheus.MustNewConstMetric(n.desc, n.kind, n.read(stat))
	}
}
