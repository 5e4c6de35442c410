package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the proxy is said to do to a connection is what both ends see.
func TestProxyFaults(t *testing.T) {
	t.Parallel()
	const request, answer = "0123456789", "abcdefghij"
	for fault, want := range map[wireFault]struct{ request, answer string }{
		"":           {request, answer},
		cutNow:       {"", ""},
		loseRequest:  {"", ""},
		halveRequest: {request[:5], ""},
		loseAnswer:   {request, ""},
		halveAnswer:  {request, answer[:5]},
		delay:        {request, answer},
		blackHole:    {request, answer}, // after a while
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
			require.NoError(t, err)
			defer listener.Close()
			p, err := startProxy("postgres:///?" + url.Values{"host": {dir}}.Encode())
			require.NoError(t, err)
			defer p.close()
			require.False(t, p.strike(cutNow, rand.New(rand.NewPCG(1, 1))), "there is nothing to cut")

			client, err := net.Dial("tcp", p.listener.Addr().String())
			require.NoError(t, err)
			defer client.Close()
			server, err := listener.Accept()
			require.NoError(t, err)
			defer server.Close()
			random := rand.New(rand.NewPCG(1, 1))
			begin := time.Now()
			if fault != "" {
				require.NoError(t, eventually(t.Context(), 5*time.Second, func() error {
					if !p.strike(fault, random) {
						return errors.New("no connection to strike")
					}
					return nil
				}))
			}
			_, _ = io.WriteString(client, request)
			require.Equal(t, want.request, read(server, len(want.request)))
			if want.request == request {
				_, _ = io.WriteString(server, answer)
			}
			require.Equal(t, want.answer, read(client, len(want.answer)))
			switch fault {
			case delay:
				require.Greater(t, time.Since(begin), 20*time.Millisecond)
			case blackHole:
				require.Greater(t, time.Since(begin), 500*time.Millisecond)
			case "":
			default:
				for _, end := range []net.Conn{client, server} {
					_ = end.SetReadDeadline(time.Now().Add(10 * time.Second))
					n, err := end.Read(make([]byte, 1))
					require.Zero(t, n)
					require.NotErrorIs(t, err, net.ErrClosed)
					var timeout net.Error
					require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "it is not cut")
				}
			}
		})
	}
}

// read reads what comes, as much as is expected.
func read(from net.Conn, expected int) string {
	bytes := make([]byte, expected)
	n, _ := io.ReadFull(from, bytes)
	return string(bytes[:n])
}
