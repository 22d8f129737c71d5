package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"renewer/internal/secret"
	"renewer/renewer"
)

// The headers of a webhook's request. The signature is
// "v1=" + hex(HMAC-SHA256(key, TIMESTAMP + "." + BODY)), of the bytes as sent;
// the timestamp is that of the try, in seconds since 1970. A receiver that
// refuses old timestamps, and IDs that it has seen, cannot be fed a message
// twice.
const (
	HeaderID        = "Renewer-Id"
	HeaderTimestamp = "Renewer-Timestamp"
	HeaderSignature = "Renewer-Signature"
)

// leastKey is how long the key of a signature has to be, in bytes.
const leastKey = 16

// Webhook posts messages as JSON. The URL is the operator's own: it may lead
// to a private address, and over plain HTTP.
type Webhook struct {
	URLFile  string
	HMACFile string // holds the key of the signature; empty: not signed
	Version  string // of renewer, for User-Agent
}

var webhookClient = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DialContext:       (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		DisableKeepAlives: true, // messages are rare
		// More than the headers of an answer is read by hand.
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	},
}

// Send implements Sender.
func (w Webhook) Send(ctx context.Context, m Message) error {
	target, err := readSecret("URL of the webhook", w.URLFile)
	if err != nil {
		return err
	}
	key := secret.Text{}
	if w.HMACFile != "" {
		if key, err = readSecret("HMAC key of the webhook", w.HMACFile); err != nil {
			return err
		}
		if len(key.Reveal()) < leastKey {
			return renewer.WithHint(fmt.Errorf("the HMAC key in %s has fewer than %d bytes", w.HMACFile, leastKey), "openssl rand -hex 32 makes one")
		}
	}
	return redact(w.post(ctx, target, key, m), target, key)
}

func (w Webhook) post(ctx context.Context, target, key secret.Text, m Message) error {
	u, err := url.Parse(target.Reveal())
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return renewer.WithHint(fmt.Errorf("the webhook's URL in %s cannot be used: %w", w.URLFile, errNoURL), "its first line has to be an https:// URL")
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make the request to the webhook: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "renewer/"+w.Version)
	req.Header.Set(HeaderID, m.ID)
	if !key.IsZero() {
		at := strconv.FormatInt(time.Now().Unix(), 10)
		req.Header.Set(HeaderTimestamp, at)
		req.Header.Set(HeaderSignature, sign(key, at, body))
	}
	resp, err := webhookClient.Do(req)
	if err != nil {
		return fmt.Errorf("post to the webhook at %s: %w", u.Host, bare(err))
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // only to say what is wrong
	return refused("the webhook at "+u.Host, resp, said)
}

// sign returns the value of HeaderSignature.
func sign(key secret.Text, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	_, _ = io.WriteString(mac, timestamp+".") // a hash does not fail
	_, _ = mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// bare takes the URL out of an error of net/http.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// refused makes an error of an answer that is not a success.
func refused(who string, resp *http.Response, said []byte) error {
	switch resp.StatusCode / 100 {
	case 2:
		return nil
	case 3:
		return renewer.WithHint(fmt.Errorf("%s answered %s: redirects are not followed", who, resp.Status), "write the URL that it leads to into the file")
	default:
		err := fmt.Errorf("%s answered %s%s", who, resp.Status, quoted(said))
		return &renewer.Error{Class: renewer.ClassRetry, After: retryAfter(resp), Err: err}
	}
}

func quoted(said []byte) string {
	text := oneLine(strings.ToValidUTF8(string(said), ""))
	if text == "" {
		return ""
	}
	return ": " + cut(text, 200)
}

// retryAfter reads the seconds of RFC 9110, section 10.2.3; a date is left to
// our own backoff.
func retryAfter(resp *http.Response) time.Duration {
	n, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, longest)
}
