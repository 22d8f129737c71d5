// Asks for the same page again and brings what is shown to what came. Elements
// that stay keep their focus, selection and scroll position; the form of a
// search is the reader's and is left alone.
"use strict";
(() => {
  const main = document.getElementById("main");
  const pause = document.getElementById("pause");
  const lost = document.getElementById("lost");
  let paused = false, timer = 0, failures = 0, asking = null;

  const keyOf = (n) => (n.nodeType === Node.ELEMENT_NODE && n.id) || null;
  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

  function attributes(from, to) {
    for (const { name } of [...from.attributes]) if (!to.hasAttribute(name)) from.removeAttribute(name);
    for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }

  // bring makes the children of one element like those of another.
  function bring(from, to) {
    const keyed = new Map();
    for (const n of from.childNodes) if (keyOf(n)) keyed.set(keyOf(n), n);
    let at = from.firstChild;
    for (const want of [...to.childNodes]) {
      const key = keyOf(want);
      let have = key ? keyed.get(key) : at;
      if (!have || !alike(have, want)) {
        from.insertBefore(document.adoptNode(want), at);
        if (want.nodeType === Node.ELEMENT_NODE && want.tagName === "TR") want.classList.add("changed");
        continue;
      }
      if (have === at) at = at.nextSibling;
      else from.insertBefore(have, at);
      change(have, want);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function change(from, to) {
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    if (from.tagName === "FORM" || from.classList.contains("copied")) return;
    if (from.tagName === "DETAILS") to.open = from.open;
    attributes(from, to);
    bring(from, to);
  }

  // held is what should stay where it is in the window: the element that has the
  // focus, or what the reader looks at. Nothing at the top of the page, where
  // news comes.
  function held() {
    if (!scrollY) return null;
    const seen = (e) => { const r = e.getBoundingClientRect(); return r.bottom > 0 && r.top < innerHeight; };
    const focused = document.activeElement;
    const e = main.contains(focused) && focused !== main && seen(focused) ? focused : document.elementFromPoint(innerWidth / 2, innerHeight / 3);
    return e && e !== main && main.contains(e) ? { e, top: e.getBoundingClientRect().top } : null;
  }

  function shown(text) {
    const next = new DOMParser().parseFromString(text, "text/html");
    const fresh = next.getElementById("main");
    if (!fresh) throw new Error("the answer is not this page");
    const focused = document.activeElement, hold = held();
    change(main, fresh);
    // What was moved or is gone has lost the focus.
    if (document.activeElement !== focused) (focused.isConnected ? focused : main).focus({ preventScroll: true });
    if (hold && hold.e.isConnected) scrollBy({ top: hold.e.getBoundingClientRect().top - hold.top, behavior: "instant" });
    change(document.querySelector("footer"), next.querySelector("footer"));
    change(document.getElementById("asof"), next.getElementById("asof"));
    if (document.title !== next.title) document.title = next.title;
  }

  async function ask() {
    asking?.abort();
    const mine = asking = new AbortController();
    const limit = setTimeout(() => mine.abort(), 20000);
    try {
      const answer = await fetch(location.href, { signal: mine.signal, cache: "no-store", credentials: "same-origin" });
      if (!answer.ok && answer.status !== 404) throw new Error("status " + answer.status);
      const text = await answer.text();
      if (paused || mine !== asking) return;
      shown(text);
      failures = 0;
      if (lost.textContent) lost.textContent = "";
    } catch {
      if (paused || document.hidden || mine !== asking) return;
      failures++;
      // One failure may be a restart of the daemon.
      if (failures === 2) lost.textContent = "renewer does not answer: this page shows the time of its last answer.";
    } finally {
      clearTimeout(limit);
    }
  }

  function later() {
    clearTimeout(timer);
    if (paused || document.hidden) return;
    const seconds = Number(main.dataset.refresh) || 10;
    timer = setTimeout(async () => { await ask(); later(); }, 1000 * Math.min(60, seconds * 2 ** Math.min(failures, 3)));
  }

  // What copies a command stands behind it, and is shown where this script runs.
  const said = document.getElementById("said");
  document.documentElement.classList.add("script");
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button.copy");
    if (!button) return;
    const source = button.previousElementSibling, done = await copied(source);
    button.classList.add("copied");
    button.textContent = said.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => {
      button.classList.remove("copied");
      button.textContent = "Copy";
      said.textContent = "";
    }, 2000);
  });

  // copied uses the selection where the page is not from a secure address, which
  // alone may write to the clipboard.
  async function copied(source) {
    try {
      await navigator.clipboard.writeText(source.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(source);
      const done = document.execCommand("copy");
      getSelection().removeAllRanges();
      return done;
    }
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    later();
  });
  document.addEventListener("visibilitychange", async () => {
    clearTimeout(timer);
    if (document.hidden || paused) return;
    await ask();
    later();
  });
  later();
})();
