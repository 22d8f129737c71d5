package notify

import (
	"errors"

	"renewer/internal/secret"
	"renewer/renewer"
)

// redact returns the error with every secret, and every part of one that a
// library may have cut out of it, hidden in its text. Nothing but the text,
// the class, the hint and the time to wait survives: errors that are wrapped
// hold the secret themselves.
func redact(err error, secrets ...secret.Text) error {
	if err == nil {
		return nil
	}
	return &renewer.Error{
		Class: renewer.ClassOf(err), Hint: secret.RedactText(renewer.Hint(err), secrets...), After: renewer.RetryAfter(err),
		Err: errors.New(secret.RedactText(err.Error(), secrets...)),
	}
}
