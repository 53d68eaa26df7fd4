// What both views share: elements, buttons, links to the desk, and the display of results that are not their own.
const MAX_TEXT = 2000, MAX_ROWS = 50, TICK_MS = 5000, MINUTE = 60;
const APPROVAL_ID = /^[0-9a-f]{32}$/, TOOL_NAME = /^[a-z_]{1,40}$/, ARGUMENTS = ["user_id", "card_id"];
const byId = (id) => document.getElementById(id);

// Everything that is shown goes through here, as text.
const el = (name, className = "", ...children) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
};
const text = (value) => {
  const whole = typeof value === "string" ? value : "";
  return whole.length > MAX_TEXT ? `${whole.slice(0, MAX_TEXT)}…` : whole;
};
const quoted = (value) => el("bdi", "", text(value));
// A text that an agent may have stored, in quotes that nothing inside closes.
const inQuotes = (value) => el("bdi", "", `“${text(value).replace(QUOTE_RUN, "'")}”`);
const code = (value) => el("code", "", text(value));
const words = (value) => text(value).replaceAll("_", " ");
const facts = (...pairs) => {
  const shown = pairs.filter(([, value]) => value !== null && value !== "");
  return shown.length ? el("dl", "facts", ...shown.map(([name, value]) =>
    el("div", "", el("dt", "", name), el("dd", "", value)))) : "";
};
const titleOf = (tool) => (TOOL_NAME.test(text(tool)) && Object.hasOwn(TITLES, tool) ? TITLES[tool] : "A call");
const dollars = (cents) => (Number.isSafeInteger(cents) && cents >= 0
  ? `$${Math.floor(cents / 100).toLocaleString("en-US")}.${String(cents % 100).padStart(2, "0")}` : "");
const limitOf = (card) => {
  const amount = dollars(card.limit_amount_cents), period = text(card.limit_frequency);
  const known = Object.hasOwn(PERIODS, period) ? PERIODS[period] : "for an unrecognized period";
  return amount && `${amount} ${known}`;
};
const clockTime = (at) => `${at.toISOString().slice(11, 16)} UTC`;
const expiry = (value) => {
  const at = new Date(text(value));
  if (Number.isNaN(at.getTime())) return "";
  const left = el("span");
  left.dataset.until = String(at.getTime());
  countDown(left);
  return el("span", "", left, ` (${clockTime(at)})`);
};
const countDown = (one) => {
  const seconds = (Number(one.dataset.until) - Date.now()) / 1000, minutes = Math.floor(seconds / MINUTE);
  if (seconds <= 0) one.textContent = "has expired";
  else one.textContent = minutes ? `in ${minutes} minute${minutes === 1 ? "" : "s"}` : "in less than a minute";
};

const TERMINAL = () => ["in a terminal on this computer with ", code("machines-mcp approve")];
const NO_VIEW = "Only a person can approve, outside this conversation. This view and the assistant can't.";
const APPROVE_ANYWHERE = () => el("span", "", "Approve ", ...TERMINAL(), ", or open the desk with ",
  code("machines-mcp desk --open"), ".");

// A link that may be opened: a page of this computer, or for the identity check one of the provider.
const linkTo = (value, { outside = false } = {}) => {
  let url = null;
  try { url = new URL(text(value)); } catch { return null; }
  const here = url.protocol === "http:" && url.hostname === DESK_HOST;
  const there = outside && url.protocol === "https:";
  return (here || there) && !url.username && !url.password ? url : null;
};

class Screen {
  // `shown` draws an object of a result that is the view's own, and returns whether it did.
  constructor(host, shown, again) {
    this.host = host;
    this.shown = shown;
    this.again = again;
    this.can = {};
    this.given = {};
    this.tool = "";
    // The approval that a call waits for: its id, and where it is decided. A list of what waits has no link.
    this.awaited = null;
    this.drawn = 0;
    this.timer = setInterval(() => document.querySelectorAll("[data-until]").forEach(countDown), TICK_MS);
  }

  // A button with the same key keeps the focus when the view is drawn anew.
  draw(title, children, { buttons = [], hint = "" } = {}) {
    const key = document.activeElement?.dataset?.key;
    this.drawn += 1;
    byId("title").textContent = title;
    byId("content").replaceChildren(...children.filter((child) => child !== null && child !== ""));
    byId("buttons").replaceChildren(...buttons.filter(Boolean));
    byId("hint").replaceChildren(hint);
    byId("hint").hidden = hint === "";
    byId("main").removeAttribute("aria-busy");
    if (key) (byId("buttons").querySelector(`[data-key="${key}"]`) ?? byId("title")).focus();
    this.say(title);
  }

