// What HTML and htmx do not do by themselves: keys, copying, relative times, the live dot, and the flash of a change.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("js");

  // Times
  const units = [["s", 1, 120], ["min", 60, 7200], ["h", 3600, 172800], ["d", 86400, Infinity]];
  const span = (seconds) => {
    const [unit, size] = units.find(([, , enough]) => seconds < enough);
    return `${Math.floor(seconds / size)} ${unit}`;
  };
  // The server's clock counts, not the viewer's.
  let ahead = 0;
  const tellTimes = () => {
    for (const time of $$("#rows time")) {
      const text = span(Math.max(0, (Date.now() - ahead - Date.parse(time.dateTime)) / 1000));
      if (time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(tellTimes, 1000);

  // The live dot
  let waiting;
  const live = (is, text) => {
    const dot = $("#live");
    if (!dot || (dot.dataset.is === is && dot.textContent === text)) return;
    dot.dataset.is = is;
    dot.textContent = text;
  };
  const stream = (event) => event.target.id === "stream" || event.target.closest?.("#board");
  document.addEventListener("htmx:sse:after:connection", (event) => {
    if (!stream(event)) return;
    clearTimeout(waiting);
    const lost = $("#live")?.dataset.is === "waiting";
    live("live", lost ? "live again, caught up" : "live");
    if (lost) setTimeout(() => $("#live")?.dataset.is === "live" && live("live", "live"), 8000);
  });
  document.addEventListener("htmx:sse:before:connection", (event) => {
    if (!stream(event) || !event.detail.connection.attempt) return;
    // The server ends each stream now and then; only a gap that lasts is worth a word.
    clearTimeout(waiting);
    waiting = setTimeout(() => live("waiting", "reconnecting"), 2000);
  });
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail.status === 401) location.reload();
    else if (stream(event)) {
      clearTimeout(waiting);
      live("waiting", "reconnecting");
    }
  });
  document.addEventListener("page:anew", () => location.assign($("#drawer .sheet") ? "/" : location.href));

  // A change flashes its cell once
  const flash = (cell) => {
    cell.classList.remove("flash");
    requestAnimationFrame(() => cell.classList.add("flash"));
  };
  document.addEventListener("animationend", (event) => event.target.classList.remove("flash"));
  const changes = new MutationObserver((records) => {
    const cells = new Set();
    for (const { target, type } of records) {
      const element = target.nodeType === 1 ? target : target.parentElement;
      if (!element || element.closest("time, .pick, button.copy")) continue;
      if (type === "attributes" && !element.closest(".phases")) continue;
      const cell = element.closest("#rows td");
      if (cell) cells.add(cell);
    }
    cells.forEach(flash);
  });
  const watch = () => {
    changes.disconnect();
    const rows = $("#rows");
    if (rows) changes.observe(rows, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["class"] });
    mark();
    count();
  };

  // The row under the keys, the row that is open, the rows selected
  let at = null;
  const rows = () => $$("#rows .row");
  const mark = () => {
    const open = $("#drawer .sheet")?.dataset.machine;
    for (const row of rows()) {
      row.classList.toggle("at", row.id === at);
      row.classList.toggle("open", $(".pick input", row).value === open);
    }
  };
  const move = (step) => {
    const all = rows();
    if (!all.length) return;
    const here = all.findIndex((row) => row.id === at);
    const next = all[Math.min(all.length - 1, Math.max(0, here < 0 ? (step > 0 ? 0 : all.length - 1) : here + step))];
    at = next.id;
    mark();
    next.scrollIntoView({ block: "nearest" });
    if ($("#drawer .sheet")) $(".name a", next).click();
  };
  const count = () => {
    const selected = $$("#rows .pick input:checked").length;
    $("#bulk")?.classList.toggle("some", selected > 0);
    if ($("#count")) $("#count").textContent = `${selected} selected`;
    if ($("#all")) $("#all").checked = selected > 0 && selected === rows().length;
  };
  const close = () => {
    const drawer = $("#drawer");
    if (!drawer.firstElementChild) return false;
    drawer.replaceChildren();
    history.pushState({ htmx: true }, "", $("#board")?.dataset.url || "/");
    mark();
    return true;
  };

  document.addEventListener("change", (event) => {
    if (event.target.id === "all") for (const row of rows()) $(".pick input", row).checked = event.target.checked;
    if (event.target.closest(".pick")) count();
  });
  document.addEventListener("click", (event) => {
    const copy = event.target.closest("button.copy");
    if (copy) return copyOut(copy);
    if (event.target.closest("#drawer .close")) {
      if (close()) event.preventDefault();
      return;
    }
    const row = event.target.closest("#rows .row");
    if (!row || event.target.closest("a, button") || String(getSelection())) return;
    if (event.target.closest(".pick")) {
      if (event.target.tagName !== "INPUT") $(".pick input", row).click();
      return;
    }
    at = row.id;
    $(".name a", row).click();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") {
      if (typing) event.target.blur();
      else if (!$("#keys")?.open) close();
      return;
    }
    if (typing || $("#keys")?.open) return;
    const row = at && document.getElementById(at);
    const keys = {
      j: () => move(1),
      k: () => move(-1),
      x: () => row && $(".pick input", row).click(),
      Enter: () => row && !event.target.closest("a, button, summary") && $(".name a", row).click(),
      "/": () => $("#q")?.select(),
      "?": () => $("#keys")?.showModal(),
    };
    if (!keys[event.key]) return;
    if (keys[event.key]() !== false) event.preventDefault();
  });

  // A page that came over plain HTTP has no clipboard: select and copy as of old.
  const copyOut = async (button) => {
    const text = button.textContent.trim();
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(button);
      document.execCommand("copy");
      getSelection().removeAllRanges();
    }
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1500);
  };

  document.addEventListener("htmx:after:swap", watch);
  document.addEventListener("htmx:sse:after:message", () => { mark(); count(); });
  document.addEventListener("DOMContentLoaded", () => {
    const now = Date.parse($("#board")?.dataset.now);
    if (now) ahead = Date.now() - now;
    watch();
    // On a phone the chips are one line that is wider than the screen.
    const chips = $(".chips"), chip = $(".chip[aria-current]");
    if (chip) chips.scrollLeft = chip.offsetLeft - (chips.clientWidth - chip.offsetWidth) / 2;
  });
})();
