package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"renewer/renewer"
)

// lock keeps a second quickstart out of the directory. The kernel lets go of
// it when the process ends, however it ends.
func (h home) lock() (unlock func(), err error) {
	f, err := os.OpenFile(h.in("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(f.Name())
		_ = f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return nil, renewer.WithHint(
			fmt.Errorf("another quickstart is running in %s (process %s)", h.dir, strings.TrimSpace(string(holder))),
			"stop it with Ctrl-C in its terminal, or use another directory: make run QUICKSTART_DIR=var/second")
	}
	err = errors.Join(f.Truncate(0), write(f, fmt.Sprintln(os.Getpid())))
	return func() { _ = f.Close() }, err
}

func write(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}
