(() => {
  const base = document.body.dataset.base, own = document.body.dataset.approval;
  const byId = (id) => document.getElementById(id);
  const title = document.title, icon = document.querySelector("link[rel=icon]");
  const SETTLE_MS = 700, RETRY_MS = 3000, MINUTE = 60;
  const ends = new WeakMap();
  const listed = () => [...document.querySelectorAll("article[data-id]")].map((one) => one.dataset.id);
  const whole = byId("waiting") && listed().length === Number(byId("count").textContent);
  let known = whole ? listed() : null, ownState = null, told = false, changedAt = -Infinity, order = Promise.resolve();

  const say = (text) => { byId("live").textContent = text; };

  const inWords = (seconds) => {
    if (seconds <= 0) return "has expired";
    if (seconds < MINUTE) return "expires in less than a minute";
    const minutes = Math.floor(seconds / MINUTE);
    return `expires in ${minutes} minute${minutes === 1 ? "" : "s"}`;
  };
  const countDown = () => {
    for (const one of document.querySelectorAll("[data-left]")) {
      if (!ends.has(one)) ends.set(one, performance.now() + 1000 * Number(one.dataset.left));
      one.textContent = inWords((ends.get(one) - performance.now()) / 1000);
    }
  };

  // A request that a person is deciding keeps its place in the document, with what they typed.
  const merge = (page, id) => {
    const old = byId(id), fresh = page.getElementById(id);
    if (!old || !fresh) return;
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    for (const article of fresh.querySelectorAll("article[id]")) {
      const same = byId(article.id);
      if (same) article.replaceWith(same);
    }
    old.replaceWith(fresh);
    if (focused && focused.isConnected) focused.focus({ preventScroll: true });
  };
  const refresh = async () => {
    const answer = await fetch(`${base}/waiting`);
    if (answer.status === 401) return location.reload();
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    merge(page, "waiting");
    merge(page, "history");
    changedAt = performance.now();
    countDown();
  };

  const mark = (count) => {
    document.title = byId("waiting") ? title.replace(/^(\d+|Nothing) waiting/, `${count || "Nothing"} waiting`)
      : (count ? `(${count}) ` : "") + title;
    icon.href = `${base}/icon${count ? "-waiting" : ""}.svg`;
    byId("count").textContent = count || "";
  };
  const notify = () => {
    if (!listens || !("Notification" in window) || Notification.permission !== "granted") return;
    // Never whom, how much or where to: notifications are shown on locked screens and kept by the system.
    const shown = new Notification("A request waits", { tag: "machines-desk", renotify: true });
    shown.onclick = () => { window.focus(); shown.close(); };
  };
  const update = async (now) => {
    const before = known, state = own && now.states[own], first = !told;
    told = true;
    known = now.waiting;
    mark(known.length);
    if (own && ownState && state !== ownState) return location.reload();
    ownState = state;
    const added = before && known.some((id) => !before.includes(id));
    if (added) {
      notify();
      say("A new request waits.");
    } else if (before && known.length < before.length) say("A request is no longer waiting.");
    if (!first || listed().sort().join() !== [...known].sort().join()) await refresh();
  };

  // A browser opens six connections to one server, so one page listens and tells the others.
  const pages = new BroadcastChannel("machines-desk");
  let listens = false, last = null;
  const take = ({ waiting, offline, locked, ask }) => {
    if (ask && listens && last) pages.postMessage({ waiting: last });
    if (locked) location.reload();
    if (offline !== undefined) byId("offline").hidden = !offline;
    if (waiting) order = order.then(() => update(waiting)).catch(() => {});
  };
  const tell = (message) => { pages.postMessage(message); take(message); };
  const listen = () => {
    const source = new EventSource(`${base}/events`);
    source.addEventListener("waiting", (event) => tell({ waiting: last = JSON.parse(event.data) }));
    source.addEventListener("locked", () => tell({ locked: true }));
    source.onopen = () => tell({ offline: false });
    source.onerror = () => {
      tell({ offline: true });
      if (source.readyState === EventSource.CLOSED) setTimeout(() => { refresh().catch(() => {}); listen(); }, RETRY_MS);
    };
    addEventListener("pagehide", () => source.close());
  };
  pages.onmessage = (event) => take(event.data);
  pages.postMessage({ ask: true });

  // A button that moved under the pointer was not meant.
  document.addEventListener("submit", (event) => {
    if (event.target.closest("#waiting") && performance.now() - changedAt < SETTLE_MS) return event.preventDefault();
    // Only now is the pressed button's value part of the form.
    const pressed = event.submitter;
    if (pressed) setTimeout(() => { pressed.disabled = true; pressed.setAttribute("aria-busy", "true"); });
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  const ask = byId("notify");
  if (ask && "Notification" in window && Notification.permission === "default") {
    ask.hidden = false;
    ask.addEventListener("click", async () => {
      const given = await Notification.requestPermission();
      ask.hidden = given !== "default";
      if (given === "granted") say("This browser will tell you when a request waits.");
      if (given === "denied") say("This browser blocks notifications from the desk. Allow them in its settings.");
    });
  }

  countDown();
  setInterval(countDown, 5000);
  navigator.locks.request("machines-desk", () => new Promise(() => { listens = true; listen(); }));
})();
