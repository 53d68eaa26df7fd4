(() => {
  const MINUTE = 60, SOON_SECONDS = 120;
  const live = document.getElementById("live"), deadline = document.getElementById("deadline");
  const left = document.getElementById("left"), until = left.textContent;
  const end = performance.now() + 1000 * Number(deadline.dataset.left);
  const say = (text) => { if (live.textContent !== text) live.textContent = text; };

  const countDown = () => {
    const seconds = Math.ceil((end - performance.now()) / 1000);
    deadline.classList.toggle("soon", seconds <= SOON_SECONDS);
    if (seconds <= 0) {
      left.textContent = "This form has expired. What you typed stays on this page: ask the assistant to ask for your"
        + " data again, then press Send to Machines.";
      return say(left.textContent);
    }
    const minutes = Math.floor(seconds / MINUTE), rest = String(seconds % MINUTE).padStart(2, "0");
    left.textContent = `${until} ${minutes}:${rest} left.`;
    if (seconds <= SOON_SECONDS) say("This form expires in less than two minutes.");
    setTimeout(countDown, 1000);
  };
  countDown();

  document.querySelector("main form").addEventListener("submit", (event) => {
    const pressed = event.submitter;
    if (!pressed) return;
    pressed.disabled = true;
    pressed.setAttribute("aria-busy", "true");
    say("Sending. This can take a few seconds.");
  });

  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const searchable = (select) => {
    const name = select.id, label = select.labels[0], options = [...select.options].filter((one) => one.value);
    const box = document.createElement("div"), input = document.createElement("input");
    const list = document.createElement("ul");
    let active = -1, found = [];
    box.className = "combo";
    Object.assign(input, { id: name, type: "text", autocomplete: "off", spellcheck: false, placeholder: "Type to search" });
    const described = ["aria-describedby", "aria-invalid"].filter((one) => select.hasAttribute(one));
    for (const one of described) input.setAttribute(one, select.getAttribute(one));
    const roles = { role: "combobox", "aria-autocomplete": "list", "aria-controls": `${name}-list`, "aria-expanded": "false" };
    for (const [key, value] of Object.entries(roles)) input.setAttribute(key, value);
    if (select.required) input.setAttribute("aria-required", "true");
    Object.assign(list, { id: `${name}-list`, hidden: true });
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", label.textContent.trim());
    select.id = `${name}-value`;
    select.required = false;
    select.hidden = true;
    select.before(box);
    box.append(input, list);
    label.htmlFor = name;

    const chosen = () => options.find((one) => one.value === select.value);
    const show = () => { input.value = chosen()?.text ?? ""; };
    const close = () => {
      list.hidden = true;
      active = -1;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    };
    const choose = (option) => { select.value = option.value; show(); close(); };
    const mark = (place) => {
      active = place;
      list.querySelectorAll("li").forEach((item, at) => {
        item.setAttribute("aria-selected", String(at === place));
        if (at === place) item.scrollIntoView({ block: "nearest" });
      });
      if (place >= 0) input.setAttribute("aria-activedescendant", `${name}-${place}`);
    };
    const open = (words) => {
      const parts = plain(words).split(/\s+/).filter(Boolean);
      const rank = (one) => plain(one.text).startsWith(parts[0] ?? "") ? 0 : 1;
      found = options.filter((one) => parts.every((part) => plain(`${one.text} ${one.value} ${one.dataset.words ?? ""}`).includes(part)));
      if (parts.length) found.sort((a, b) => rank(a) - rank(b));
      list.replaceChildren(...found.map((one, at) => {
        const item = document.createElement("li");
        Object.assign(item, { id: `${name}-${at}`, textContent: one.text });
        item.setAttribute("role", "option");
        item.addEventListener("mousedown", (event) => { event.preventDefault(); choose(one); });
        return item;
      }));
      list.hidden = !found.length;
      input.setAttribute("aria-expanded", String(!list.hidden));
      input.removeAttribute("aria-activedescendant");
      mark(parts.length && found.length ? 0 : -1);
      say(found.length ? `${found.length} of ${options.length}` : "Nothing matches. Try another word.");
    };
    input.addEventListener("input", () => open(input.value));
    input.addEventListener("click", () => { if (list.hidden) { input.select(); open(""); } });
    input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (list.hidden) return open("");
        const step = event.key === "ArrowDown" ? 1 : -1;
        mark((active + step + found.length) % found.length);
      } else if (event.key === "Enter" && !list.hidden) {
        event.preventDefault();
        if (active >= 0) choose(found[active]);
      } else if (event.key === "Escape" && !list.hidden) {
        event.preventDefault();
        show();
        close();
      }
    });
    // What is not in the list would not be sent, so it does not stay in the field.
    input.addEventListener("blur", () => {
      if (!input.value.trim()) select.value = "";
      else if (!list.hidden && active >= 0) return choose(found[active]);
      show();
      close();
    });
    show();
  };
  document.querySelectorAll("select[data-search]").forEach(searchable);
})();
