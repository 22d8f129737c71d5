//go:build browser

package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"renewer/internal/testfleet"
)

// tab is one page of a browser of its own. What the browser complains about
// (an exception, an error on the console, a breach of the content security
// policy) fails the test.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string
}

// browse shows a fleet in a browser, over a real server.
func browse(t *testing.T, f *testfleet.Fleet) *tab {
	t.Helper()
	st := &fakeState{last: time.Now()}
	s, _ := served(t, Options{Service: &fakeService{}, Port: onLoopback, State: st, Metrics: NewMetrics("1", st), Pages: f, CheckWithin: time.Hour})
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancelAllocator := chromedp.NewExecAllocator(context.Background(), flags...)
	t.Cleanup(cancelAllocator)
	ctx, cancelTab := chromedp.NewContext(ctx)
	t.Cleanup(cancelTab)
	b := &tab{t: t, ctx: ctx, base: "http://" + s.Addr().String()}
	var mu sync.Mutex
	var complaints []string
	complain := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		complaints = append(complaints, fmt.Sprintf(format, args...))
	}
	err := chromedp.Listen(ctx, func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			complain("exception: %+v", e.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			complain("console: %s %+v", e.Type, e.Args)
		case *log.EventEntryAdded:
			complain("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		case *page.EventJavascriptDialogOpening:
			complain("dialog: %s", e.Message)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the contexts end
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("end the browser: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, c := range complaints {
			t.Errorf("the browser complains: %s", c)
		}
	})
	return b
}

// stepTimeout bounds one step in the browser.
const stepTimeout = 30 * time.Second

func inTab[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// called sends a command of the DevTools protocol.
func called[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	return inTab(b, func(ctx context.Context, t *chromedp.Target) (R, error) { return cdp.Call(ctx, t, command, params) })
}

// evaluated returns the value of an expression in the page.
func evaluated[T any](b *tab, expression string) T {
	b.t.Helper()
	return inTab(b, chromedp.Evaluate[T](expression))
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	inTab(b, chromedp.Steps(steps...))
}

func (b *tab) script(text string) {
	b.t.Helper()
	evaluated[int](b, "(() => {"+text+"; return 0})()")
}

func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// until waits for an expression to become true.
func (b *tab) until(expression string) {
	b.t.Helper()
	inTab(b, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(stepTimeout)))
}

// prefer makes the reader's system prefer something: a colour scheme, less motion.
func (b *tab) prefer(name, value string) {
	b.t.Helper()
	called(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: name, Value: value}}})
}

func (b *tab) look(width, height int64, scheme string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
	b.prefer("prefers-color-scheme", scheme)
}

// shoot keeps a picture where BROWSER_SHOTS names a directory.
func (b *tab) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("BROWSER_SHOTS")
	if dir == "" {
		return
	}
	png := inTab(b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		b.t.Fatal(err)
	}
}
