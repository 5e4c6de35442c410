package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// growthColours are ColorBrewer's and d3's, told apart also where lines cross.
var growthColours = []string{"#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf"}

// chart has a column for each kind of amount, and in it the times of reads and of writes
// and the buffers of both, on logarithmic scales.
func (r *grown) chart() string {
	const left, width, height, gapX, top, legendRow = 56, 320, 210, 64, 40, 15
	rows := []struct {
		title  string
		writes bool
		of     func(point) float64
	}{
		{"reads: µs (p10)", false, point.time},
		{"writes: µs (p10)", true, point.time},
		{"reads: buffers", false, func(p point) float64 { return float64(p.buffers) }},
		{"writes: buffers", true, func(p point) float64 { return float64(p.buffers) }},
	}
	legend := 0
	for _, a := range r.axes {
		for _, writes := range []bool{false, true} {
			legend = max(legend, (len(a.lines(writes))+1)/2)
		}
	}
	block := height + 44 + legend*legendRow + 40
	total, tall := left+len(r.axes)*(width+gapX), top+len(rows)*block
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", total, tall)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", total, tall)
	for column, a := range r.axes {
		x0 := float64(left + column*(width+gapX))
		lowX, highX := float64(a.sizes[0]), float64(a.sizes[len(a.sizes)-1])
		x := func(v float64) float64 { return x0 + width*logShare(v, lowX, highX) }
		for row, panel := range rows {
			y0 := float64(top + row*block)
			value := func(operation int, p point) float64 {
				if a.operations[operation].slow { // a row of many, or it would press the others together
					return panel.of(p) / float64(r.logRows)
				}
				return panel.of(p)
			}
			low, high := math.Inf(1), 0.0
			for _, i := range a.lines(panel.writes) {
				for _, p := range a.points[i] {
					low, high = min(low, value(i, p)), max(high, value(i, p))
				}
			}
			low, high = math.Pow(10, math.Floor(math.Log10(max(low, 1)))), math.Pow(10, math.Ceil(math.Log10(max(high, 2))))
			y := func(v float64) float64 { return y0 + height - height*logShare(max(v, low), low, high) }
			fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" font-weight="bold">%s, by %s</text>`+"\n", x0, y0-12, html.EscapeString(panel.title), html.EscapeString(a.title))
			for tick := low; tick <= high*1.001; tick *= 10 {
				fmt.Fprintf(&b, `<line x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f" stroke="#dddddd"/><text x="%.0f" y="%.1f" text-anchor="end" fill="#555555">%s</text>`+"\n",
					x0, x0+width, y(tick), y(tick), x0-6, y(tick)+4, power(tick))
			}
			for _, n := range a.sizes {
				fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#eeeeee"/><text x="%.1f" y="%.1f" text-anchor="middle" fill="#555555">%s</text>`+"\n",
					x(float64(n)), x(float64(n)), y0, y0+height, x(float64(n)), y0+height+16, power(float64(n)))
			}
			for k, i := range a.lines(panel.writes) {
				colour, dash := growthColours[k%len(growthColours)], ""
				if k >= len(growthColours) {
					dash = ` stroke-dasharray="5 3"`
				}
				name := html.EscapeString(a.operations[i].name)
				if a.operations[i].slow {
					name += ", each"
				}
				var path strings.Builder
				for s, p := range a.points[i] {
					fmt.Fprintf(&path, "%.1f,%.1f ", x(float64(a.sizes[s])), y(value(i, p)))
				}
				fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.TrimSpace(path.String()), colour, dash)
				for s, p := range a.points[i] {
					fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%s, %s %s: %s</title></circle>`+"\n",
						x(float64(a.sizes[s])), y(value(i, p)), colour, name, thousands(a.sizes[s]), a.unit, digits(value(i, p)))
				}
				lx, ly := x0+float64(k%2)*width/2, y0+height+40+float64(k/2*legendRow)
				fmt.Fprintf(&b, `<line x1="%.0f" x2="%.0f" y1="%.0f" y2="%.0f" stroke="%s" stroke-width="3"%s/><text x="%.0f" y="%.0f" font-size="11">%s</text>`+"\n",
					lx, lx+14, ly-4, ly-4, colour, dash, lx+18, ly, name)
			}
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (p point) time() float64 { return spreadOf(p.p10).median }

// power is a number as an axis has it: 100, and from 10⁴ on a power of ten where it is one.
func power(v float64) string {
	exponent := int(math.Round(math.Log10(v)))
	if exponent < 4 || math.Abs(math.Pow(10, float64(exponent))-v) > 0.5 {
		return thousands(int(math.Round(v)))
	}
	return "10" + []string{"⁴", "⁵", "⁶", "⁷", "⁸", "⁹"}[min(exponent-4, 5)]
}

// lines are the operations that write, or those that read.
func (a axis) lines(writes bool) (indices []int) {
	for i, op := range a.operations {
		if op.writes == writes {
			indices = append(indices, i)
		}
	}
	return indices
}

// logShare is where v is between low and high, on a logarithmic scale.
func logShare(v, low, high float64) float64 {
	if high <= low {
		return 0
	}
	return math.Log(v/low) / math.Log(high/low)
}
