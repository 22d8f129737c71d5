//go:build browser

package server

// The status page in a real browser: Debian's Chromium, without a window.

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"renewer/internal/testfleet"
	"renewer/renewer"
	"renewer/renewer/problems"
)

var everyPage = []string{
	"/", "/?q=docker&status=attention", "/hosts", "/hosts/host-d", "/hosts/host-f", "/issuers", "/trust", "/events", "/certificates/docker@host-e", "/certificates/docker@host-c",
	"/certificates/new-service", "/runbooks", "/runbooks/RenewerRolloutBlocked",
}

// lowContrast lists text that stands out too little from its ground (WCAG 2.2,
// 1.4.3: 4.5 to 1, and 3 to 1 for large text).
const lowContrast = `(() => {
  const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return { rgb: m.slice(0, 3), a: m.length > 3 ? m[3] : 1 }; };
  const lum = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const g = parse(getComputedStyle(e).backgroundColor); if (g.a === 1) return g.rgb; } return [255, 255, 255]; };
  const out = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  for (let n; (n = walker.nextNode());) {
    const e = n.parentElement, s = getComputedStyle(e);
    if (!n.data.trim() || !e.checkVisibility() || e.closest(".unseen, .skip, script, option")) continue;
    seen++;
    const a = lum(parse(s.color).rgb), b = lum(ground(e)), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(s.fontSize), large = size >= 24 || size >= 18.66 && s.fontWeight >= 700;
    if (ratio < (large ? 3 : 4.5)) out.push(n.data.trim().slice(0, 40) + " " + ratio.toFixed(2) + " " + s.color);
  }
  if (seen < 10) out.push("only " + seen + " pieces of text were measured");
  return out;
})()`

// tooWide lists what reaches beyond the right edge.
const tooWide = `(() => {
  const w = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= w) return [];
  return ["scrollWidth " + document.documentElement.scrollWidth + " of " + w].concat([...document.body.querySelectorAll("*")]
    .filter(e => e.getBoundingClientRect().right > w + 1 && !e.closest(".unseen, thead")).map(e => e.tagName + "." + e.className).slice(0, 5));
})()`

func TestInBrowserEveryPageIsReadableAtEveryWidthAndInEveryLight(t *testing.T) {
	b := browse(t, testfleet.EveryState(time.Now()))
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{320, 800, 1280} {
			b.look(width, 900, scheme)
			for _, path := range everyPage {
				b.open(path)
				what := fmt.Sprintf("%s, %s, %d wide", path, scheme, width)
				if got := evaluated[[]string](b, lowContrast); len(got) > 0 {
					t.Errorf("%s: low contrast: %q", what, got)
				}
				if got := evaluated[[]string](b, tooWide); len(got) > 0 {
					t.Errorf("%s: too wide: %q", what, got)
				}
				b.shoot(fmt.Sprintf("%s-%d%s", scheme, width, strings.NewReplacer("/", "_", "?", "_", "&", "_").Replace(path)))
			}
		}
	}
	light := evaluated[string](b, `getComputedStyle(document.body).backgroundColor`)
	b.look(1280, 900, "light")
	if dark := evaluated[string](b, `getComputedStyle(document.body).backgroundColor`); light == dark {
		t.Errorf("light and dark are the same: %s", dark)
	}
}

