package notify

import (
	"errors"
	"fmt"
	"strings"

	"renewer/internal/atomicfile"
	"renewer/internal/secret"
	"renewer/renewer"
)

// readSecret reads a secret from its file. It is read for every message, so
// that a new one needs no reload.
func readSecret(what, file string) (secret.Text, error) {
	data, err := atomicfile.ReadPassphrase(file)
	if err != nil {
		return secret.Text{}, fmt.Errorf("%s: %w", what, err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return secret.Text{}, renewer.WithHint(fmt.Errorf("%s: %s is empty", what, file), "write the secret there, on one line")
	}
	if strings.ContainsAny(text, "\r\n") {
		return secret.Text{}, renewer.WithHint(fmt.Errorf("%s: %s has several lines", what, file), "keep one line, the secret")
	}
	return secret.New(text), nil
}

var (
	errNoURL   = errors.New("it is not a URL")
	errNotSent = errors.New("only a check: nothing is sent")
)
