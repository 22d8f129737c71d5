package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"renewer/renewer"
)

// file puts a secret into a file.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func message(t *testing.T) Message {
	t.Helper()
	s := story(t, event(renewer.EventRolledBack, "docker@h", "h"))
	s.compose("ops", DefaultPace, start)
	m := s.outbox.Message
	if err := DefaultTemplate.render(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// soon is the deadline of a try, shorter than in real life.
func soon(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

const hookKey = "0123456789abcdef-hunter2"

// verifyWebhook is a receiver, written from the Standard Webhooks specification 1.0
// and nothing of this package.
func verifyWebhook(key []byte, h http.Header, body []byte, now time.Time) error {
	id, stamp := h.Get("webhook-id"), h.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || id == "" {
		return fmt.Errorf("id %q, timestamp %q: %w", id, stamp, err)
	}
	if age := now.Sub(time.Unix(seconds, 0)); age.Abs() > 5*time.Minute {
		return fmt.Errorf("the timestamp is %s off", age)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", id, seconds, body)
	for _, s := range strings.Fields(h.Get("webhook-signature")) {
		version, text, _ := strings.Cut(s, ",")
		if got, err := base64.StdEncoding.DecodeString(text); version == "v1" && err == nil && hmac.Equal(got, mac.Sum(nil)) {
			return nil
		}
	}
	return errors.New("no signature fits")
}

// The vector of the specification's own libraries (libraries/go/webhook_test.go), with its
// key as a whsec_ line.
func TestWebhookSignaturesAreStandardWebhooks(t *testing.T) {
	t.Parallel()
	const id, stamp, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", `{"test": 2432232314}`
	key, err := Webhook{HMACFile: file(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}.key()
	if err != nil {
		t.Fatal(err)
	}
	if got := sign(key, id, stamp, []byte(body)); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Error(got)
	}
	h := http.Header{}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", stamp)
	h.Set("webhook-signature", "v1a,bm90IHRoaXMga2luZA== v1,bm90IHRoaXMgb25l "+sign(key, id, stamp, []byte(body)))
	raw, _ := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err := verifyWebhook(raw, h, []byte(body), time.Unix(1614265330, 0)); err != nil {
		t.Error(err)
	}
}

func TestWebhookKeys(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"whsec_" + base64.StdEncoding.EncodeToString([]byte(hookKey)): hookKey, hookKey: hookKey,
		"whsec_c2hvcnQ=": "fewer than 16 bytes", "short": "fewer than 16 bytes", "whsec_hunter2!": "is not base64",
	} {
		key, err := Webhook{HMACFile: file(t, line)}.key()
		switch {
		case err == nil && key.Reveal() == want:
		case err == nil || !strings.Contains(err.Error(), want) || renewer.Hint(err) == "" || strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestWebhookIsSignedAsDocumented(t *testing.T) {
	t.Parallel()
	m := message(t)
	var got Message
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if err := verifyWebhook([]byte(hookKey), r.Header, body, time.Now()); err != nil {
			t.Error(err)
		}
		if err := verifyWebhook([]byte(hookKey), r.Header, append(body, ' '), time.Now()); err == nil {
			t.Error("a changed body is taken")
		}
		if r.Method != http.MethodPost || r.Header.Get("Webhook-Id") != m.ID || r.Header.Get("Content-Type") != "application/json" || r.UserAgent() != "renewer/1.2" {
			t.Errorf("%s %v", r.Method, r.Header)
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	hook := Webhook{URLFile: file(t, srv.URL+"/hunter2-path"), HMACFile: file(t, hookKey), Version: "1.2"}
	if err := hook.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got.ID != m.ID || len(got.Open) != 1 || got.Open[0].Error != "it is rolled_back" || got.Open[0].Means == "" || got.Open[0].Command != "renewer show docker@h" ||
		got.Resolved == nil || !strings.Contains(got.Text, "docker@h") {
		t.Errorf("%+v", got)
	}
	hook.HMACFile = file(t, "short")
	if err := hook.Send(t.Context(), m); err == nil || !strings.Contains(err.Error(), "fewer than 16") {
		t.Error(err)
	}
}

// misbehaving answers in every way in which a receiver should not.
func misbehaving(t *testing.T) (url string, followed *atomic.Int64) {
	t.Helper()
	followed = &atomic.Int64{}
	mux := http.NewServeMux()
	mux.HandleFunc("/500/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no such path: "+r.URL.String()+"\x1b[31m", http.StatusInternalServerError)
	})
	mux.HandleFunc("/429/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	mux.HandleFunc("/moved/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { followed.Add(1) })
	mux.HandleFunc("/slow/", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	endless := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			for chunk := []byte(strings.Repeat("x", 64<<10)); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}
	}
	mux.HandleFunc("/endless/", endless(http.StatusBadGateway))
	mux.HandleFunc("/endlessok/", endless(http.StatusOK))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.CloseClientConnections)
	t.Cleanup(srv.Close)
	return srv.URL, followed
}

func TestWebhookThatMisbehaves(t *testing.T) {
	t.Parallel()
	url, followed := misbehaving(t)
	m := message(t)
	for path, want := range map[string]string{
		"500": "answered 500", "429": "answered 429", "moved": "redirects are not followed", "slow": "deadline exceeded", "endless": "answered 502", "endlessok": "",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			limit := 20 * time.Second
			if path == "slow" {
				limit = 100 * time.Millisecond
			}
			err := Webhook{URLFile: file(t, url+"/"+path+"/hunter2/s3cr3t0?token=hunter2")}.Send(soon(t, limit), m)
			switch {
			case want == "" && err == nil:
			case err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 500:
				t.Error(err)
			case strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "s3cr3t0") || strings.Contains(err.Error(), "\x1b"):
				t.Errorf("it shows a secret, or steers a terminal: %q", err)
			}
			if path == "429" && renewer.RetryAfter(err) != 2*time.Minute {
				t.Error(renewer.RetryAfter(err))
			}
		})
	}
	t.Cleanup(func() {
		if followed.Load() != 0 {
			t.Error("a redirect was followed")
		}
	})
}

