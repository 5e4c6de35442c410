package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/pgxpoolprometheus"
	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/tracelog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// marked are people with nothing about them that may not be known again.
func marked() *people {
	return &people{
		owner: "marker-owner@example.com", guest: "marker-guest@example.com",
		name: "Marker Name", team: "Marker Team", hash: "marker-hash",
		ip: netip.MustParseAddr("198.51.100.77"), metadata: map[string]any{"marker-key": "marker-value"},
		customer: "cus_marker", subscription: "sub_marker", event: "evt_marker",
	}
}

// seen is all that was exported while something was done.
type seen struct {
	spans   tracetest.SpanStubs
	log     string // JSON, a line each
	metrics string
}

// text is everything, as a back end would get it.
func (s seen) text(t *testing.T) string {
	t.Helper()
	spans, err := json.Marshal(s.spans)
	require.NoError(t, err)
	return string(spans) + s.log + s.metrics
}

// leaks lists what of the people is in a text, in any of the forms in which an argument
// may be printed.
func (p *people) leaks(text string) []string {
	text = strings.ToLower(text)
	var found []string
	hash := sha256.Sum256([]byte(p.token))
	for what, value := range map[string]string{
		"a marker": "marker", "the IP address": p.ip.String(),
		"the token": string(p.token), "its hash": hex.EncodeToString(hash[:]), "its hash as numbers": strings.Trim(fmt.Sprint(hash[:]), "[]"),
	} {
		if value != "" && strings.Contains(text, strings.ToLower(value)) {
			found = append(found, what)
		}
	}
	return found
}

// watch does something on a database with the given tracers, the example's for nil.
func watch(t *testing.T, configure func(*pgxpool.Config), tracers func(*sdktrace.TracerProvider, *slog.Logger) pgx.QueryTracer, do func(context.Context, *sdktrace.TracerProvider, *pgxpool.Pool) error) seen {
	t.Helper()
	config, err := pgxpool.ParseConfig(storetest.URL(t))
	require.NoError(t, err)
	if configure != nil {
		configure(config)
	}
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	log := new(bytes.Buffer)
	logger := slog.New(slog.NewJSONHandler(&output{w: log}, nil))
	registry := prometheus.NewPedanticRegistry()
	if tracers == nil {
		require.NoError(t, instrument(config, provider, logger, registry))
	} else {
		config.ConnConfig.Tracer = tracers(provider, logger)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer pool.Close()
	require.NoError(t, registry.Register(pgxpoolprometheus.NewCollector(pool, nil)))

	require.NoError(t, do(t.Context(), provider, pool))
	families, err := registry.Gather()
	require.NoError(t, err)
	var metrics bytes.Buffer
	for _, family := range families {
		_, err := expfmt.MetricFamilyToText(&metrics, family)
		require.NoError(t, err)
	}
	return seen{exporter.GetSpans(), log.String(), metrics.String()}
}

func working(p *people) func(context.Context, *sdktrace.TracerProvider, *pgxpool.Pool) error {
	return func(ctx context.Context, provider *sdktrace.TracerProvider, pool *pgxpool.Pool) error {
		return work(ctx, provider.Tracer("test"), store.New(pool), p)
	}
}

// Whatever pgx does with arguments before it sends them.
func TestNothingOfAnArgumentIsSeen(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			p := marked()
			got := watch(t, func(config *pgxpool.Config) { config.ConnConfig.DefaultQueryExecMode = mode }, nil, working(p))
			require.NotEmpty(t, p.token)
			require.Greater(t, len(got.spans), 40)
			require.Greater(t, strings.Count(got.log, "\n"), 30)
			require.Empty(t, p.leaks(got.text(t)), got.text(t))
		})
	}
}

// The test above would find what other ways to trace let through: these do.
func TestOthersShowArguments(t *testing.T) {
	t.Parallel()
	for name, tracers := range map[string]func(*sdktrace.TracerProvider, *slog.Logger) pgx.QueryTracer{
		"otelpgx, by the texts of errors": func(provider *sdktrace.TracerProvider, _ *slog.Logger) pgx.QueryTracer {
			return otelpgx.NewTracer(otelpgx.WithTracerProvider(provider))
		},
		"otelpgx with parameters": func(provider *sdktrace.TracerProvider, _ *slog.Logger) pgx.QueryTracer {
			return otelpgx.NewTracer(otelpgx.WithTracerProvider(provider), otelpgx.WithIncludeQueryParameters())
		},
		"tracelog": func(_ *sdktrace.TracerProvider, logger *slog.Logger) pgx.QueryTracer {
			return &tracelog.TraceLog{LogLevel: tracelog.LogLevelInfo, Logger: tracelog.LoggerFunc(func(ctx context.Context, _ tracelog.LogLevel, msg string, data map[string]any) {
				logger.InfoContext(ctx, msg, "data", fmt.Sprint(data))
			})}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := marked()
			got := watch(t, nil, tracers, working(p))
			require.Contains(t, p.leaks(got.text(t)), "a marker")
			if !strings.HasSuffix(name, "errors") {
				require.Subset(t, p.leaks(got.text(t)), []string{"a marker", "the IP address"})
			}
		})
	}
}

