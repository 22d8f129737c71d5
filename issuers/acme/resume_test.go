package acme_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"renewer/internal/testacme"
	"renewer/renewer"
)

func listen(at string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", at)
}

// counter counts the requests to a path, and can end a context at one of them.
type counter struct {
	mu   sync.Mutex
	seen map[string]int
	at   int
	all  int
	then func()
}

func (c *counter) front(_ http.ResponseWriter, r *http.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	c.seen[kind]++
	if c.all++; c.all == c.at {
		c.then()
	}
	return false
}

func (c *counter) count(kind string) int { c.mu.Lock(); defer c.mu.Unlock(); return c.seen[kind] }

// A process that ends at any request of an order leaves what the next one goes on with:
// one account, and no more than two orders.
func TestAnOrderGoesOnAfterACrashAtEachRequest(t *testing.T) {
	t.Parallel()
	for at := 1; ; at++ {
		c := &counter{at: at}
		s := testacme.Start(t, testacme.Options{Front: c.front})
		cfg := configOf(t, s)
		o := orderFor(t)
		ctx, cancel := context.WithCancel(t.Context())
		c.then = cancel
		_, err := open(t, cfg).Sign(ctx, o)
		cancel()
		if err == nil {
			if at < 8 {
				t.Errorf("an order makes %d requests", at-1)
			}
			return
		}
		sign(t, open(t, cfg), o) // another process, with the key that was recorded
		if n := c.count("sign-me-up"); n > 2 {
			t.Errorf("cut off at request %d: %d requests for accounts", at, n)
		}
		if n := c.count("order-plz"); n > 2 {
			t.Errorf("cut off at request %d: %d orders", at, n)
		}
	}
}

// A certificate that was made while renewer was down is fetched, with the key that it was
// made for, and never taken for another.
func TestACertificateThatWasMadeMeanwhileIsFetched(t *testing.T) {
	t.Parallel()
	for _, same := range []bool{true, false} {
		var cut atomic.Bool
		c := &counter{}
		s := testacme.Start(t, testacme.Options{Front: func(w http.ResponseWriter, r *http.Request) bool {
			c.front(w, r)
			if strings.HasPrefix(r.URL.Path, "/certZ/") && !cut.Swap(true) {
				panic(http.ErrAbortHandler)
			}
			return false
		}})
		cfg := configOf(t, s)
		i := open(t, cfg)
		i.SetTimeout(2 * time.Second)
		o := orderFor(t)
		ctx, cancel := context.WithCancel(t.Context())
		c.then = cancel
		first, err := i.Sign(ctx, o)
		cancel()
		if err == nil { // the client asked again within the call
			_ = first
		}
		if !same {
			o.Key = newKey(t)
		}
		sign(t, open(t, cfg), o)
	}
}

// An order that the server takes its time with is left, and is no failure; the next call
// goes on with it.
func TestAnOrderThatIsPendingIsLeftForLater(t *testing.T) {
	t.Parallel()
	var slow atomic.Bool
	slow.Store(true)
	c := &counter{}
	s := testacme.Start(t, testacme.Options{Front: func(w http.ResponseWriter, r *http.Request) bool {
		c.front(w, r)
		if slow.Load() && strings.HasPrefix(r.URL.Path, "/my-order/") {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Replay-Nonce", "bm9uY2U")
			w.Header().Set("Retry-After", "90")
			_, _ = w.Write([]byte(`{"status": "processing"}`))
			return true
		}
		return false
	}})
	i := open(t, configOf(t, s))
	i.SetTimeout(5 * time.Second)
	o := orderFor(t)
	_, err := i.Sign(t.Context(), o)
	if !isLater(err) || renewer.RetryAfter(err) != 90*time.Second {
		t.Fatalf("error %v, after %s", err, renewer.RetryAfter(err))
	}
	slow.Store(false)
	sign(t, i, o)
	if n := c.count("order-plz"); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// A rate limit is waited for as long as the server says.
func TestARateLimitIsWaitedFor(t *testing.T) {
	t.Parallel()
	o := answering("/order-plz", 429, problem, acmeURN+`rateLimited", "detail": "too many"}`, "Retry-After", "7200")
	_, err := open(t, configOf(t, testacme.Start(t, o))).Sign(t.Context(), orderFor(t))
	if !isLater(err) || renewer.RetryAfter(err) != 2*time.Hour {
		t.Errorf("error %v, after %s", err, renewer.RetryAfter(err))
	}
}

// A server that lost its accounts gets the same one again.
func TestAServerThatLostTheAccountGetsItAgain(t *testing.T) {
	t.Parallel()
	a := testacme.Start(t, testacme.Options{})
	b := testacme.Start(t, testacme.Options{Like: a})
	cfg := configOf(t, a)
	i := open(t, cfg)
	sign(t, i, orderFor(t))
	before := accountKey(t, cfg.StateFile)
	a.Become(b)
	cfgB := configOf(t, b)
	must(t, os.WriteFile(cfg.Roots, mustRead(t, cfgB.Roots), 0o600))
	sign(t, i, orderFor(t))
	if after := accountKey(t, cfg.StateFile); after != before {
		t.Error("it is another account")
	}
	must(t, open(t, cfg).LogIn(t.Context()))
}

// An account that was deactivated is said, with what makes another one.
func TestADeactivatedAccountIsSaid(t *testing.T) {
	t.Parallel()
	s := testacme.Start(t, testacme.Options{})
	cfg := configOf(t, s)
	i := open(t, cfg)
	must(t, i.LogIn(t.Context()))
	must(t, i.Deactivate(t.Context()))
	for name, call := range map[string]func() error{
		"log in": func() error { return open(t, cfg).LogIn(t.Context()) },
		"sign":   func() error { _, err := i.Sign(t.Context(), orderFor(t)); return err },
	} {
		err := call()
		if renewer.ClassOf(err) != mis || !strings.Contains(renewer.Hint(err), "rm "+cfg.StateFile) {
			t.Errorf("%s: %v, hint %q", name, err, renewer.Hint(err))
		}
	}
	must(t, os.Remove(cfg.StateFile))
	sign(t, i, orderFor(t))
}

func isLater(err error) bool {
	return err != nil && strings.Contains(err.Error(), renewer.ErrLater.Error()) && renewer.ClassOf(err) == retry
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	return text
}

func accountKey(t *testing.T, file string) string {
	t.Helper()
	text := string(mustRead(t, file))
	_, text, ok := strings.Cut(text, `"key": "`)
	if !ok {
		t.Fatal("no key is kept")
	}
	text, _, _ = strings.Cut(text, `"`)
	return text
}
