// The view of a card and of a user's cards. Neither has the number.
const TONES = { __proto__: null, active: "good", locked: "wait", closed: "bad", canceled: "bad" };
const NO_NUMBER = "The number is never shown here. To see it, ask the assistant to reveal the card on its own page.";
const LAST4 = /^[0-9]{4}$/;
const last4Of = (card) => (LAST4.test(text(card.last4)) ? card.last4 : "");
const nameOf = (card) => (last4Of(card) ? `Card ending ${last4Of(card)}` : "Card");
const expiresOf = (card) => {
  const { expiration_month: month, expiration_year: year } = card;
  const fits = Number.isInteger(month) && month >= 1 && month <= 12 && Number.isInteger(year) && year >= 0;
  return fits ? `${String(month).padStart(2, "0")}/${String(year % 100).padStart(2, "0")}` : "";
};
// The result of a reveal says where the card was shown, in place of the card's own state.
const REVEALED = { __proto__: null, verified: "can be shown", shown: "was shown to a person" };
const stateOf = (card) => (isText(card.shown) ? REVEALED[text(card.status)] ?? "revealed" : words(card.status));

// A label is text that an agent may have stored, so it never stands in place of the card's name, and has its author.
const labelOf = (card) => (isText(card.label)
  ? el("span", "by", inQuotes(card.label), " ", el("small", "", authorOf(card))) : "");
const authorOf = (card) => (Object.hasOwn(AUTHORS, text(card.label_from)) ? AUTHORS[card.label_from] : "");

const face = (card) => {
  const off = CLOSED.includes(text(card.status)), digits = last4Of(card);
  const number = digits
    ? el("p", "number", el("span", "unseen", `ending ${digits}`), hidden(`•••• •••• •••• ${digits}`))
    : el("p", "number", hidden("•••• •••• •••• ••••"));
  return el("div", off ? "face off" : "face",
    el("p", "row", el("span", "label", "Machines Cash"),
      isText(card.status) ? el("span", "state", quoted(stateOf(card))) : ""),
    number,
    el("p", "row", el("span", "ends", expiresOf(card) && `Expires ${expiresOf(card)}`),
      el("span", "brand-name", quoted(card.brand))),
    isText(card.label) ? el("p", "ends", labelOf(card)) : "");
};
const hidden = (shown) => {
  const made = el("span", "", shown);
  made.setAttribute("aria-hidden", "true");
  return made;
};

const CLOSED = ["closed", "canceled"];

const oneCard = (screen, card) => {
  if (CLOSED.includes(text(card.status)) && !last4Of(card)) {
    screen.draw("The card is closed", [el("p", "lead", "It can't be used any more, and that can't be undone.")]);
    return true;
  }
  const state = isText(card.status) ? el("span", TONES[text(card.status)] ?? "", quoted(stateOf(card))) : "";
  screen.draw(nameOf(card), [el("div", "card", face(card),
    facts([isText(card.shown) ? "Details" : "Status", state], ["Limit", limitOf(card)], ["Expires", expiresOf(card)],
      ["Label", labelOf(card)]))],
  { buttons: [screen.again(card)], hint: NO_NUMBER });
  return true;
};

const listOf = (screen, body) => {
  const cards = body.cards.slice(0, MAX_ROWS).map(asObject), count = body.cards.length;
  const more = isText(body.next_cursor) || count > MAX_ROWS;
  screen.draw(count === 0 ? "No cards" : `${count} card${count === 1 ? "" : "s"}`, [
    count ? el("ul", "rows", ...cards.map((card) => el("li", "",
      el("div", "what", nameOf(card),
        el("small", "", [limitOf(card), expiresOf(card) && `expires ${expiresOf(card)}`].filter(Boolean).join(" · ")),
        labelOf(card)),
      el("span", `state ${TONES[text(card.status)] ?? ""}`, quoted(stateOf(card)))))) : "",
    more ? el("p", "hint", "There are more cards. Ask the assistant for the next page.") : "",
  ], { buttons: [screen.again(body)] });
  return true;
};

start((screen, body) => {
  if (Array.isArray(body.cards)) return listOf(screen, body);
  if (!isText(body.card_id)) return false;
  screen.given.card_id = body.card_id;
  return oneCard(screen, body);
}, (screen) => {
  const user = isText(screen.given.user_id) ? { user_id: screen.given.user_id } : {};
  return isText(screen.given.card_id) && screen.tool !== "list_cards"
    ? ["get_card", { ...user, card_id: screen.given.card_id }] : ["list_cards", user];
});
