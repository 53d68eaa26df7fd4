// The view of what waits for a person, and of the identity check.
const STEPS = ["Identity data sent", "Machines checks the data", "Passed"];
const CHECKING = new Set(["resolve_user", "submit_kyc", "get_kyc_status"]);
const PLACES = {
  not_submitted: [0, "wait", "not sent"], pending: [1, "wait", "pending"], manual_review: [1, "wait", "in review"],
  needs_information: [1, "wait", "needs information"], needs_verification: [1, "wait", "needs verification"],
  approved: [3, "good", "passed"], denied: [2, "bad", "denied"], locked: [2, "bad", "locked"],
  canceled: [2, "bad", "ended"],
};

const identityCheck = (screen, body) => {
  const status = text(body.kyc_status ?? body.status);
  const [place, tone, state] = Object.hasOwn(PLACES, status) ? PLACES[status] : [1, "wait", "unrecognized"];
  const failed = tone === "bad";
  const url = isText(body.verification_link) ? linkTo(body.verification_link, { outside: true }) : null;
  const steps = STEPS.map((name, at) => {
    const kind = at < place ? "done" : at === place ? (failed ? "failed" : "now") : "";
    const mark = { done: "✓", failed: "✕" }[kind] ?? String(at + 1);
    const said = { done: "done", failed: "failed", now: "current step" }[kind] ?? "not yet";
    const made = el("li", kind, el("span", "dot", mark), el("span", "", at === 2 && failed ? "Not passed" : name,
      el("span", "unseen", `: ${said}`)));
    made.firstChild.setAttribute("aria-hidden", "true");
    if (kind === "now") made.setAttribute("aria-current", "step");
    return made;
  });
  screen.draw("Identity check", [
    el("p", "lead", el("span", `pill ${tone}`, state)),
    el("ol", "steps", ...steps),
    isText(body.meaning) && tone !== "good" ? el("p", "lead", quoted(body.meaning)) : "",
    isText(body.reason) ? el("p", "note", quoted(body.reason)) : "",
    url !== null && !screen.can.openLinks ? facts(["Continue at", code(url.href)]) : "",
  ], {
    buttons: [url && screen.link(url, "Continue the check"), screen.again(body)],
    hint: url === null ? "" : `Only the user can act on that page, at ${url.host}.`,
  });
  return true;
};

start((screen, body) => {
  const checked = isText(body.kyc_status) || (isText(body.status) && isText(body.meaning));
  return checked && identityCheck(screen, body);
}, (screen, body) => {
  const user = isText(screen.given.user_id) ? { user_id: screen.given.user_id } : {};
  return CHECKING.has(screen.tool) || isText(body.meaning) ? ["get_kyc_status", user] : ["status", {}];
});
