package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"renewer/internal/testpki"
	"renewer/internal/testvault"
	"renewer/renewer"
)

// after returns an issuer that has logged in and signed once, of a server that
// then fails as f does.
func after(t *testing.T, f testvault.Fault, cfg func(c *Config)) (*ground, *Issuer) {
	t.Helper()
	g := standIn(t)
	i := g.issuer(t, cfg)
	g.signs(t, i)
	if f != nil {
		g.server.Fail(f)
	}
	return g, i
}

func signError(t *testing.T, i *Issuer) error {
	t.Helper()
	_, err := i.Sign(t.Context(), order(t, nil))
	if err == nil {
		t.Fatal("nothing went wrong")
	}
	return err
}

// check holds what every error must have: class, words, a hint, one line.
func check(t *testing.T, g *ground, err error, class renewer.Class, want ...string) {
	t.Helper()
	text, hint := err.Error(), renewer.Hint(err)
	if got := renewer.ClassOf(err); got != class {
		t.Errorf("class %s, want %s: %v", got, class, err)
	}
	for _, w := range want {
		if !strings.Contains(text+"\n"+hint, w) {
			t.Errorf("%q is not said: %v; hint %q", w, err, hint)
		}
	}
	if hint == "" {
		t.Errorf("no fix: %v", err)
	}
	if strings.ContainsAny(text, "\n\r\t") || len(text) > 700 || !strings.Contains(text, "corp-vault") {
		t.Errorf("it is not one line that names the issuer: %q", text)
	}
	for _, s := range append(g.secrets, "SECRET") {
		if strings.Contains(text+hint, s) {
			t.Errorf("a secret is shown: %v; hint %q", err, hint)
		}
	}
}