// queries are the statements of work, by the names that they have in queries/*.sql, with the
// rows of their last run that succeeded.
var queries = map[string]int64{
	"SignUp": 0, "IsEmailTaken": 1, "LockTeam": 1, "InviteMember": 1, "LockInvitation": 1, "SignUpWithInvitation": 1,
	"LeaveTeam": 1, "GetTeam": 1, "ListTeamMembers": 2, "GetCredentials": 1, "RecordUserActivity": 1, "UpdateAccount": 1,
	"LinkStripeCustomer": 1, "LockTeamOfCustomer": 1, "ApplySubscription": 1, "RecordActivities": 1, "ListTeamActivityPage": 11,

	"BEGIN": 0, "COMMIT": 0, "ROLLBACK": 0, // of transactions
	"activity_logs": 2, // the table of the COPY
}

// Each of the three has each statement, alone, in a batch or a transaction, with its name,
// its kind, its time and its rows, and what failed with why.
func TestWhatIsSeen(t *testing.T) {
	t.Parallel()
	got := watch(t, nil, nil, working(marked()))
	type span struct {
		rows   int64
		failed string
	}
	last := make(map[[2]string]span) // by operation and name

	// Spans.
	requests := 0
	byID := make(map[string]tracetest.SpanStub)
	for _, stub := range got.spans {
		byID[stub.SpanContext.SpanID().String()] = stub
	}
	for _, stub := range got.spans {
		attributes := make(map[attribute.Key]attribute.Value)
		for _, a := range stub.Attributes {
			attributes[a.Key] = a.Value
		}
		operation := attributes[otelpgx.PGXOperationTypeKey].AsString()
		if operation == "" {
			requests++
			continue
		}
		require.Positive(t, stub.EndTime.Sub(stub.StartTime), "%s %s", operation, stub.Name)
		require.True(t, stub.Parent.IsValid(), "%s %s is in no request", operation, stub.Name)
		if operation == operationBatchQuery {
			require.Equal(t, "batch start", byID[stub.Parent.SpanID().String()].Name)
		}
		last[[2]string{operation, strings.Trim(strings.TrimPrefix(stub.Name, "copy_from "), `"`)}] = span{attributes[otelpgx.RowsAffectedKey].AsInt64(), stub.Status.Description}
	}
	require.Equal(t, 14, requests, "spans of work itself")
	inSpans := make(map[string]int64)
	for key, s := range last {
		if s.failed == "" && slices.Contains([]string{operationQuery, operationBatchQuery, operationCopy}, key[0]) {
			inSpans[key[1]] = s.rows
		}
	}
	require.Equal(t, queries, inSpans)
	require.Equal(t, "ERROR: breaks users_email_unique (SQLSTATE 23505)", last[[2]string{operationQuery, "InsertUser"}].failed)
	require.Equal(t, errInClient.Error(), last[[2]string{operationQuery, "SELECT"}].failed)
	require.Contains(t, last, [2]string{operationConnect, "connect"})
	require.Contains(t, last, [2]string{operationAcquire, "pool.acquire"})
	require.Contains(t, last, [2]string{operationPrepare, "SignUp"})

	// The log.
	inLog, errs := make(map[string]int64), []string{}
	for line := range strings.Lines(got.log) {
		var l struct {
			Level, Msg, Query, Error, Trace string
			Rows                            *int64
			Duration                        time.Duration
		}
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		require.Positive(t, l.Duration, line)
		require.Len(t, l.Trace, 32, line)
		switch {
		case l.Level == "ERROR":
			errs = append(errs, l.Msg+" "+l.Query+": "+l.Error)
		case l.Rows != nil:
			inLog[l.Query] = *l.Rows
		default:
			require.Contains(t, []string{operationPrepare, operationBatch, operationConnect}, l.Msg)
		}
	}
	require.Equal(t, queries, inLog)
	require.Equal(t, []string{
		"query SELECT: ERROR: refused (SQLSTATE 22P02)",
		"query SELECT: " + errInClient.Error(),
		"query InsertUser: ERROR: breaks users_email_unique (SQLSTATE 23505)",
	}, errs)

	// The numbers.
	for name := range queries {
		require.Regexp(t, `(?m)^db_statement_duration_seconds_count{operation="(query|batch query|copy)",query="`+name+`",sqlstate=""} [1-9]`, got.metrics)
		require.Regexp(t, `(?m)^db_statement_duration_seconds_sum{operation="(query|batch query|copy)",query="`+name+`",sqlstate=""} [0-9.]*[1-9]`, got.metrics)
		require.Regexp(t, `(?m)^db_statement_rows_total{operation="(query|batch query|copy)",query="`+name+`"} \d`, got.metrics)
	}
	for _, line := range []string{
		`db_statement_rows_total{operation="query",query="ListTeamActivityPage"} 11`,
		`db_statement_rows_total{operation="copy",query="activity_logs"} 2`,
		`db_statement_duration_seconds_count{operation="query",query="InsertUser",sqlstate="23505"} 1`,
		`db_statement_duration_seconds_count{operation="query",query="SELECT",sqlstate="client"} 1`,
		`db_statement_duration_seconds_count{operation="query",query="SELECT",sqlstate="22P02"} 1`,
		`pgxpool_acquired_conns 0`,
		`pgxpool_idle_conns 1`,
		`pgxpool_new_conns_count 1`,
	} {
		require.Contains(t, got.metrics, "\n"+line+"\n")
	}
}

