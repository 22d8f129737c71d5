package acme

import (
	"context"
	"fmt"
	"strings"
)

// fileSolver puts the answer to http-01 into a directory that a web server serves, on
// this machine or another.
type fileSolver struct{ files Files }

func (*fileSolver) kind() string { return HTTP01 }

func (s *fileSolver) hint(c challenge) string {
	return "the web server on port 80 of the name must serve " + s.files.Where() + ": curl http://" + c.Identifier.Value + wellKnown + "x"
}

func (s *fileSolver) present(ctx context.Context, c challenge) error {
	name, err := fileOf(c)
	if err == nil {
		err = s.files.Put(ctx, name, []byte(c.KeyAuthorization))
	}
	return err
}

func (s *fileSolver) cleanUp(ctx context.Context, c challenge) error {
	name, err := fileOf(c)
	if err == nil {
		err = s.files.Remove(ctx, name)
	}
	return err
}

// check writes and removes a file.
func (s *fileSolver) check(ctx context.Context) error {
	const name = wellKnown + "renewer-check"
	if err := s.files.Put(ctx, name[1:], []byte("renewer check\n")); err != nil {
		return err
	}
	return s.files.Remove(ctx, name[1:])
}

// fileOf is where the web server looks for an answer. The token is the server's, and
// becomes a part of a path: it must be what RFC 8555, section 8.3, says it is.
func fileOf(c challenge) (string, error) {
	if c.Token == "" || strings.ContainsFunc(c.Token, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) {
		return "", fmt.Errorf("the token of the challenge, %q, is not base64url", clean(c.Token))
	}
	return wellKnown[1:] + c.Token, nil
}
