package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// chart draws, for each operation, where the contenders are beside the Store: their p50
// with a millisecond of network, and their throughput, on logarithmic scales.
func (r report) chart() string {
	const left, width, gap, rowHeight, top = 190, 330, 40, 24, 96
	colours := []string{"#1b1b1b", "#1f77b4", "#9bc4e2", "#17becf", "#2ca02c", "#8c564b", "#ff7f0e", "#d62728", "#9467bd", "#e377c2", "#7f7f7f", "#bcbd22"}
	panels := []struct {
		title     string
		metric    metric
		low, high float64
		ticks     []float64
	}{
		{"p50 at 1 ms, × the Store's: right is slower", distantP50, 0.8, 24, []float64{1, 2, 4, 8, 16}},
		{fmt.Sprintf("calls/s of %d workers, × the Store's: left is slower", workers), throughput, 0.08, 1.6, []float64{0.1, 0.2, 0.4, 0.7, 1}},
	}
	height := top + rowHeight*len(r.all) + 16
	total := left + len(panels)*(width+gap)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", total, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", total, height)
	x := 12.0
	for i, c := range r.contenders {
		fmt.Fprintf(&b, `<circle cx="%.0f" cy="20" r="5" fill="%s"/><text x="%.0f" y="24">%s</text>`+"\n", x, colours[i%len(colours)], x+9, html.EscapeString(c.name))
		x += 24 + 7.2*float64(len(c.name))
	}
	for p, panel := range panels {
		from := float64(left + p*(width+gap))
		at := func(v float64) float64 {
			v = min(max(v, panel.low), panel.high)
			return from + width*math.Log(v/panel.low)/math.Log(panel.high/panel.low)
		}
		fmt.Fprintf(&b, `<text x="%.0f" y="56" font-weight="bold">%s</text>`+"\n", from, html.EscapeString(panel.title))
		for _, tick := range panel.ticks {
			fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#dddddd"/><text x="%.1f" y="%d" text-anchor="middle" fill="#555555">%g</text>`+"\n",
				at(tick), at(tick), top-12, height-16, at(tick), top-18, tick)
		}
		for row, op := range r.all {
			y := top + rowHeight*row
			if p == 0 {
				fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-14, y+4, html.EscapeString(op.name))
			}
			fmt.Fprintf(&b, `<line x1="%.0f" x2="%.0f" y1="%d" y2="%d" stroke="#eeeeee"/>`+"\n", from, from+width, y, y)
			for i := len(op.figures) - 1; i >= 0; i-- { // the Store on top
				if f := op.figures[i]; f != nil {
					v := panel.metric.ratio(f, op.figures[0]).median
					fmt.Fprintf(&b, `<circle cx="%.1f" cy="%d" r="5" fill="%s"><title>%s: %.2f</title></circle>`+"\n",
						at(v), y, colours[i%len(colours)], html.EscapeString(r.contenders[i].name), v)
				}
			}
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