  say(words_) { byId("live").textContent = words_; }

  button(key, label, work, { primary = false, unseen = "" } = {}) {
    const made = el("button", primary ? "primary" : "", label, unseen && el("span", "unseen", unseen));
    made.type = "button";
    made.dataset.key = key;
    made.addEventListener("click", async () => {
      if (made.getAttribute("aria-disabled") === "true") return;
      made.setAttribute("aria-disabled", "true");
      try { await work(); } finally { made.removeAttribute("aria-disabled"); }
    });
    return made;
  }

  // A client that can't open links, or refuses to, shows the address to copy.
  link(url, label) {
    if (!this.can.openLinks) return null;
    return this.button("open", label, async () => {
      try {
        await this.host.request("ui/open-link", { url: url.href });
        this.say("Opened in your browser.");
      } catch {
        byId("hint").replaceChildren("Your client did not open it. Open this address on this computer: ", code(url.href));
        byId("hint").hidden = false;
        this.say("Your client did not open the page. Its address is shown.");
      }
    }, { primary: true });
  }

  // Repeats a read tool. The client may ask first, or refuse.
  repeat(tool, args) {
    if (!this.can.serverTools) return null;
    return this.button("again", "Check again", async () => {
      try {
        this.result(await this.host.request("tools/call", { name: tool, arguments: args }));
      } catch {
        byId("hint").replaceChildren("Your client did not repeat the call. Ask the assistant instead.");
        byId("hint").hidden = false;
        this.say("Your client did not repeat the call.");
      }
    });
  }

  input(args) {
    this.given = Object.fromEntries(ARGUMENTS.filter((name) => isText(args[name])).map((name) => [name, args[name]]));
  }

  cancelled() { this.draw("The call was cancelled", [el("p", "lead", "No result is shown here.")]); }

  result(params) {
    const body = bodyOf(params);
    environment(body);
    if (params.isError === true || isText(body.code)) this.error(body);
    else if (Array.isArray(body.waiting)) this.waiting(body);
    else {
      this.awaited = null;
      if (!this.shown(body)) this.plain(body, summaryOf(params));
    }
  }

  plain(body, sentence) {
    this.draw("Done", [el("p", "lead", quoted(sentence || "The call succeeded."))], { buttons: [this.again(body)] });
  }

  error(body) {
    if (body.code === "approval.required" && APPROVAL_ID.test(text(body.approval_id))) this.required(body);
    else {
      const message = text(body.message) || "The call did not succeed.";
      this.draw("This did not succeed", [el("p", "lead", quoted(message))], { buttons: [this.again(body)] });
    }
  }

  // One call that waits, with its page or the desk. What it is about comes from the server's list, by `status`.
  required(body, question = "") {
    const id = body.approval_id, page = linkTo(body.page), desk = linkTo(body.desk);
    const form = page !== null && page.pathname.includes("/kyc/");
    const url = page ?? (desk && new URL(`decisions/${id}`, desk));
    const label = page === null ? "Open the desk" : form ? "Open the form" : "Open the card's page";
    const about = page === null ? "A call needs approval." : form ? "The identity form waits to be filled in."
      : "A card waits to be shown to a person.";
    this.awaited = { body, id, question };
    const where = page !== null ? "on its own page, on this computer"
      : desk !== null ? el("span", "", "at the desk, or ", ...TERMINAL()) : quoted(body.where);
    this.draw("Waiting for a person", [
      el("p", "lead", quoted(question || about)),
      facts(["Where", where], ["Expires", expiry(body.expires_at)],
        ["Address", url !== null && !this.can.openLinks ? code(url.href) : ""]),
    ], { buttons: [url && this.link(url, label), this.repeat("status", {})], hint: NO_VIEW });
    if (question === "" && this.can.serverTools) this.lookUp(body);
  }

  // The client may refuse a view's calls; the person can still decide.
  lookUp(body) {
    const drawn = this.drawn;
    this.host.request("tools/call", { name: "status", arguments: {} }).then((result) => {
      const found = asList(bodyOf(result).waiting).find((one) => asObject(one).approval_id === body.approval_id);
      if (found && isText(found.question) && this.drawn === drawn) this.required(body, found.question);
    }, () => {});
  }

