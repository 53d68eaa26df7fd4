(() => {
  "use strict";
  const told = document.getElementById("told");
  if (!navigator.clipboard) return;
  let copied = false;
  let failed = false;
  let over = false;
  let last = Promise.resolve();
  // One write after the other, so that emptying the clipboard never overtakes a copy.
  const write = (text) => (last = last.then(() => navigator.clipboard.writeText(text)).then(() => true, () => false));
  const clear = async () => {
    if (!copied || !document.hasFocus()) return;
    copied = false;
    failed = !(await write(""));
    if (failed) copied = true;
    told.textContent = failed ? "The clipboard could not be cleared. Clear it yourself." : "Clipboard cleared.";
  };
  for (const button of document.querySelectorAll(".copy button")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const done = await write(button.closest("div").querySelector("dd").textContent.trim());
      copied ||= done;
      if (over) return clear();
      told.textContent = done ? "Copied. Your clipboard may keep a history." : "Nothing was copied. Your browser forbids it.";
    });
  }
  document.getElementById("copying").hidden = false;
  addEventListener("focus", clear);
  document.addEventListener("timeover", () => { over = true; clear(); });
  // Some browsers write the clipboard only right after the person has pressed something.
  addEventListener("click", () => { if (failed) clear(); }, true);
})();
