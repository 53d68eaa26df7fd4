(() => {
  "use strict";
  const card = document.getElementById("card");
  const open = document.querySelector("[data-left]");
  // By the clock, not by counting: a tab in the background is woken rarely.
  const countdown = (seconds, tell, done) => {
    const end = Date.now() + seconds * 1000;
    const look = () => {
      const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
      tell(left);
      if (left === 0) { clearInterval(timer); done(); }
    };
    const timer = setInterval(look, 250);
    document.addEventListener("visibilitychange", look);
  };
  if (open) {
    countdown(Number(open.dataset.left), (left) => {
      open.textContent = left ? `This page closes by itself in ${left} seconds.` : "This page is closed. Ask the assistant again.";
    }, () => { for (const one of document.querySelectorAll("button, input")) one.disabled = true; });
    // A second press would only come too late.
    document.querySelector("form").addEventListener("submit", () => setTimeout(() => {
      for (const one of document.querySelectorAll("button")) one.disabled = true;
    }));
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
    countdown(Number(card.dataset.seconds), (seconds) => { left.textContent = seconds; }, hide);
    document.getElementById("hide").addEventListener("click", (event) => { event.preventDefault(); hide(); });
    // Neither does the page that is kept for the way back show it.
    addEventListener("pagehide", hide);
  }
})();