func TestWebhookURLs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"ftp://hunter2/x", "hunter2", "https://", "https://hunter2\x7f/", "", "http://a\nhttp://b"} {
		err := Webhook{URLFile: file(t, text)}.Send(t.Context(), message(t))
		if err == nil || strings.Contains(err.Error(), "hunter2") || renewer.Hint(err) == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
	err := Webhook{URLFile: file(t, "http://127.0.0.1:1/hunter2")}.Send(t.Context(), message(t))
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}

func TestExecGetsTheMessageOnStdin(t *testing.T) {
	t.Parallel()
	m := message(t)
	into := filepath.Join(t.TempDir(), "got")
	if err := (Exec{[]string{"tee", into}}).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(into)
	var got Message
	if err := errors.Join(err, json.Unmarshal(data, &got)); err != nil || got.ID != m.ID {
		t.Error(err, got)
	}
	for want, argv := range map[string][]string{
		"… all is lost":                 {"sh", "-c", "cat >&2; echo all is lost >&2; exit 3"},
		"it took too long":              {"sh", "-c", "sleep 1000 & sleep 1000"},
		"executable file not found":     {"nosuch-program"},
		"exit status 1":                 {"false"},
		"no such file or directory":     {"/nosuch/program"},
		"exit status 7: …xxxxxxxxxxxxx": {"sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x; exit 7"},
	} {
		limit := 20 * time.Second
		if want == "it took too long" {
			limit = 100 * time.Millisecond
		}
		err := Exec{argv}.Send(soon(t, limit), m)
		if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(want, "… ")) || len(err.Error()) > 500 {
			t.Errorf("%v: %v", argv, err)
		}
	}
}

