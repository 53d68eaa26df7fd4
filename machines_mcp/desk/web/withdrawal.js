(() => {
  const byId = (id) => document.getElementById(id);
  const page = byId("withdrawal"), plan = JSON.parse(page.dataset.plan), told = byId("told"), act = byId("act");
  const MINUTE = 60, SOON_SECONDS = 120, NAME_LENGTH = 40, MAX_WALLETS = 12;
  const DECLINED = 4001, UNKNOWN_CHAIN = 4902, ALREADY_ASKING = -32002;
  const same = (one, other) => String(one).toLowerCase() === String(other).toLowerCase();
  let transaction = plan.transaction, busy = false, ended = !["sign", "send"].includes(plan.stage);

  const say = (text, bad = false) => {
    told.textContent = text;
    told.className = text ? `told said${bad ? " bad" : ""}` : "told";
  };
  const show = (hash) => {
    byId("shown-hash").textContent = hash;
    byId("shown").hidden = false;
  };
  const end = () => {
    ended = true;
    act?.remove();
    byId("report")?.closest("details").remove();
  };

  class Refused extends Error {}
  const refuse = (sentence) => { throw new Refused(sentence); };

  const post = async (what, fields) => {
    const body = new URLSearchParams({ token: page.dataset[`${what}Token`], ...fields });
    let answer;
    try {
      answer = await fetch(page.dataset[what], { method: "POST", body });
    } catch {
      refuse("The desk does not answer. Try again when it is back.");
    }
    if (answer.status === 403) refuse("The desk was locked meanwhile. Reload this page and sign in.");
    if (!answer.ok) refuse("The desk could not handle this. Reload the page and try again.");
    return answer.json();
  };

  // Once a transaction was sent, only its hash tells what became of it.
  const report = async (hash) => {
    show(hash);
    say("Sent. Waiting for the network to include it.");
    const result = await post("sent", { hash });
    if (["sent", "done", "expired"].includes(result.stage)) {
      plan.hash = hash;
      if (result.stage !== "sent" || plan.stage !== "sent") return location.reload();
    }
    say(result.message, result.stage !== "sent");
  };

  const onOwnChain = async (wallet) => Number(await wallet.request({ method: "eth_chainId" })) === Number(plan.chainId);
  const prepare = async (wallet) => {
    say("Open your wallet: it asks to connect.");
    const accounts = await wallet.request({ method: "eth_requestAccounts" });
    if (!accounts.some((one) => same(one, plan.sender))) {
      refuse(`The wallet shows ${accounts[0] ?? "no account"}, but ${plan.sender} must sign. Choose that account in the wallet, then try again.`);
    }
    if (await onOwnChain(wallet)) return;
    say("Open your wallet: it asks to change the network.");
    await wallet.request({ method: "wallet_switchEthereumChain", params: [{ chainId: plan.chainId }] });
    if (!await onOwnChain(wallet)) {
      refuse(`The wallet is on another network. Choose the one with the chain id ${Number(plan.chainId)}, then try again.`);
    }
  };
  const sign = async (wallet) => {
    say("Step 1 of 2: sign the withdrawal in your wallet.");
    const typed = JSON.stringify(plan.typedData);
    const signature = await wallet.request({ method: "eth_signTypedData_v4", params: [plan.sender, typed] });
    say("Checking the signature.");
    const answer = await post("sign", { signature });
    if (!answer.transaction) refuse(answer.message);
    transaction = answer.transaction;
  };
  const run = async (wallet) => {
    await prepare(wallet);
    if (!transaction) await sign(wallet);
    if (ended) return;
    say(plan.typedData ? "Step 2 of 2: send the transaction in your wallet." : "Send the transaction in your wallet.");
    const hash = await wallet.request({ method: "eth_sendTransaction", params: [transaction] });
    await report(hash);
  };

  const sentence = (error, sending) => {
    if (error instanceof Refused) return error.message;
    const known = {
      [DECLINED]: "You declined in the wallet. Nothing was sent.",
      [UNKNOWN_CHAIN]: `The wallet does not know the network with the chain id ${Number(plan.chainId)}. Add it there, then try again.`,
      [ALREADY_ASKING]: "The wallet already asks you something. Open it and answer there first.",
    };
    return known[error?.code] ?? "The wallet reported an error. Look there whether it sent a transaction before you try again.";
  };
  const during = async (pressed, work) => {
    if (busy) return;
    busy = true;
    const buttons = [...page.querySelectorAll("article button")];
    for (const one of buttons) one.disabled = true;
    pressed.setAttribute("aria-busy", "true");
    try {
      await work();
    } catch (error) {
      if (!ended || error instanceof Refused) say(sentence(error), true);
    } finally {
      busy = false;
      pressed.removeAttribute("aria-busy");
      for (const one of buttons) one.disabled = false;
    }
  };

  const wallets = byId("wallets"), found = new Set();
  const offer = ({ detail }) => {
    const { info, provider } = detail ?? {};
    if (ended || !info?.uuid || typeof provider?.request !== "function") return;
    if (found.has(info.uuid) || found.size >= MAX_WALLETS) return;
    found.add(info.uuid);
    byId("none").hidden = true;
    const button = document.createElement("button"), name = document.createElement("bdi");
    name.textContent = String(info.name).slice(0, NAME_LENGTH) || "a wallet";
    button.className = "primary";
    button.append(plan.typedData ? "Sign with " : "Send with ", name);
    button.addEventListener("click", () => during(button, () => run(provider)));
    wallets.append(button);
  };
  if (wallets) {
    addEventListener("eip6963:announceProvider", offer);
    dispatchEvent(new Event("eip6963:requestProvider"));
  }

  byId("copy")?.addEventListener("click", async () => {
    const text = byId("transaction");
    try {
      await navigator.clipboard.writeText(text.value);
      say("Copied. Sign and send it within a minute.");
    } catch {
      text.select();
      say("Your browser does not allow copying. Copy the selected text yourself.", true);
    }
  });
  byId("report")?.addEventListener("submit", (event) => {
    event.preventDefault();
    event.stopPropagation();
    const hash = byId("hash").value.trim();
    during(event.submitter, () => report(hash));
  });
  byId("again")?.addEventListener("click", (event) => during(event.currentTarget, () => report(plan.hash)));

  const left = byId("left"), deadline = byId("deadline"), until = left?.textContent;
  const over = performance.now() + 1000 * Number(page.dataset.seconds);
  const countDown = () => {
    if (ended) return;
    const seconds = Math.ceil((over - performance.now()) / 1000);
    if (seconds <= 0) {
      end();
      Object.assign(byId("status"), { textContent: "Expired", className: "state soft" });
      return say("This withdrawal has expired and can't be sent any more. Ask the assistant for a new one.", true);
    }
    deadline.classList.toggle("soon", seconds <= SOON_SECONDS);
    left.textContent = `${until} ${Math.floor(seconds / MINUTE)}:${String(seconds % MINUTE).padStart(2, "0")} left.`;
    setTimeout(countDown, 1000);
  };
  countDown();
})();
