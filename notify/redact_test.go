package notify

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"renewer/internal/secret"
	"renewer/renewer"
)

func TestRedactKeepsWhatIsDecidedOn(t *testing.T) {
	t.Parallel()
	inner := errors.New("token s3cr3t0 refused")
	err := redact(fmt.Errorf("send: %w", &renewer.Error{Class: renewer.ClassRefused, Hint: "use s3cr3t0", After: time.Minute, Err: inner}), secret.New("s3cr3t0"))
	if err.Error() != "send: token [redacted] refused" || renewer.Hint(err) != "use [redacted]" ||
		renewer.ClassOf(err) != renewer.ClassRefused || renewer.RetryAfter(err) != time.Minute || errors.Is(err, inner) {
		t.Errorf("%+v", err)
	}
	if redact(nil, secret.New("x")) != nil {
		t.Error("nil became an error")
	}
}
