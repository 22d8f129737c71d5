package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
	"unicode/utf8"

	"renewer/internal/cleanenv"
	"renewer/internal/procgroup"
	"renewer/renewer"
)

// Exec runs a program for each message, which it gets as JSON on standard
// input. No shell is involved, and nothing of the message is in its arguments
// or its environment, which has nothing of renewer's own either: see package
// cleanenv. It has failed if it exits with something else than 0.
type Exec struct{ Argv []string }

// Send implements Sender.
func (e Exec) Send(ctx context.Context, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	_, err = execute(ctx, e.Argv[0], e.Argv, cleanenv.Of(os.Environ()), append(body, '\n'))
	return err
}

// Check implements Sender.
func (e Exec) Check(context.Context, bool) error {
	if _, err := exec.LookPath(e.Argv[0]); err != nil {
		return renewer.WithHint(fmt.Errorf("its program cannot be run: %w", err), "give the whole path of a program that this account may run")
	}
	return nil
}

// maxOutput is how much of what a program writes is kept.
const maxOutput = 4 << 10

// execute runs a program, under the name argv[0], in a process group of its own, so that what it started
// ends with it. An error holds the end of what it wrote.
func execute(ctx context.Context, program string, argv, env []string, stdin []byte) (output []byte, err error) {
	cmd := exec.CommandContext(ctx, program, argv[1:]...)
	cmd.Args[0] = argv[0]
	var out tail
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = bytes.NewReader(stdin), &out, &out, env
	procgroup.Own(cmd, time.Second)
	err = cmd.Run()
	switch {
	case err == nil:
		return out.data, nil
	case ctx.Err() != nil:
		return out.data, fmt.Errorf("%s was killed: it took too long%s", argv[0], lastWords(out.data))
	case errors.Is(err, exec.ErrNotFound):
		return nil, renewer.WithHint(fmt.Errorf("run %s: %w", argv[0], err), "give the program's whole path")
	}
	return out.data, fmt.Errorf("run %s: %w%s", argv[0], err, lastWords(out.data))
}

// lastWords is the end of what a program wrote: there it says why it failed.
func lastWords(out []byte) string {
	const most = 200
	text := oneLine(strings.ToValidUTF8(string(out), ""))
	if n := len(text) - most; n > 0 {
		for !utf8.RuneStart(text[n]) {
			n++
		}
		text = "…" + text[n:]
	}
	if text == "" {
		return ""
	}
	return ": " + text
}

// tail keeps the end of what is written to it.
type tail struct{ data []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if n := len(t.data) - maxOutput; n > 0 {
		t.data = append(t.data[:0], t.data[n:]...)
	}
	return len(p), nil
}
