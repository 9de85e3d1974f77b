// Keys, countdowns and the live parts of the approval pages. Comfort only: every page works without it.

const EVERY = 10000;
const ARMED_AFTER = 800;

// Countdowns run from what the server said was left, never from this machine's clock.

function said(seconds) {
  if (seconds <= 0) return "expired";
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s left`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s left`;
  if (whole < 86400) {
    const rest = Math.floor((whole % 3600) / 60);
    return `${Math.floor(whole / 3600)} h${rest ? ` ${rest} min` : ""} left`;
  }
  return `${Math.floor(whole / 86400)} d left`;
}

function follow(root, since) {
  for (const left of root.querySelectorAll("[data-left]")) {
    left.dataset.ends = String(since + 1000 * Number(left.dataset.left));
  }
}

function tick() {
  for (const left of document.querySelectorAll("[data-ends]")) {
    const seconds = (Number(left.dataset.ends) - performance.now()) / 1000;
    const part = Math.max(0, seconds) / Number(left.dataset.whole);
    const words = left.querySelector("time");
    const bar = left.querySelector(".fill");
    if (words && words.textContent !== said(seconds)) words.textContent = said(seconds);
    bar?.setAttribute("width", (100 * part).toFixed(1));
    bar?.setAttribute("class", `fill ${part <= 0.2 ? "bad" : part <= 0.5 ? "warn" : "hold"}`);
    if (seconds <= 0 && left.closest("[data-decision]")) close();
  }
}

// The two buttons of a decision: asleep at first, and for good once nothing can be decided any more.

const decision = document.querySelector("[data-decision]");
const verdicts = decision ? [...decision.querySelectorAll("[data-verdict]")] : [];
let closed = false;

function close() {
  closed = true;
  for (const button of verdicts) button.disabled = true;
}

function wake() {
  if (!closed && document.getElementById("facts")) for (const button of verdicts) button.disabled = false;
}

if (decision) {
  const asleep = verdicts.filter((button) => !button.disabled);
  for (const button of asleep) button.disabled = true;
  setTimeout(wake, ARMED_AFTER);
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

// Fetching a part of a page: nothing while the page is hidden, 304 while nothing changed.

function watch(url, use) {
  let tag = "";
  const look = async () => {
    if (document.hidden) return;
    const headers = tag ? { "If-None-Match": tag } : {};
    const answer = await fetch(url(), { headers, redirect: "error" }).catch(() => null);
    if (!answer || !answer.ok) return;
    tag = answer.headers.get("ETag") ?? "";
    use(new DOMParser().parseFromString(await answer.text(), "text/html"), performance.now());
  };
  setInterval(look, EVERY);
  document.addEventListener("visibilitychange", look);
}

const inbox = document.getElementById("inbox");
if (inbox) {
  const notice = document.getElementById("live-notice");
  const rows = (root) => [...root.querySelectorAll("tr[data-id]")];
  let waiting = null;

  const note = (row, text) => {
    row.classList.add("gone");
    for (const box of row.querySelectorAll("input")) box.disabled = true;
    const left = row.querySelector("[data-left]");
    if (left) { left.removeAttribute("data-ends"); left.textContent = text || "no longer waiting"; }
  };
  const tell = async (gone) => {
    const url = `${inbox.dataset.inbox}&gone=${gone.map((row) => row.dataset.id).join(",")}`;
    const answer = await fetch(url, { redirect: "error" }).catch(() => null);
    const page = answer?.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
    for (const row of gone) note(row, page?.querySelector(`[data-gone="${row.dataset.id}"]`)?.textContent.trim());
  };
  const take = (page, since) => {
    const fresh = new Set(rows(page).map((row) => row.dataset.id));
    const shown = new Set(rows(inbox).map((row) => row.dataset.id));
    const gone = rows(inbox).filter((row) => !fresh.has(row.dataset.id) && !row.classList.contains("gone"));
    const added = [...fresh].filter((id) => !shown.has(id)).length;
    if (gone.length) tell(gone);
    waiting = { page, since };
    if (!added && !gone.length) return;
    notice.hidden = false;
    notice.querySelector("p").textContent = added ? `${added} new` : "The list changed.";
  };
  notice.querySelector("button").addEventListener("click", () => {
    if (!waiting) return;
    inbox.replaceChildren(...waiting.page.body.childNodes);
    follow(inbox, waiting.since);
    notice.hidden = true;
    inbox.querySelector("a.lead")?.focus();
  });
  watch(() => inbox.dataset.inbox, take);
}

const moved = document.getElementById("moved");
if (moved && decision) {
  const version = decision.elements.version.value;
  let allows = null;
  watch(() => moved.dataset.state, (page) => {
    const state = page.querySelector("[data-status]");
    if (!state) return;
    const ended = "ended" in state.dataset;
    const changed = state.dataset.version !== version || (allows !== null && allows !== state.dataset.allows);
    allows ??= state.dataset.allows;
    if (!ended && !changed) return;
    moved.replaceChildren(...page.body.childNodes);
    moved.hidden = false;
    if (ended) close();
  });
}

// Keys only move: nothing is ever decided by one.

const help = document.getElementById("keys");
const stored = "palyra.keys";
const enabled = document.getElementById("keys-on");
if (enabled) {
  enabled.checked = localStorage.getItem(stored) !== "off";
  enabled.addEventListener("change", () => localStorage.setItem(stored, enabled.checked ? "on" : "off"));
}

function step(by) {
  const links = inbox ? [...inbox.querySelectorAll("a.lead")] : [];
  if (!links.length) {
    document.querySelector(by > 0 ? "a[rel=next]" : "a[rel=prev]")?.click();
    return;
  }
  const at = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, at < 0 ? 0 : at + by))].focus();
}

function unfold() {
  const folds = [...document.querySelectorAll("#facts details, #inbox details")];
  const open = folds.some((fold) => !fold.open);
  for (const fold of folds) fold.open = open;
  document.getElementById("facts")?.classList.toggle("unfolded", open);
}

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  a: () => verdicts.find((button) => button.value === "allow")?.focus(),
  d: () => verdicts.find((button) => button.value === "deny")?.focus(),
  c: () => document.getElementById("comment")?.focus(),
  x: unfold,
  "?": () => help?.showModal(),
};
for (const digit of "1234") {
  KEYS[digit] = () => {
    const scope = decision?.querySelector(`[data-digit="${digit}"]`);
    if (scope && !scope.disabled) { scope.checked = true; scope.focus(); }
  };
}

const TYPED = "input:not([type=radio]):not([type=checkbox]), textarea, select, dialog[open], [contenteditable]";
let before = "";
document.addEventListener("keydown", (event) => {
  const { key } = event;
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest(TYPED)) return;
  if (key !== "?" && enabled && !enabled.checked) return;
  const home = before === "g" && key === "i";
  before = key;
  if (home) {
    event.preventDefault();
    location.assign(document.querySelector("[data-key-home]")?.href ?? "/admin/approvals/");
  } else if (Object.hasOwn(KEYS, key)) {
    event.preventDefault();
    KEYS[key]();
  }
});

follow(document, 0);
tick();
setInterval(tick, 1000);