func answer(status int, kind, body string, header ...string) testvault.Fault {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", kind)
		for k := 0; k+1 < len(header); k += 2 {
			w.Header().Set(header[k], header[k+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
		return true
	}
}

func TestFaultsOfTheWay(t *testing.T) {
	t.Parallel()
	const js = "application/json"
	echo := func(w http.ResponseWriter, r *http.Request) bool {
		return answer(400, js, fmt.Sprintf(`{"errors":["your token %s\n\nis odd %s"]}`, r.Header.Get("X-Vault-Token"), strings.Repeat("x", 9000)))(w, r)
	}
	inAnHour := func(w http.ResponseWriter, r *http.Request) bool {
		return answer(429, js, `{"errors":["quota"]}`, "Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))(w, r)
	}
	huge := func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", js)
		block := make([]byte, 1<<20)
		for k := range block {
			block[k] = ' '
		}
		for range 100 {
			if _, err := w.Write(block); err != nil {
				return true
			}
		}
		return true
	}
	cut := func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", js)
		w.Header().Set("Content-Length", "5000")
		_, _ = w.Write([]byte(`{"data": {"certificate": "-----BEGIN`))
		panic(http.ErrAbortHandler)
	}
	for name, c := range map[string]struct {
		fault testvault.Fault
		class renewer.Class
		after time.Duration
		want  []string
	}{
		"cut mid-answer":      {fault: cut, class: retry, want: []string{"sign docker@host-b"}},
		"cut JSON":            {fault: answer(200, js, `{"data": {"cert`), class: retry, want: []string{"truncated"}},
		"garbage":             {fault: answer(200, js, "\x00\x01 nonsense"), class: retry, want: []string{"not from Vault"}},
		"garbage in PEM":      {fault: answer(200, js, `{"data":{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}}`), class: retry, want: []string{"is not usable"}},
		"numbers for PEM":     {fault: answer(200, js, `{"data":{"certificate":7,"ca_chain":[8]}}`), class: retry, want: []string{"is not usable"}},
		"no data":             {fault: answer(200, js, `{"data":null}`), class: retry, want: []string{"is not usable", "no certificate"}},
		"empty":               {fault: answer(200, js, ""), class: retry, want: []string{"truncated"}},
		"no content":          {fault: answer(204, js, ""), class: retry, want: []string{"truncated"}},
		"HTML, 200":           {fault: answer(200, "text/html; charset=utf-8", "<html>SECRET"), class: retry, want: []string{"not from Vault", "text/html", "proxy"}},
		"HTML, 502":           {fault: answer(502, "text/html", "<html>SECRET"), class: retry, want: []string{"HTTP 502", "proxy"}},
		"HTML, 404":           {fault: answer(404, "text/html", "<html>SECRET"), class: misconfigured, want: []string{"HTTP 404", "check that address is that of Vault"}},
		"HTML, 503 and after": {fault: answer(503, "text/html", "busy", "Retry-After", "120"), class: retry, after: 2 * time.Minute, want: []string{"HTTP 503"}},
		"100 MB":              {fault: huge, class: retry, want: []string{"larger than 1048576 bytes"}},
		"100 MB of an error": {fault: func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", js)
			w.WriteHeader(http.StatusInternalServerError)
			return huge(w, r)
		}, class: retry, want: []string{"larger than"}},
		"429 and after":   {fault: answer(429, js, `{"errors":["quota"]}`, "Retry-After", "7"), class: retry, after: 7 * time.Second, want: []string{"rate"}},
		"429 and a date":  {fault: inAnHour, class: retry, after: time.Hour, want: []string{"rate"}},
		"503 and after":   {fault: answer(503, js, `{"errors":["Vault is sealed"]}`, "Retry-After", "3"), class: retry, after: 3 * time.Second, want: []string{"sealed", "vault operator unseal"}},
		"after a year":    {fault: answer(503, js, `{"errors":[]}`, "Retry-After", "99999999999"), class: retry, after: longestAsk},
		"after junk":      {fault: answer(503, js, `{"errors":[]}`, "Retry-After", "soon"), class: retry},
		"an echo":         {fault: echo, class: refused, want: []string{"your token [secret], is odd"}},
		"unknown refusal": {fault: answer(418, js, `{"errors":["short and stout"]}`), class: misconfigured, want: []string{"short and stout", "check mount"}},
		"unknown failure": {fault: answer(507, js, `{"errors":["no space"]}`), class: retry, want: []string{"no space"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, i := after(t, c.fault, nil)
			before := g.server.Count("/sign/docker")
			err := signError(t, i)
			check(t, g, err, c.class, c.want...)
			if d := renewer.RetryAfter(err) - c.after; d.Abs() > 5*time.Second {
				t.Errorf("after %s, want %s", renewer.RetryAfter(err), c.after)
			}
			if n := g.server.Count("/sign/docker") - before; n != 1 {
				t.Errorf("it asked %d times: to sign is not idempotent", n)
			}
		})
	}
}

func TestDown(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	i := g.issuer(t, func(c *Config) { c.Address = "https://127.0.0.1:1" })
	check(t, g, signError(t, i), retry, "connection refused", "vault status -address https://127.0.0.1:1")
	check(t, g, i.Health(t.Context()), retry, "connection refused")
}

func TestSlow(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	g.server.Fail(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
	i := g.issuer(t, func(c *Config) { c.timeout = 200 * time.Millisecond })
	check(t, g, signError(t, i), retry, "no answer within 200ms")
	check(t, g, i.Health(t.Context()), retry, "no answer within 200ms")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := g.issuer(t, nil).Sign(ctx, order(t, nil)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// One who gives up waiting for the others' login does not end it.
func TestGivingUpIsOnesOwn(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	i := g.issuer(t, nil)
	asked, proceed := make(chan struct{}, 9), make(chan struct{})
	g.server.Fail(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/login") {
			asked <- struct{}{}
			<-proceed
		}
		return false
	})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { _, err := i.current(ctx); gone <- err }()
	<-asked
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that gave up: %v", err)
	}
	close(proceed)
	g.signs(t, i)
	if n := g.server.Count("/login"); n != 1 {
		t.Errorf("%d logins", n)
	}
}