  // The server's list. If this view shows a call that waited, it says what became of that one.
  waiting(body) {
    const listed = body.waiting.slice(0, MAX_ROWS).map(asObject);
    if (this.awaited) {
      const found = listed.find((one) => one.approval_id === this.awaited.id);
      // A long list leaves out the oldest calls, so this one may still wait.
      const waits = found || isText(body.not_listed);
      return waits ? this.required(this.awaited.body, text(found?.question) || this.awaited.question) : this.decided(body);
    }
    const count = body.waiting.length;
    const more = [body.not_listed, body.other_users].filter(isText);
    this.draw(count === 0 ? "Nothing waits for approval" : `${count} call${count === 1 ? " waits" : "s wait"} for approval`, [
      ...notes(body),
      count ? el("ul", "rows", ...listed.map((one) => el("li", "",
        el("div", "what", quoted(one.question), el("small", "", titleOf(one.tool))),
        el("span", "state wait", "expires ", expiry(one.expires_at))))) : "",
      ...unresolved(body),
      more.length ? el("p", "hint", quoted(more.join(" "))) : "",
    ], { buttons: [this.repeat("status", {})], hint: count ? APPROVE_ANYWHERE() : "" });
  }

  decided(body) {
    const running = asList(body.unresolved).some((one) => asObject(one).approval_id === this.awaited.id);
    const sentence = running ? "A person approved it. The call has started."
      : "A person decided it, it expired, or the assistant withdrew it. The assistant gets the outcome when it repeats the call.";
    this.draw("It no longer waits", [...notes(body), el("p", "lead", sentence)],
      { buttons: [this.repeat("status", {})] });
  }

  end() { clearInterval(this.timer); }
}

const bodyOf = (result) => {
  if (isObject(result.structuredContent)) return result.structuredContent;
  try { return asObject(JSON.parse(text_(result, 0))); } catch { return {}; }
};
const text_ = (result, index) => {
  const part = asObject(asList(result.content)[index]);
  return part.type === "text" && typeof part.text === "string" ? part.text : "";
};
// The first text is the object as JSON, the second a sentence for people.
const summaryOf = (result) => text_(result, 1);
const notes = (body) => [...asList(body.alarms), ...asList(body.frozen).map((one) => `Frozen: ${text(one)}`)]
  .filter(isText).slice(0, MAX_ROWS).map((one) => el("p", "note", quoted(one)));
const unresolved = (body) => {
  const listed = asList(body.unresolved).slice(0, MAX_ROWS).map(asObject);
  return listed.length ? [el("h2", "", "Started, without an outcome yet"), el("ul", "rows", ...listed.map((one) =>
    el("li", "", el("div", "what", titleOf(one.tool ?? "create_withdrawal"), el("small", "", quoted(one.what_to_do))),
      el("span", "state", words(one.status)))))] : [];
};
const environment = (body) => {
  if (!isText(body.environment)) return;
  const pill = byId("environment");
  pill.textContent = body.simulated === true ? "simulator: nothing is real" : text(body.environment).slice(0, 20);
  pill.classList.toggle("bad", body.environment === "production");
  pill.hidden = false;
};

// Connects the view: the handshake, the host's scheme, and the size of what is shown.
const start = (shown, readAgain) => {
  const again = (body) => screen.repeat(...readAgain(screen, body));
  const themed = (context) => {
    if (["light", "dark"].includes(context.theme)) document.documentElement.dataset.theme = context.theme;
    const name = asObject(asObject(context.toolInfo).tool).name;
    if (TOOL_NAME.test(text(name))) screen.tool = name;
  };
  let size = "";
  const measured = new ResizeObserver(() => {
    // The width of the view is the host's. Without a scroll bar it would be narrower each time.
    const now = { width: window.innerWidth, height: Math.ceil(document.body.getBoundingClientRect().height) };
    // A hidden view has no size, and a host would keep it that small.
    if (!now.width || !now.height) return;
    if (JSON.stringify(now) === size) return;
    size = JSON.stringify(now);
    host.notify("ui/notifications/size-changed", now);
  });
  const host = new Host(window.parent, {
    "ui/notifications/tool-input": (params) => screen.input(asObject(params.arguments)),
    "ui/notifications/tool-result": (params) => screen.result(params),
    "ui/notifications/tool-cancelled": () => screen.cancelled(),
    "ui/notifications/host-context-changed": themed,
    "ui/resource-teardown": () => { measured.disconnect(); screen.end(); },
  });
  const screen = new Screen(host, (body) => shown(screen, body), again);
  host.request("ui/initialize", {
    appInfo: { name: "machines-mcp", version: document.documentElement.dataset.version },
    appCapabilities: { availableDisplayModes: ["inline"] },
    protocolVersion: "2026-01-26",
  }).then((result) => {
    const can = asObject(result.hostCapabilities);
    screen.can = { openLinks: isObject(can.openLinks), serverTools: isObject(can.serverTools) };
    themed(asObject(result.hostContext));
    host.notify("ui/notifications/initialized", {});
    measured.observe(document.body);
  }, () => screen.draw("Not connected", [el("p", "lead", "The client did not connect this view.")]));
};
