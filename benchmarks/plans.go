package main

import (
	"context"
	"fmt"
	"os"
	"runtime/pprof"

	"github.com/rowhouse/rowhouse/store"
)

// plans counts how often the server planned the Store's statements once they were warm, on
// data that has just been analyzed: with what the operations add, teams are more alike.
func (r report) plans(ctx context.Context, h *house, operations []operation) error {
	config, err := h.config()
	if err != nil {
		return err
	}
	pool, err := openPool(ctx, config, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	s := &session{actions: storeActions(store.New(pool))}
	const calls = 20
	r.line("\n## Plans\n\nOf the Store's statements on one connection, in %d calls once it is warm: made anew, and kept ones used (pg_prepared_statements).", calls)
	r.table("operation", "plans made a call", "kept plans used a call")
	for _, op := range operations {
		if op.kind == logRows { // it would add too much, and is one statement as the others
			continue
		}
		inputs, err := op.inputs(h, ctx, 2*calls)
		if err != nil {
			return err
		}
		if err := s.all(ctx, op.kind, inputs[:calls]); err != nil {
			return err
		}
		var made, kept [2]int
		for i := range made {
			// The simple protocol prepares nothing, so it does not count itself.
			if err := pool.QueryRow(ctx, `SELECT coalesce(sum(custom_plans), 0)::int, coalesce(sum(generic_plans), 0)::int
				FROM pg_prepared_statements WHERE statement NOT LIKE '%pg_prepared_statements%'`).Scan(&made[i], &kept[i]); err != nil {
				return err
			}
			if i == 0 {
				if err := s.all(ctx, op.kind, inputs[calls:]); err != nil {
					return err
				}
			}
		}
		r.row(op.name, fmt.Sprintf("%.2f", float64(made[1]-made[0])/calls), fmt.Sprintf("%.2f", float64(kept[1]-kept[0])/calls))
	}
	return nil
}

func startProfile(name string) (end func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}