// Each recorded refusal of an order, by the class and the words that it must
// have. What is not in the table is not a refusal.
func TestRecordedRefusalsOfAnOrder(t *testing.T) {
	t.Parallel()
	table := map[string]struct {
		class renewer.Class
		want  string
	}{
		"error-rate-limit-quota":         {retry, "rate"},
		"error-rate-limit-quota-headers": {retry, "rate"},
		"error-mount-unknown-denied":     {misconfigured, "capabilities"},
		"error-mount-unknown-root":       {misconfigured, "vault secrets list"},
		"error-path-unknown":             {misconfigured, "vault secrets list"},
		"error-method-not-supported":     {misconfigured, "vault secrets list"},
		"error-body-not-json":            {retry, "log"},
		"error-no-token":                 {misconfigured, "policy"},
		"sealed-sign":                    {retry, "unseal"},
		"standby-sign-failover":          {retry, "active node"},
		"standby-sign-redirect":          {retry, "http://vault-1.example.test:8200"},
		"standby-sign-no-active-node":    {retry, "standby"},
		"standby-sign-active-just-gone":  {retry, "standby"},
		"sign-denied":                    {misconfigured, `/sign/docker" { capabilities = ["update"] }`},
		"sign-unknown-role":              {misconfigured, "/roles"},
		"sign-issuer-ref-unknown":        {misconfigured, "/issuers"},
		"sign-issuer-usage-not-allowed":  {misconfigured, "issuing-certificates"},
		"sign-mount-without-issuer":      {misconfigured, "/issuers"},
		"sign-ca-expired":                {refused, "outlive the CA"},
		"sign-ca-expired-30s-truncate":   {misconfigured, "has expired"},
		"sign-past-ca-expiry-err":        {refused, "shorter lifetime"},
		"sign-ttl-and-not-after":         {refused, "not_after"},
		"sign-key-type-not-allowed-ec":   {refused, "key_type"},
		"sign-key-bits-ec-too-small":     {refused, "key_bits"},
		"sign-ip-san-not-allowed":        {refused, "allow_ip_sans"},
		"sign-dns-san-not-allowed":       {refused, "allowed_domains"},
		"sign-cn-missing":                {refused, "require_cn"},
	}
	files, err := filepath.Glob("testdata/sign-*.json")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	g, i := after(t, nil, nil)
	for _, file := range files { // every other one: refused, in the server's words
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if e := g.server.Load(name); e.Response.Status >= 400 {
			if _, ok := table[name]; !ok {
				table[name] = struct {
					class renewer.Class
					want  string
				}{refused, "vault read"}
			}
		}
	}
	for name, c := range table {
		g.server.Fail(nil)
		g.server.Replay("/sign/docker", name)
		if name == "sign-csr-names-not-used-no-cn" || strings.HasPrefix(name, "sign-key-") && c.want == "vault read" {
			c.want = ""
		}
		t.Log(name)
		check(t, g, signError(t, i), c.class, c.want)
	}
}

// Every way in which a login is refused, as recorded.
func TestRecordedRefusalsOfALogin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		class renewer.Class
		want  string
	}{
		"auth-approle-login-bad-role-id":       {misconfigured, "role-id"},
		"auth-approle-login-bad-secret-id":     {misconfigured, "secret-id"},
		"auth-approle-login-role-deleted":      {misconfigured, "secret-id"},
		"auth-approle-login-secret-id-expired": {misconfigured, "expired"},
		"auth-approle-login-secret-id-used-up": {misconfigured, "used up"},
		"auth-approle-login-missing-secret-id": {misconfigured, "check auth"},
		"auth-approle-login-locked-out":        {misconfigured, "locks out for 15 minutes"},
		"auth-approle-login-mount-not-enabled": {misconfigured, "vault auth list"},
		"sealed-approle-login":                 {retry, "unseal"},
		"auth-cert-login-no-client-cert":       {misconfigured, "listener"},
		"auth-cert-login-unknown-ca":           {misconfigured, "Vault does not allow the certificate"},
		"auth-cert-login-cn-not-allowed":       {misconfigured, "Vault does not allow the certificate"},
		"auth-cert-login-unknown-role":         {misconfigured, "Vault does not allow the certificate"},
		"auth-cert-login-expired-client-cert":  {misconfigured, "expired or is not yet valid"},
		"standby-sign-redirect":                {retry, "standby"},
		"error-rate-limit-quota-headers":       {retry, "rate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := standIn(t)
			g.server.Replay("/login", name)
			check(t, g, signError(t, g.issuer(t, nil)), c.class, "log in", c.want)
		})
	}
}

