package main

import (
	"context"
	"testing"
	"time"

	"github.com/rowhouse/rowhouse/internal/throwaway"
)

func smallHouse(t *testing.T) *house {
	t.Helper()
	server, err := throwaway.Start(t.Context(), throwaway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	h, err := newHouse(t.Context(), server, "small", small)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.stage(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestContendersDoTheSame(t *testing.T) {
	if err := check(t.Context(), smallHouse(t), contenders); err != nil {
		t.Fatal(err)
	}
}