func TestInBrowserScreenReadersFindLandmarksHeadingsAndNames(t *testing.T) {
	b := browse(t, testfleet.EveryState(time.Now()))
	for _, path := range everyPage {
		b.open(path)
		nodes := called(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
		roles := map[string]int{}
		for _, n := range nodes {
			if n.Ignored || n.Role == nil {
				continue
			}
			role := strings.Trim(string(n.Role.Value), `"`)
			roles[role]++
			named := n.Name != nil && strings.Trim(string(n.Name.Value), `" `) != ""
			switch role {
			case "link", "button", "textbox", "searchbox", "combobox", "heading", "table", "columnheader", "rowheader", "image", "img", "navigation", "region", "search":
				if !named {
					t.Errorf("%s: a %s without a name (%v)", path, role, n.BackendDOMNodeID)
				}
			}
		}
		for _, role := range []string{"banner", "navigation", "main", "contentinfo", "heading", "status"} {
			if roles[role] == 0 {
				t.Errorf("%s: no %s; there are %v", path, role, roles)
			}
		}
		if got := evaluated[int](b, `document.querySelectorAll("h1").length`); got != 1 {
			t.Errorf("%s has %d first headings", path, got)
		}
		if got := evaluated[[]string](b, `[...document.querySelectorAll("h1,h2,h3,h4")].map(h => h.tagName).filter((t, i, all) => i && t[1] - all[i-1][1] > 1)`); len(got) > 0 {
			t.Errorf("%s leaves a level of headings out before %q", path, got)
		}
		if got := evaluated[[]string](b, `[...document.querySelectorAll("th:not([scope])")].map(e => e.textContent)`); len(got) > 0 {
			t.Errorf("%s: table headers without a scope: %q", path, got)
		}
		if got := evaluated[[]string](b, `(ids => ids.filter((id, i) => ids.indexOf(id) !== i))([...document.querySelectorAll("[id]")].map(e => e.id))`); len(got) > 0 {
			t.Errorf("%s: the same id twice: %q", path, got)
		}
	}
	b.look(320, 900, "light") // the rows are blocks now, and must stay rows
	b.open("/")
	if got := evaluated[int](b, `document.querySelectorAll('table.certificates [role="cell"]').length`); got == 0 {
		t.Error("narrow: the table has no cells")
	}
}

func TestInBrowserWorksWithoutScript(t *testing.T) {
	b := browse(t, testfleet.EveryState(time.Now()))
	called(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.look(1280, 900, "light") // narrow, a field sorts
	b.open("/")
	b.do(chromedp.Focus(chromedp.CSS(`input[name="q"]`)), chromedp.KeyEvent("host-b"+kb.Enter), chromedp.WaitReady(chromedp.CSS(`a[href="/#certificates"]`)))
	html := inTab(b, chromedp.OuterHTML(chromedp.CSS(`table.certificates`)))
	if !strings.Contains(html, "docker@host-b") || strings.Contains(html, "docker@host-c") {
		t.Errorf("the search gave %s", html)
	}
	if evaluated[bool](b, `[...document.querySelectorAll("button.copy")].some(e => e.checkVisibility())`) {
		t.Error("there are buttons that need the script")
	}
	b.do(chromedp.Click(chromedp.CSS(`a[href="/?q=host-b&sort=name#certificates"]`)), chromedp.WaitReady(chromedp.CSS(`th[aria-sort="ascending"] a[href="/?q=host-b&sort=-name#certificates"]`)))
	b.do(chromedp.Click(chromedp.CSS(`a[href="/certificates/docker@host-b"]`)), chromedp.WaitVisible(chromedp.CSS(`.chain`)))
	html = inTab(b, chromedp.OuterHTML(chromedp.CSS("html")))
	if !strings.Contains(html, "Fleet intermediate") || !strings.Contains(html, `id="pause" aria-pressed="false" hidden`) {
		t.Errorf("the page of the certificate, or its button that needs the script: %s", html)
	}
}

func TestInBrowserRefreshesByItselfAndLeavesTheReaderAlone(t *testing.T) {
	now := time.Now()
	f := testfleet.EveryState(now)
	for i := range 40 {
		f.Put(testfleet.Certificate(now, fmt.Sprintf("extra-%02d", i), 5*testfleet.Day, "host-a"))
	}
	b := browse(t, f)
	b.look(1000, 600, "light")
	b.open("/")
	b.do(chromedp.Focus(chromedp.CSS(`input[name="q"]`)), chromedp.KeyEvent("half a wo"))
	b.script(`document.activeElement.scrollIntoView({block: "center"})`)
	b.script(`window.input = document.activeElement; window.kept = document.getElementById("c-extra-07"); window.said = [];
		new MutationObserver(() => said.push(document.getElementById("verdict").textContent)).observe(document.getElementById("verdict"), {subtree: true, childList: true, characterData: true})`)
	top := evaluated[float64](b, `input.getBoundingClientRect().top`)
	f.With(func(f *testfleet.Fleet) {
		d := testfleet.Certificate(now, "extra-07", 5*testfleet.Day, "host-a")
		d.Status, d.RolloutProblem = renewer.StatusBlocked, problems.RolloutBlocked
		f.Put(d)
		f.Log = append(f.Log, renewer.Event{Seq: 99, Time: now, Type: renewer.EventRolloutBlocked, Certificate: "extra-07", Message: "freshly blocked"})
	})
	b.until(`document.body.textContent.includes("freshly blocked")`)
	if !evaluated[bool](b, `document.activeElement === input && input.value === "half a wo"`) {
		t.Error("what was being typed is gone")
	}
	if !evaluated[bool](b, `kept.isConnected && kept.textContent.includes("blocked")`) {
		t.Error("the row was replaced, and not changed")
	}
	if said := evaluated[[]string](b, `said`); len(said) == 0 || !strings.Contains(said[len(said)-1], "10 problems, 2 critical") {
		t.Errorf("the live region said %q", said)
	}
	if now := evaluated[float64](b, `input.getBoundingClientRect().top`); now-top > 1 || top-now > 1 {
		t.Errorf("the page jumped: the field was at %v and is at %v", top, now)
	}

	// Paused, it asks nothing, not even when the reader comes back to the tab.
	b.do(chromedp.Click(chromedp.CSS(`#pause`)))
	b.script(`const [fetch, wait] = [window.fetch, window.setTimeout];
		window.asked = 0;
		window.fetch = (...a) => { asked++; return fetch(...a); };
		window.setTimeout = (...a) => { asked++; return wait(...a); };
		document.dispatchEvent(new Event("visibilitychange"))`)
	if n := evaluated[int](b, `asked`); n != 0 {
		t.Errorf("paused, it asked %d times", n)
	}
	// A link of the list keeps the focus.
	f.With(func(f *testfleet.Fleet) {
		f.Log = append(f.Log, renewer.Event{Seq: 100, Time: now, Type: renewer.EventVerified, Message: "later still"})
	})
	b.do(chromedp.Click(chromedp.CSS(`#pause`)), chromedp.Focus(chromedp.CSS(`#c-extra-09 a`)))
	b.until(`document.body.textContent.includes("later still")`)
	if got := evaluated[string](b, `document.activeElement.textContent`); got != "extra-09" {
		t.Errorf("the focus went to %q", got)
	}
}

func TestInBrowserSaysWhenTheServerIsGone(t *testing.T) {
	f := testfleet.EveryState(time.Now())
	b := browse(t, f)
	b.open("/")
	// A fetch that fails is written to the console by the browser itself, so
	// the page's own fetch is made to fail.
	b.script(`window.back = window.fetch; window.fetch = () => Promise.reject(new TypeError("gone"))`)
	b.until(`document.getElementById("lost").textContent.includes("does not answer")`)
	b.script(`window.fetch = window.back`)
	b.until(`document.getElementById("lost").textContent === ""`)
}

func TestInBrowserKeyboardReachesEverythingAndShowsWhere(t *testing.T) {
	b := browse(t, testfleet.EveryState(time.Now()))
	for _, path := range []string{"/", "/certificates/docker@host-e", "/events"} {
		b.look(1280, 900, "dark")
		b.open(path)
		b.do(chromedp.KeyEvent(kb.Tab))
		if !evaluated[bool](b, `document.activeElement.className === "skip" && document.activeElement.getBoundingClientRect().top >= 0`) {
			t.Errorf("%s: the first stop is %s", path, evaluated[string](b, `document.activeElement.outerHTML`))
		}
		want := evaluated[int](b, `[...document.querySelectorAll("a[href], button, input, select, summary")].filter(e => e.checkVisibility()).length`)
		stops := 0
		for evaluated[bool](b, `document.activeElement !== document.body`) && stops <= want {
			stops++
			if bad := evaluated[string](b, `(() => { const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
				return s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 && r.width > 0 && r.bottom > 0 && r.top < innerHeight ? "" : e.outerHTML; })()`); bad != "" {
				t.Errorf("%s: the focus cannot be seen on %s", path, bad)
			}
			b.do(chromedp.KeyEvent(kb.Tab))
		}
		if stops != want {
			t.Errorf("%s: %d stops, want %d", path, stops, want)
		}
	}
	b.open("/")
	b.do(chromedp.Focus(chromedp.CSS(".skip")), chromedp.KeyEvent(kb.Enter))
	if got := evaluated[string](b, `document.activeElement.id`); got != "main" {
		t.Errorf("the skip link leads to %q", got)
	}
}

func TestInBrowserNothingMovesForThoseWhoAskForThat(t *testing.T) {
	b := browse(t, testfleet.EveryState(time.Now()))
	moves := func(value string) string {
		b.prefer("prefers-reduced-motion", value)
		b.open("/")
		return evaluated[string](b, `(e => { e.classList.add("changed"); return getComputedStyle(e).animationName; })(document.querySelector("tbody tr"))`)
	}
	if got := moves("reduce"); got != "none" {
		t.Errorf("with reduced motion the animation is %q", got)
	}
	if got := moves("no-preference"); got != "changed" {
		t.Errorf("without it is %q", got)
	}
}

func TestInBrowserNothingHostileRuns(t *testing.T) {
	f := testfleet.Hostile(time.Now())
	b := browse(t, f)
	for name := range f.Details {
		for _, path := range []string{"/", "/hosts", "/events", "/issuers", "/certificates/" + url.PathEscape(name), "/?q=" + url.QueryEscape(name), "/events?certificate=" + url.QueryEscape(name)} {
			b.open(path)
			if got := evaluated[int](b, `document.querySelectorAll("script, style, iframe, img, object, embed, base").length`); got != 1 || evaluated[bool](b, `"pwned" in window`) {
				t.Errorf("%s: %d elements that run or load", path, got)
			}
		}
	}
	b.open("/")
	before := evaluated[string](b, `document.getElementById("asof").textContent`)
	b.until(fmt.Sprintf(`document.getElementById("asof").textContent !== %q`, before)) // through the script too
	if evaluated[bool](b, `"pwned" in window`) {
		t.Error("it ran after a refresh")
	}
}

func TestInBrowserCommandsAreCopiedByKeyboard(t *testing.T) {
	f := testfleet.EveryState(time.Now())
	b := browse(t, f)
	b.open("/")
	b.script(`window.copied = []; navigator.clipboard.writeText = async (text) => { copied.push(text); }`)
	b.do(chromedp.Focus(chromedp.CSS(`button[aria-label="Copy: renewer doctor host-e"]`)), chromedp.KeyEvent(kb.Enter))
	b.until(`document.getElementById("said").textContent === "Copied" && document.activeElement.textContent === "Copied"`)
	if got := evaluated[[]string](b, `copied`); len(got) != 1 || got[0] != "renewer doctor host-e" {
		t.Errorf("copied %q", got)
	}
	b.until(`document.getElementById("said").textContent === "" && document.activeElement.textContent === "Copy"`)
	// From an address that is not secure a page may not write to the clipboard.
	b.script(`navigator.clipboard.writeText = () => Promise.reject(new DOMException("no"));
		document.execCommand = (what) => { copied.push(what + " " + getSelection()); return true; }`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until(`document.activeElement.textContent === "Copied"`)
	if got := evaluated[[]string](b, `copied`); len(got) != 2 || got[1] != "copy renewer doctor host-e" {
		t.Errorf("copied %q", got)
	}
}

func TestInBrowserRolloutsOfManyHostsFitAndStayOpen(t *testing.T) {
	f := testfleet.Wave(time.Now(), 40)
	b := browse(t, f)
	for _, width := range []int64{320, 360, 800, 1400} {
		b.look(width, 900, "light")
		for _, path := range []string{"/", "/hosts", "/certificates/docker@host-01.example.com"} {
			b.open(path)
			if got := evaluated[[]string](b, tooWide); len(got) > 0 {
				t.Errorf("%s, %d wide: too wide: %q", path, width, got)
			}
		}
	}
	b.open("/")
	b.do(chromedp.Click(chromedp.CSS("#hosts-docker summary")))
	f.With(func(f *testfleet.Fleet) {
		f.Log = append(f.Log, renewer.Event{Seq: 100, Time: time.Now(), Type: renewer.EventVerified, Message: "later still"})
	})
	b.until(`document.body.textContent.includes("later still")`)
	if !evaluated[bool](b, `document.getElementById("hosts-docker").open && document.querySelectorAll("#hosts-docker li").length === 36`) {
		t.Error("the list of hosts was closed by an update")
	}
}