func TestStatesOfTheServer(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"sys-health-sealed": "vault operator unseal", "sys-health-uninitialized": "vault operator init",
		"sys-health-standby-no-active": "no active node", "sys-health-standby": "", "sys-health-unsealed": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := standIn(t)
			g.server.Replay("/sys/health", name)
			err := g.issuer(t, nil).Health(t.Context())
			if want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			check(t, g, err, retry, want)
		})
	}
	t.Run("sealed and unsealed again", func(t *testing.T) {
		t.Parallel()
		g, i := after(t, nil, nil)
		g.server.Seal(true)
		check(t, g, signError(t, i), retry, "sealed")
		check(t, g, i.Health(t.Context()), retry, "sealed")
		g.server.Seal(false)
		g.signs(t, i)
	})
}

// A clock that is wrong is measured, and named where a login is refused.
func TestClock(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{5 * time.Minute, -5 * time.Minute} {
		g := standIn(t)
		g.server.Advance(ahead)
		i := g.issuer(t, nil)
		if _, known := i.ClockOffset(); known {
			t.Error("known before the first answer")
		}
		if err := i.Health(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d, known := i.ClockOffset(); !known || (d-ahead).Abs() > 3*time.Second {
			t.Errorf("the offset is %s, %v; want %s", d, known, ahead)
		}
		g.server.Replay("/login", "auth-approle-login-bad-secret-id")
		want := "ahead of this machine's"
		if ahead < 0 {
			want = "behind this machine's"
		}
		check(t, g, i.LogIn(t.Context()), misconfigured, "Vault's clock is", want)
	}
}

// many orders meet an expired token: one of them logs in.
func TestManyLogInOnce(t *testing.T) {
	t.Parallel()
	g, i := after(t, nil, nil)
	logins := g.server.Count("/login")
	g.revoke(i.session.Load().client.Token())
	var all errgroup.Group
	for range 16 {
		all.Go(func() error {
			_, err := i.Sign(context.WithoutCancel(t.Context()), order(t, nil))
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := g.server.Count("/login") - logins; n != 1 {
		t.Errorf("%d logins", n)
	}
}

// A token that is refused right after a login is not tried for ever.
func TestATokenThatIsNeverTaken(t *testing.T) {
	t.Parallel()
	g, i := after(t, nil, nil)
	g.server.Replay("/sign/docker", "token-expired-sign")
	before := g.server.Count("/sign/docker")
	check(t, g, signError(t, i), misconfigured, "invalid token", "token_num_uses")
	if n := g.server.Count("/sign/docker") - before; n != 2 {
		t.Errorf("it asked %d times", n)
	}
}

// Five wrong tries lock an AppRole out: wrong credentials are not repeated,
// until the files change or an operator asks.
func TestRefusedCredentialsAreHeld(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	right, err := os.ReadFile(g.cfg.Auth.SecretIDFile)
	g.must(err)
	now := time.Now()
	i := g.issuer(t, func(c *Config) {
		c.Auth.SecretIDFile = g.file("secret-id", "wrong")
		c.now = func() time.Time { return now }
	})
	logins := g.server.Count("/login")
	for range 8 {
		check(t, g, signError(t, i), misconfigured, "secret id")
	}
	tried := func(want int, when string) {
		t.Helper()
		if n := g.server.Count("/login") - logins; n != want {
			t.Errorf("%d logins %s, want %d", n, when, want)
		}
	}
	tried(1, "of eight orders")
	now = now.Add(hold)
	_ = signError(t, i)
	tried(2, "after the hold")
	if i.LogIn(t.Context()) == nil {
		t.Error("it logged in")
	}
	tried(3, "when asked to")
	testpki.WriteFile(t, i.cfg.Auth.SecretIDFile, right, 0o600)
	g.signs(t, i)
	tried(4, "with another secret id")
}

// The life of a token, on a clock that both sides share.
func TestTokenLife(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	now := time.Now()
	i := g.issuer(t, func(c *Config) { c.now = func() time.Time { return now } })
	pass := func(d time.Duration) { now = now.Add(d); g.server.Advance(d) }
	logins, renewals := g.server.Count("/login"), g.server.Count("/renew-self")
	did := func(wantLogins, wantRenewals int, when string) {
		t.Helper()
		g.signs(t, i)
		if l, r := g.server.Count("/login")-logins, g.server.Count("/renew-self")-renewals; l != wantLogins || r != wantRenewals {
			t.Errorf("%s: %d logins and %d renewals, want %d and %d", when, l, r, wantLogins, wantRenewals)
		}
	}
	did(1, 0, "first") // token_ttl 20m, token_max_ttl 1h
	pass(13 * time.Minute)
	did(1, 0, "before two thirds")
	pass(time.Minute)
	did(1, 1, "after two thirds")
	pass(14 * time.Minute)
	did(1, 2, "again")
	pass(14 * time.Minute)
	did(1, 3, "a third time") // 42m of 60
	pass(14 * time.Minute)
	did(2, 4, "near the max TTL") // 4m are left: a fresh one
	pass(21 * time.Minute)
	did(3, 4, "long after its end")

	pass(14 * time.Minute)
	g.server.Replay("/renew-self", "auth-cert-renew-self-new-key")
	did(4, 5, "not renewed: the client certificate has a new key")
}

// Between two thirds and the end a server that does not renew and takes no
// login costs nothing.
func TestWhatLastsIsUsed(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	now := time.Now()
	i := g.issuer(t, func(c *Config) { c.now = func() time.Time { return now } })
	g.signs(t, i)
	first := i.session.Load().client.Token()
	now = now.Add(15 * time.Minute)
	g.server.Advance(15 * time.Minute)
	g.server.Replay("/renew-self", "token-renew-self-batch-not-renewable")
	g.server.Replay("/login", "auth-approle-login-locked-out")
	renewals := g.server.Count("/renew-self")
	for range 5 {
		g.signs(t, i)
	}
	if i.session.Load().client.Token() != first || g.server.Count("/renew-self")-renewals != 1 {
		t.Error("it kept asking")
	}
	now = now.Add(6 * time.Minute)
	g.server.Advance(6 * time.Minute)
	check(t, g, signError(t, i), misconfigured, "log in")
}

// A token that may not look itself up or renew itself is used until it is
// refused; then the file is read again.
func TestTokenFile(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	token := g.token("renewer")
	file := g.file("token", token)
	g.server.Replay("/lookup-self", "token-lookup-self-denied-no-default-policy")
	i := g.issuer(t, func(c *Config) { c.Auth = Auth{Method: "token", TokenFile: file} })
	g.signs(t, i)
	if s := i.session.Load(); s.lease != 0 || s.due(time.Now().AddDate(1, 0, 0)) {
		t.Errorf("session %+v", s)
	}
	g.revoke(token)
	testpki.WriteFile(t, file, []byte(g.token("renewer")), 0o600)
	g.signs(t, i)
	g.server.Fail(nil)
	i.session.Store(nil)
	testpki.WriteFile(t, file, []byte(testvault.RootToken), 0o600)
	g.signs(t, i)
	if s := i.session.Load(); s.lease != 0 || s.due(time.Now().AddDate(1, 0, 0)) {
		t.Errorf("the root token: %+v", s)
	}
}

// A listener without TLS is named as that.
func TestAServerWithoutTLS(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	i := g.issuer(t, func(c *Config) { c.Address = strings.Replace(plain.URL, "http:", "https:", 1) })
	if err := i.LogIn(t.Context()); renewer.ClassOf(err) != renewer.ClassMisconfigured || !strings.HasPrefix(renewer.Hint(err), "the server does not use TLS at this address") {
		t.Errorf("%v; hint %q", err, renewer.Hint(err))
	}
}

// A CA of Vault's own TLS that is fixed needs no restart.
func TestTrustIsReadAgain(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	right, err := os.ReadFile(g.cfg.CACert)
	g.must(err)
	other := testpki.New(t).PEM()
	file := g.file("ca.pem", string(right))
	i := g.issuer(t, func(c *Config) { c.CACert = file })
	g.signs(t, i)
	testpki.WriteFile(t, file, other, 0o600)
	i.drop()
	check(t, g, signError(t, i), misconfigured, "ca_cert")
	testpki.WriteFile(t, file, right, 0o600)
	g.signs(t, i)
	if n := g.server.Count("/login"); n != 1 {
		t.Errorf("%d logins; the token was good all the time", n)
	}
}

// Nothing comes from the environment of Vault's own tools.
func TestEnvironmentIsNotPickedUp(t *testing.T) {
	g := standIn(t)
	for k, v := range map[string]string{
		"VAULT_ADDR": "https://127.0.0.1:1", "VAULT_AGENT_ADDR": "https://127.0.0.1:1", "VAULT_TOKEN": "hvs.SECRET-env\n",
		"VAULT_NAMESPACE": "elsewhere", "VAULT_WRAP_TTL": "60s", "VAULT_MAX_RETRIES": "9", "VAULT_CLIENT_TIMEOUT": "1ns",
		"VAULT_PROXY_ADDR": "http://127.0.0.1:1", "VAULT_HTTP_PROXY": "http://127.0.0.1:1", "VAULT_SKIP_VERIFY": "true",
		"VAULT_RATE_LIMIT": "0.001:1", "VAULT_HEADERS": `{"X-Odd":"yes"}`, "VAULT_TLS_SERVER_NAME": "elsewhere", "VAULT_SRV_LOOKUP": "true",
	} {
		t.Setenv(k, v)
	}
	var odd string
	g.server.Fail(func(_ http.ResponseWriter, r *http.Request) bool {
		for _, h := range []string{"X-Odd", "X-Vault-Namespace", "X-Vault-Wrap-Ttl"} {
			odd += r.Header.Get(h)
		}
		if strings.HasSuffix(r.URL.Path, "/login") {
			odd += r.Header.Get("X-Vault-Token")
		}
		return false
	})
	i := g.issuer(t, nil)
	g.signs(t, i)
	if err := errors.Join(i.Health(t.Context()), i.LogIn(t.Context())); err != nil {
		t.Error(err)
	}
	if odd != "" {
		t.Errorf("picked up: %q", odd)
	}
	wrong := g.issuer(t, func(c *Config) { c.CACert = g.file("ca.pem", string(testpki.New(t).PEM())) })
	check(t, g, signError(t, wrong), misconfigured, "unknown authority") // VAULT_SKIP_VERIFY

	// What Vault's client cannot even read does no harm, and stays for others.
	for k, v := range map[string]string{
		"VAULT_SKIP_VERIFY": "banana", "VAULT_CACERT": g.file("nosuch", "") + ".gone", "VAULT_CLIENT_CERT": "/nosuch",
		"VAULT_MAX_RETRIES": "many", "VAULT_RATE_LIMIT": "x", "VAULT_HEADERS": "{", "VAULT_CACERT_BYTES": "junk",
	} {
		t.Setenv(k, v)
		g.signs(t, g.issuer(t, nil))
		if os.Getenv(k) != v {
			t.Errorf("%s is gone", k)
		}
	}
}

func TestNamespace(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	seen := make(chan string, 100)
	g.server.Fail(func(_ http.ResponseWriter, r *http.Request) bool {
		seen <- r.URL.Path + " " + r.Header.Get("X-Vault-Namespace")
		return false
	})
	i := g.issuer(t, func(c *Config) { c.Namespace = "team-a" })
	g.signs(t, i)
	g.must(i.Health(t.Context()))
	close(seen)
	for s := range seen {
		if want := !strings.HasPrefix(s, "/v1/sys/health"); strings.HasSuffix(s, " team-a") != want {
			t.Errorf("%s: sys/health knows no namespace, all else has one", s)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := Config{Name: "corp-vault", Address: "https://vault:8200", Mount: "/pki/docker/", Role: "docker", Auth: Auth{Method: "token", TokenFile: "/t"}}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(c *Config){
		"https":          func(c *Config) { c.Address = "http://vault:8200" },
		"not https":      func(c *Config) { c.Address, c.plain = "http://10.0.0.1:8200", true },
		"without a user": func(c *Config) { c.Address = "https://me:SECRET@vault" },
		"is no mount":    func(c *Config) { c.Mount = "pki/../sys" },
		"is no role":     func(c *Config) { c.Role = "docker/../../seal" },
		"role":           func(c *Config) { c.Role = "" },
		"no auth method": func(c *Config) { c.Auth.Method = "ldap" },
		"method's path":  func(c *Config) { c.Auth.Mount = "../token" },
	} {
		cfg := good
		f(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error()+renewer.Hint(err), name) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := good
	cfg.Address, cfg.plain = "http://127.0.0.1:8200", true
	if _, err := New(cfg); err != nil {
		t.Errorf("plain on loopback, for tests: %v", err)
	}
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	g.enable(g.id+"-k8s", "kubernetes")
	g.write("auth/"+g.id+"-k8s/role/renewer", map[string]any{"token_policies": g.id, "token_ttl": "20m", "test_jwt": "eyJ.SECRET.jwt"})
	auth := Auth{Method: "kubernetes", Mount: g.id + "-k8s", Role: "renewer", JWTFile: g.file("jwt", "eyJ.SECRET.jwt")}
	g.signs(t, g.issuer(t, func(c *Config) { c.Auth = auth }))
	auth.JWTFile = g.file("jwt", "eyJ.SECRET.other")
	check(t, g, signError(t, g.issuer(t, func(c *Config) { c.Auth = auth })), misconfigured, "auth/"+g.id+"-k8s")
}

func TestColons(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "0a": "0a", "0a1b2c": "0a:1b:2c", "abc": "ab:c"} {
		if got := colons(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// What was trusted is trusted while Vault is away, after a restart too; what a
// login reports is the state of now.
func TestRootsAreKeptForWhenVaultIsAway(t *testing.T) {
	t.Parallel()
	g := standIn(t)
	file := filepath.Join(t.TempDir(), "issuers", "roots.pem")
	keeping := func(c *Config) { c.RootsFile = file }
	roots, err := g.issuer(t, keeping).Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g.server.Seal(true)
	defer g.server.Seal(false) // for who cleans up
	again := g.issuer(t, keeping)
	kept, err := again.Roots(t.Context())
	if err != nil || len(kept) != 1 || !kept[0].Equal(roots[0]) {
		t.Fatalf("%v, %v", kept, err)
	}
	if err := again.LogIn(t.Context()); err == nil {
		t.Error("a login at a sealed Vault")
	}
	if _, err := g.issuer(t, nil).Roots(t.Context()); err == nil {
		t.Error("roots of a sealed Vault that no one kept")
	}
}
