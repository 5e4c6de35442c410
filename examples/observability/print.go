package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/exaring/otelpgx"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// output is written to by connections at once, a line at a time. It remembers a failure.
type output struct {
	mu  sync.Mutex
	w   io.Writer
	err error
}

// Write implements [io.Writer].
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.w.Write(p)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("print: %w", err)
	}
	return n, err
}

// spanPrinter prints a span in a line when it has ended, so after those inside it.
type spanPrinter struct{ out io.Writer }

// ExportSpans implements [sdktrace.SpanExporter].
func (p spanPrinter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, s := range spans {
		line := fmt.Sprintf("span trace=%s parent=%s id=%s name=%q duration=%s",
			s.SpanContext().TraceID(), s.Parent().SpanID(), s.SpanContext().SpanID(), s.Name(), s.EndTime().Sub(s.StartTime()))
		for _, a := range s.Attributes() {
			switch a.Key {
			case otelpgx.PGXOperationTypeKey:
				line += " operation=" + a.Value.AsString()
			case otelpgx.RowsAffectedKey:
				line += fmt.Sprintf(" rows=%d", a.Value.AsInt64())
			}
		}
		if description := s.Status().Description; description != "" {
			line += fmt.Sprintf(" error=%q", description)
		}
		if _, err := fmt.Fprintln(p.out, line); err != nil {
			return err
		}
	}
	return nil
}

// Shutdown implements [sdktrace.SpanExporter].
func (spanPrinter) Shutdown(context.Context) error { return nil }

// printMetrics prints what Prometheus would be served, without the buckets, which are many.
func printMetrics(out io.Writer, registry prometheus.Gatherer) error {
	families, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("gather the metrics: %w", err)
	}
	var text strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			return fmt.Errorf("write the metrics: %w", err)
		}
	}
	for line := range strings.Lines(text.String()) {
		if strings.Contains(line, "_bucket{") {
			continue
		}
		if _, err := io.WriteString(out, line); err != nil {
			return err
		}
	}
	return nil
}