// Where there is no server, and where a caller gave up.
func TestWhatIsSeenOfTrouble(t *testing.T) {
	t.Parallel()
	got := watch(t, func(config *pgxpool.Config) {
		config.ConnConfig.Host, config.ConnConfig.Port, config.ConnConfig.Fallbacks = "127.0.0.1", 1, nil
		config.ConnConfig.Password = "marker-password"
	}, nil, func(ctx context.Context, provider *sdktrace.TracerProvider, pool *pgxpool.Pool) error {
		ctx, span := provider.Tracer("test").Start(ctx, "ping")
		defer span.End()
		require.Error(t, pool.Ping(ctx))
		return nil
	})
	require.Regexp(t, `"msg":"connect","duration":\d+,"error":"dial tcp 127.0.0.1:1: [^"]*refused`, got.log)
	require.Regexp(t, `db_statement_duration_seconds_count{operation="connect",query="",sqlstate="client"} [1-9]`, got.metrics)
	require.Empty(t, marked().leaks(got.text(t)), got.text(t))

	got = watch(t, nil, nil, func(ctx context.Context, provider *sdktrace.TracerProvider, pool *pgxpool.Pool) error {
		ctx, span := provider.Tracer("test").Start(ctx, "wait")
		defer span.End()
		require.NoError(t, pool.Ping(ctx))
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err := pool.Exec(ctx, "SELECT pg_sleep(60), $1::text", marked().name)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return nil
	})
	require.Contains(t, got.log, `"query":"SELECT","error":"context deadline exceeded"`)
	require.Contains(t, got.metrics, `{operation="query",query="SELECT",sqlstate="client"} 1`)
	require.Empty(t, marked().leaks(got.text(t)), got.text(t))
}

func TestQueryName(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"-- name: SignUp :one\nWITH new_user":  "SignUp",
		"begin isolation level read committed": "BEGIN",
		"-- a comment\nselect 'marker'":        "SELECT",
		"select'marker'":                       "SELECT",
		"savepoint sp_1":                       "SAVEPOINT",
		"":                                     "UNKNOWN",
		"'marker'":                             "",
	} {
		require.Equal(t, want, queryName(sql), sql)
	}
}

func TestWithoutValues(t *testing.T) {
	t.Parallel()
	full := &pgconn.PgError{Severity: "ERROR", Code: "23505", Message: "marker", Detail: "marker", Hint: "marker", Where: "marker", ConstraintName: "users_email_unique", InternalQuery: "marker"}
	safe := withoutValues(fmt.Errorf("marker: %w", full))
	require.NotContains(t, fmt.Sprintf("%+v", safe), "marker")
	pgErr, ok := errors.AsType[*pgconn.PgError](safe)
	require.True(t, ok)
	require.Equal(t, "23505", pgErr.Code)
	require.Equal(t, context.Canceled, withoutValues(fmt.Errorf("marker: %w", context.Canceled)))
	require.Equal(t, errInClient, withoutValues(errors.New("failed to encode args[0]: marker")))
	require.NoError(t, withoutValues(nil))
}

// What is printed has all three; a second run on the database works as well.
func TestRun(t *testing.T) {
	t.Parallel()
	for _, databaseURL := range []string{"", storetest.EmptyURL(t)} {
		for range 2 {
			var out bytes.Buffer
			require.NoError(t, run(t.Context(), func(name string) string {
				if name == urlVariable {
					return databaseURL
				}
				return ""
			}, &out))
			require.Regexp(t, `(?m)^span .* name="SignUp" duration=\S+ operation=query rows=1$`, out.String())
			require.Regexp(t, `(?m)^time=\S+ level=INFO msg="batch query" duration=\S+ query=InviteMember rows=1 trace=`, out.String())
			require.Regexp(t, `(?m)^pgxpool_max_conns \d+$`, out.String())
			require.NotContains(t, out.String(), "example.com")
		}
	}
	err := run(t.Context(), func(string) string { return "postgres://user:s3cret@[/app" }, new(bytes.Buffer))
	require.ErrorContains(t, err, "DATABASE_URL can't be read")
	require.NotContains(t, err.Error(), "s3cret")
}
