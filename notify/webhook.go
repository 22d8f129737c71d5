package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"renewer/internal/netcause"
	"renewer/internal/secret"
	"renewer/renewer"
)

// The headers of a webhook's request, by the Standard Webhooks specification 1.0
// (standardwebhooks.com). The signature is
// "v1," + base64(HMAC-SHA256(key, ID + "." + TIMESTAMP + "." + BODY)), of the
// bytes as sent; the timestamp is that of the attempt, in seconds since 1970. A
// receiver that refuses old timestamps, and IDs that it has seen, cannot be
// made to take a message twice.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// keyPrefix marks a key that is written in base64.
const keyPrefix = "whsec_"

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
	key, err := w.key()
	if err != nil {
		return err
	}
	return redact(w.post(ctx, target, key, m), target, key)
}

// key reads the key of the signature; it is empty if messages are not signed.
func (w Webhook) key() (secret.Text, error) {
	if w.HMACFile == "" {
		return secret.Text{}, nil
	}
	line, err := readSecret("HMAC key of the webhook", w.HMACFile)
	if err != nil {
		return line, err
	}
	const hint = "write a new one there: echo whsec_$(openssl rand -base64 32)"
	if text, ok := strings.CutPrefix(line.Reveal(), keyPrefix); ok {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil { // the error would show a part of the key
			return secret.Text{}, renewer.WithHint(fmt.Errorf("the HMAC key in %s is not base64 after %s", w.HMACFile, keyPrefix), hint)
		}
		line = secret.New(string(raw))
	}
	if len(line.Reveal()) < leastKey {
		return secret.Text{}, renewer.WithHint(fmt.Errorf("the HMAC key in %s has fewer than %d bytes", w.HMACFile, leastKey), hint)
	}
	return line, nil
}

// parse reads the webhook's URL.
func (w Webhook) parse(target secret.Text) (*url.URL, error) {
	u, err := url.Parse(target.Reveal())
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, renewer.WithHint(fmt.Errorf("the webhook's URL in %s cannot be used: %w", w.URLFile, errNoURL), "write one https:// URL into the file")
	}
	return u, nil
}

func (w Webhook) post(ctx context.Context, target, key secret.Text, m Message) error {
	u, err := w.parse(target)
	if err != nil {
		return err
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
	at := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set(HeaderID, m.ID)
	req.Header.Set(HeaderTimestamp, at)
	if !key.IsZero() {
		req.Header.Set(HeaderSignature, sign(key, m.ID, at, body))
	}
	resp, err := webhookClient.Do(req)
	if err != nil {
		return fmt.Errorf("post to the webhook at %s: %w", u.Host, netcause.Of(err))
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // only to say what is wrong
	return refused("the webhook at "+u.Host, resp, said)
}

// sign returns the value of HeaderSignature.
func sign(key secret.Text, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	_, _ = io.WriteString(mac, id+"."+timestamp+".") // a hash does not fail
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// refused makes an error of an answer that is not a success.
func refused(who string, resp *http.Response, said []byte) error {
	switch resp.StatusCode / 100 {
	case 2:
		return nil
	case 3:
		return renewer.WithHint(fmt.Errorf("%s answered %s: redirects are not followed", who, resp.Status), "write the final URL into the file")
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
