package store_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// FuzzMetadata: metadata is recorded, and read as the same JSON, or is refused as invalid,
// by one row and by many alike; whether it is a tree of Go values or JSON already, and
// however deep. What is refused is nested too deep, or jsonb does not hold it.
func FuzzMetadata(f *testing.F) {
	for _, text := range []string{
		`{"a": [null, true, 1.50, "𝄞", {}]}`, `{"a": 1, "a": 2}`, `"\u0000"`, `"\\u0000"`, `"\\\u0000"`, `{"\u0000": 1}`,
		`"\ud800"`, `"\udc00\ud800"`, `"\ud834\udd1e"`, "\"a\xffb\"", "\"\u2028<>&\"", `""`, `{"": ""}`,
		`-0`, `-0.0e-0`, `0e-16384`, `0e99999`, `1e400`, `1e131071`, `1e131072`, `1e-16383`, `1e-16384`, `1E+99999999999999999999`,
		`123456789012345678901234567890.10`, `9007199254740993`, ` 1 `, `[`, ``, `nul`, strings.Repeat("[0,", 100) + "0" + strings.Repeat("]", 100),
		`[` + strings.Repeat(`{"key":"value"},`, 100) + `{}]`, `"` + strings.Repeat("x", 1<<13) + `"`, `"` + strings.Repeat("x", 255) + `\ud83d"`,
	} {
		f.Add(text, byte(0))
	}
	for nested := byte(250); nested != 0; nested++ {
		f.Add(`{"a": "\\\"[[{"}`, nested)
		f.Add(`1`, nested)
	}
	st := storetest.New(f)
	h := newHouse(f, st)
	var runs atomic.Int64
	f.Fuzz(func(t *testing.T, text string, nested byte) { // no transaction, which would be most of the round trips
		depth := int(nested) / 32
		if nested >= 240 { // seldom, because it takes long
			depth = 990 + int(nested-240) // to 1005
		}
		values := []any{json.RawMessage(text)}
		var tree any
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		if decoder.Decode(&tree) == nil {
			values = append(values, tree)
		}
		if !json.Valid([]byte(text)) {
			values = append(values, text)
		}
		if runs.Add(1)%1000 == 0 {
			exec(t, st, "TRUNCATE activity_logs")
		}
		for _, value := range values {
			for range depth {
				value = []any{value}
			}
			checkMetadata(t, st, h, map[string]any{"value": value})
		}
	})
}

func checkMetadata(t *testing.T, st *store.Store, h *house, metadata map[string]any) {
	sent, marshalErr := json.Marshal(metadata)
	row := store.RecordActivity{TeamID: h.team.ID, Action: "EXPORT", Metadata: metadata}
	var one, again json.RawMessage // as they are stored
	read := func(rows int) json.RawMessage {
		logged, _, err := st.TeamActivity(t.Context(), h.team.ID, store.ActivityPage{Page: store.Page{Limit: rows}})
		require.NoError(t, err)
		require.Len(t, logged, rows)
		for _, row := range logged {
			require.Equal(t, logged[0].Metadata, row.Metadata)
		}
		_, err = json.Marshal(logged)
		require.NoError(t, err)
		return logged[0].Metadata
	}
	err := st.RecordActivity(t.Context(), row)
	manyErr := st.RecordActivities(t.Context(), []store.RecordActivity{row, row})
	if err == nil && manyErr == nil {
		one = read(3)
		// What was read can be recorded again.
		var values map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(one, &values))
		row.Metadata = map[string]any{"value": values["value"]}
		require.NoError(t, st.RecordActivity(t.Context(), row))
		again = read(1)
	}
	if err != nil {
		for _, err := range []error{err, manyErr} {
			invalid, ok := errors.AsType[*store.InvalidInputError](err)
			require.True(t, ok, "%T: %v", err, err)
			require.Contains(t, []string{"Metadata", "[0].Metadata"}, invalid.Field)
			require.Regexp(t, `^must (marshal to JSON|not contain a NUL character|be nested at most 1000 deep|be what jsonb can hold)$`, invalid.Reason)
			require.Equal(t, err.Error(), invalid.Error(), "the server's error may have the value")
		}
		if marshalErr == nil && nesting(sent) <= 1000 {
			_, err := st.Conn().Exec(t.Context(), "SELECT $1::text::jsonb", string(sent))
			require.Error(t, err, "jsonb holds it")
		}
		return
	}
	require.NoError(t, manyErr)
	require.LessOrEqual(t, nesting(sent), 1000)
	require.NoError(t, marshalErr)
	require.Equal(t, canonical(t, sent), canonical(t, one))
	require.Equal(t, one, again)
}

// nesting is how many arrays and objects of JSON are in each other.
func nesting(text []byte) (deepest int) {
	depth := 0
	for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
		token, err := decoder.Token()
		if err != nil { // the end, or what is no JSON
			return deepest
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
			deepest = max(deepest, depth)
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
	}
}

// canonical is JSON as jsonb compares it: of a key that comes again the last, and a number
// by its value.
func canonical(t *testing.T, text []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var v any
	require.NoError(t, decoder.Decode(&v))
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for key := range v {
				v[key] = walk(v[key])
			}
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case json.Number:
			return number(t, v.String())
		}
		return v
	}
	return walk(v)
}

// number is a number's digits and how many places they are moved to the left, without
// zeros at their ends.
func number(t *testing.T, text string) [2]string {
	text, negative := strings.CutPrefix(text, "-")
	mantissa, power, _ := strings.Cut(strings.ToLower(text), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	significant := strings.TrimRight(digits, "0")
	if significant == "" {
		return [2]string{"0"}
	}
	exponent := 0
	if power != "" {
		var err error
		exponent, err = strconv.Atoi(power)
		require.NoError(t, err)
	}
	if negative {
		significant = "-" + significant
	}
	return [2]string{significant, strconv.Itoa(exponent - len(fraction) + len(digits) - len(strings.TrimLeft(significant, "-")))}
}
