(() => {
  "use strict";
  const card = document.getElementById("card");
  const open = document.querySelector("[data-left]");
  // Use the clock and don't count ticks: timers of background tabs run rarely.
  const countdown = (seconds, tell, done) => {
    let end = Date.now() + seconds * 1000;
    const look = () => {
      const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
      tell(left);
      if (left === 0) { clearInterval(timer); done(); }
    };
    const timer = setInterval(look, 250);
    document.addEventListener("visibilitychange", look);
    return (more) => { end += more * 1000; look(); };
  };
  if (open) {
    let asking = true;
    const close = (why) => {
      asking = false;
      document.getElementById("fault")?.remove();
      open.textContent = why;
      open.className = "fault";
      open.setAttribute("role", "alert");
      document.querySelector(".buttons").before(open);
      for (const one of document.querySelectorAll("button, input")) one.disabled = true;
    };
    countdown(Number(open.dataset.left), () => {}, () => close("This request has expired. Ask the assistant again."));
    // The request may be decided elsewhere.
    const look = async () => {
      if (!asking) return;
      try {
        const answer = await fetch(open.dataset.home, { cache: "no-store" });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const ended = (answer.ok || answer.status === 410) && !page.querySelector("[data-left]");
        if (asking && ended) location.replace(open.dataset.home);
      } catch {
        if (asking) close("This page has closed. Ask the assistant again.");
      }
    };
    setInterval(look, 2000);
    document.addEventListener("visibilitychange", look);
    document.querySelector("form").addEventListener("submit", () => {
      // To load anything now would break off the submission, and with it the card.
      asking = false;
      // Only the first submission counts.
      setTimeout(() => { for (const one of document.querySelectorAll("button")) one.disabled = true; });
    });
  }
  if (card) {
    const hide = () => {
      if (!card.isConnected) return;
      for (const one of card.querySelectorAll("dd, dd *")) one.textContent = "";
      card.replaceWith(document.getElementById("hidden").content);
      document.title = "Hidden · Machines card vault";
      document.querySelector("h1").focus();
    };
    const left = document.getElementById("left");
    const add = countdown(Number(card.dataset.seconds), (seconds) => { left.textContent = seconds; }, () => {
      hide();
      document.dispatchEvent(new Event("timeover"));
    });
    document.getElementById("hide").addEventListener("click", (event) => { event.preventDefault(); hide(); });
    const more = document.getElementById("more");
    let asked = false;
    more.form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (asked) return;
      asked = true;
      const headers = { "Content-Type": "application/x-www-form-urlencoded" };
      const body = new URLSearchParams(new FormData(more.form)).toString();
      let added = false;
      try { added = (await fetch(more.form.action, { method: "POST", headers, body })).ok; } catch { /* the vault has ended */ }
      if (!card.isConnected) return;
      if (added) add(Number(more.dataset.seconds));
      document.getElementById("added").textContent = added ? `${more.dataset.seconds} seconds added.` : "No time could be added.";
      if (document.activeElement === more) document.getElementById("hide").focus();
      more.remove();
    });
    // The copy that the browser keeps for its Back button must not show the card either.
    addEventListener("pagehide", hide);
  }
})();