// What renewer's service was given, such as credentials, is not for programs of channels.
func TestExecHasAnEmptiedEnvironment(t *testing.T) {
	t.Setenv("RENEWER_TEST_TOKEN", "hunter2")
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/hunter2")
	into := filepath.Join(t.TempDir(), "got")
	if err := (Exec{[]string{"sh", "-c", "env > " + into}}).Send(t.Context(), message(t)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(into)
	if text := string(data); err != nil || strings.Contains(text, "hunter2") || !strings.Contains(text, "PATH=") {
		t.Errorf("%v: %s", err, text)
	}
}

// shoutrrr is a sender whose other end is this test binary.
func shoutrrr(t *testing.T, url string) Shoutrrr {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Shoutrrr{URLFile: file(t, url), Program: self, Argv: []string{"renewer", "deliver"}}
}

func TestShoutrrrReachesRealServices(t *testing.T) {
	t.Parallel()
	m := message(t)
	var bodies, titles atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies.Store(string(body))
		titles.Store(r.Header.Get("Title"))
		_, _ = io.WriteString(w, `{"id":"x"}`)
	}))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	if err := shoutrrr(t, "ntfy://user:hunter2@"+host+"/topic?scheme=http").Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if bodies.Load() != m.Text || titles.Load() != m.Title {
		t.Errorf("ntfy got %q, %q", titles.Load(), bodies.Load())
	}
	if err := shoutrrr(t, "generic://"+host+"/hook?disabletls=yes&template=json").Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(bodies.Load().(string)), &got); err != nil || got["message"] != m.Text || got["title"] != m.Title {
		t.Error(got, err)
	}
	// One that has no way to plain HTTP fails at that, and not before it: it has no titles either.
	if err := shoutrrr(t, "rocketchat://"+host+"/tokenA/tokenB/channel").Send(t.Context(), m); err == nil || !strings.Contains(err.Error(), "http: server gave HTTP response to HTTPS client") {
		t.Error(err)
	}
}

func TestShoutrrrThatMisbehaves(t *testing.T) {
	t.Parallel()
	url, followed := misbehaving(t)
	host := strings.TrimPrefix(url, "http://")
	m := message(t)
	for _, service := range []string{"ntfy", "generic", "mattermost"} {
		for path, want := range map[string]string{
			"500": "500", "moved": "redirects are not followed", "slow": "took too long", "endless": "502", "endlessok": "",
		} {
			t.Run(service+"/"+path, func(t *testing.T) {
				t.Parallel()
				target := map[string]string{
					"ntfy": "ntfy://u:hunter2@" + host + "/" + path + "/s3cr3t0?scheme=http", "generic": "generic://" + host + "/" + path + "/s3cr3t0?disabletls=yes&@x=hunter2",
					"mattermost": "mattermost://" + host + "/s3cr3t0?disabletls=yes",
				}[service]
				if service == "mattermost" { // its path is its own
					target, want = strings.Replace(target, "/s3cr3t0", "/hunter2", 1), "404"
				}
				limit := 20 * time.Second
				if path == "slow" {
					limit = 2 * time.Second
				}
				began := time.Now()
				err := shoutrrr(t, target).Send(soon(t, limit), m)
				switch {
				case want == "" && (err == nil || strings.Contains(err.Error(), "invalid character")): // not JSON, and not all of it
				case err == nil || !strings.Contains(err.Error(), want):
					t.Errorf("%v, want %q", err, want)
				case strings.Contains(err.Error(), "hunter2"), strings.Contains(err.Error(), "s3cr3t0"):
					t.Errorf("it shows a secret: %v", err)
				}
				if time.Since(began) > limit+5*time.Second {
					t.Errorf("it took %s", time.Since(began))
				}
			})
		}
	}
	t.Cleanup(func() {
		if followed.Load() != 0 {
			t.Error("a redirect was followed")
		}
	})
}

func TestShoutrrrURLsAreNotShown(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"nosuch://hunter2@here", "hunter2 is no url", "slack://hunter2", "telegram://hunter2@telegram?chats=1", "discord://hunter2", "ntfy://hunter2:hunter2@127.0.0.1:1/hunter2?scheme=http",
		"generic://127.0.0.1:1/hunter2?disabletls=yes", "smtp://user:hunter2@127.0.0.1:1/?from=a@b.c&to=d@e.f", "logger://hunter2", "gotify://127.0.0.1:1/hunter2hunter2?disabletls=yes",
		"pushover://shoutrrr:hunter2@user/?hunter2=x", "generic+https://hunter2\x7f/",
	} {
		err := shoutrrr(t, url).Send(soon(t, 20*time.Second), message(t))
		if err == nil || strings.Contains(strings.ToLower(err.Error()+renewer.Hint(err)), "hunter2") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
