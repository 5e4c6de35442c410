package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// metric is what contenders are compared by. Ratios are taken within a round, where the
// machine was equally busy for both, and their median is shown.
type metric struct {
	name string
	of   func(round) float64
	more bool // is better
}

var (
	distantP50 = metric{"p50 at 1 ms", func(r round) float64 { return float64(r.distant) }, false}
	fastPath   = metric{"p10", func(r round) float64 { return float64(r.p10) }, false}
	middle     = metric{"p50", func(r round) float64 { return float64(r.p50) }, false}
	cpu        = metric{"CPU", func(r round) float64 { return float64(r.client + r.server) }, false}
	throughput = metric{"throughput", func(r round) float64 { return r.throughput }, true}
)

// spread is a median with the quartiles around it.
type spread struct{ low, median, high float64 }

func spreadOf(values []float64) spread {
	values = slices.Sorted(slices.Values(values))
	return spread{quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)}
}

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.low, s.high) }

func (m metric) values(f *figures) []float64 {
	values := make([]float64, len(f.rounds))
	for i, r := range f.rounds {
		values[i] = m.of(r)
	}
	return values
}

// ratio is how f compares with to.
func (m metric) ratio(f, to *figures) spread {
	values := m.values(f)
	for i, r := range to.rounds {
		values[i] /= m.of(r)
	}
	return spreadOf(values)
}

func (m metric) median(f *figures) float64 { return spreadOf(m.values(f)).median }

func geometricMean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(values)))
}

// mean is the geometric mean of the ratios of contender i to contender to, over the
// operations in which both take part.
func mean(all []measured, m metric, i, to int) (float64, bool) {
	var ratios []float64
	for _, op := range all {
		if op.figures[i] != nil && op.figures[to] != nil {
			ratios = append(ratios, m.ratio(op.figures[i], op.figures[to]).median)
		}
	}
	return geometricMean(ratios), len(ratios) > 0
}

// counts are medians over the rounds: an allocation more in one of them is the runtime's.
func (f *figures) counts() (allocs, bytes float64) {
	return metric{of: func(r round) float64 { return r.allocs }}.median(f), metric{of: func(r round) float64 { return r.bytes }}.median(f)
}

func (f *figures) cpu() (client, server time.Duration) {
	return time.Duration(metric{of: func(r round) float64 { return float64(r.client) }}.median(f)),
		time.Duration(metric{of: func(r round) float64 { return float64(r.server) }}.median(f))
}

// micro is a time in microseconds with three digits that mean something.
func micro(d time.Duration) string { return digits(float64(d) / 1e3) }

func digits(v float64) string {
	switch {
	case v >= 1000:
		return thousands(int(math.Round(v)))
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
