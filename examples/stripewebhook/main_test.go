package main

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store/storetest"
)

func environment(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

func TestBadEnvironment(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t)
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer occupied.Close()
	for name, c := range map[string]struct {
		url, secret, addr, says string
	}{
		"no secret":             {url, "", "", secretVariable},
		"an API key":            {url, "sk_test_" + password, "", secretVariable},
		"no database":           {"", secret, "", urlVariable},
		"unreadable URL":        {"postgres://ada:" + password + "@" + password + "@127.0.0.1:1/house", secret, "", urlVariable},
		"slash in the password": {"postgres://ada:1/" + password + "@127.0.0.1:1/house", secret, "", urlVariable},
		"database down":         {"postgres://ada:" + password + "@127.0.0.1:1/house?sslmode=disable", secret, "", "failed to connect"},
		"migrations missing":    {storetest.EmptyURL(t), secret, "", "it lacks 00001_baseline.sql"},
		"occupied address":      {url, secret, occupied.Addr().String(), "in use"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // of one that serves all the same
		defer cancel()
		err := run(ctx, environment(map[string]string{urlVariable: c.url, secretVariable: c.secret, addrVariable: c.addr}), io.Discard)
		require.ErrorContains(t, err, c.says, name)
		require.NotContains(t, err.Error(), password, name)
		require.NotContains(t, err.Error(), secret, name)
	}
}
