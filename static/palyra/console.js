// Comfort only: every page works without this file.

for (const button of document.querySelectorAll("[data-copy], [data-copy-from]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copyFrom);
    await navigator.clipboard.writeText(source ? source.textContent : button.dataset.copy);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  });
}

const rail = document.getElementById("rail-state");
const wide = matchMedia("(min-width: 900px)");
if (rail && wide.matches) {
  rail.checked = localStorage.getItem("palyra.rail") === "narrow";
  rail.addEventListener("change", () => localStorage.setItem("palyra.rail", rail.checked ? "narrow" : "wide"));
}

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", () => {
    setTimeout(() => form.querySelectorAll("button").forEach((button) => { button.disabled = true; }), 0);
  });
}

// A field marked data-indent takes Tab as two spaces. Escape gives the next Tab back to the page.
for (const area of document.querySelectorAll("textarea[data-indent]")) {
  let leaves = false;
  area.addEventListener("keydown", (event) => {
    const indents = event.key === "Tab" && !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey;
    if (indents && !leaves) {
      event.preventDefault();
      area.setRangeText("  ", area.selectionStart, area.selectionEnd, "end");
    }
    leaves = event.key === "Escape";
  });
  area.addEventListener("blur", () => { leaves = false; });
}

// A region marked data-live is fetched again every ten seconds while the page is visible, and put in the
// place of the old one when its mark changed.
const live = document.querySelector("[data-live]");
if (live) {
  let seen = live.dataset.live;
  const look = async () => {
    if (document.hidden) return;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" }).catch(() => null);
    if (!answer || !answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-live]");
    if (fresh && fresh.dataset.live !== seen) {
      seen = fresh.dataset.live;
      live.replaceChildren(...fresh.childNodes);
    }
  };
  setInterval(look, 10000);
}

if (document.querySelector("[data-decision], [data-inbox]")) import("/static/palyra/approvals.js");
