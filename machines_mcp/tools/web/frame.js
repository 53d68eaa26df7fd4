// The messages between a view and its host: JSON-RPC 2.0 by postMessage, MCP Apps 2026-01-26.
const ANSWER_MS = 90000, METHOD_NOT_FOUND = -32601;
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value) => typeof value === "string" && value !== "";
const asObject = (value) => (isObject(value) ? value : {});
const asList = (value) => (Array.isArray(value) ? value : []);

class Host {
  #window; #origin = null; #lastId = 0; #asked = new Map(); #handlers; #ended = false;

  // `handlers`: a function for each notification of the host, and for `ui/resource-teardown`.
  constructor(window_, handlers) {
    this.#window = window_;
    this.#handlers = handlers;
    window.addEventListener("message", (event) => this.#received(event));
  }

  // Returns the result; rejects if the host refuses, or does not answer in time.
  request(method, params) {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => this.#settle(id, (asked) => asked.reject(new Error("late"))), ANSWER_MS);
      this.#asked.set(id, { resolve, reject, late });
      this.#send({ id, method, params });
    });
  }

  notify(method, params) { this.#send({ method, params }); }

  #send(message) {
    // Until the host has answered, its origin isn't known. Nothing is sent before that but the view's name.
    const origin = this.#origin === null || this.#origin === "null" ? "*" : this.#origin;
    if (!this.#ended) this.#window.postMessage({ jsonrpc: "2.0", ...message }, origin);
  }

  #settle(id, how) {
    const asked = this.#asked.get(id);
    if (!asked) return false;
    this.#asked.delete(id);
    clearTimeout(asked.late);
    how(asked);
    return true;
  }

  #received(event) {
    const message = event.data;
    if (this.#ended || event.source !== this.#window || !isObject(message) || message.jsonrpc !== "2.0") return;
    if (this.#origin !== null && event.origin !== this.#origin) return;
    if (typeof message.method === "string") this.#called(message);
    else if ("id" in message) this.#answered(event.origin, message);
  }

  #answered(origin, message) {
    if (isObject(message.result) === isObject(message.error)) return;
    const settled = this.#settle(message.id, (asked) =>
      isObject(message.result) ? asked.resolve(message.result) : asked.reject(new Error("refused")));
    if (settled) this.#origin ??= origin;
  }

  #called({ id, method, params }) {
    const known = Object.hasOwn(this.#handlers, method) ? this.#handlers[method] : null;
    const isRequest = typeof id === "number" || typeof id === "string";
    if (!isRequest) {
      if (known && id === undefined && method.startsWith("ui/notifications/") && this.#origin !== null) {
        known(asObject(params));
      }
    } else if (method === "ping") {
      this.#send({ id, result: {} });
    } else if (method === "ui/resource-teardown") {
      known(asObject(params));
      this.#send({ id, result: {} });
      this.#ended = true;
    } else {
      this.#send({ id, error: { code: METHOD_NOT_FOUND, message: "Method not found" } });
    }
  }
}
