// The labelling page. The cards stand in the order of the ranking; `tied` says that one ties with the
// card above it. One request is under way at a time, so that no answer can come too late.
import { ask, byId, element, letter, showText, signed } from "./common.js";

const SETTLE = 300; // ms in which a new prompt cannot be saved: a key pressed twice is not a label

const list = byId("cards");
const status = byId("status");
const problem = byId("problem");

let item = null;
let cards = []; // {place: in the item, tied, element …}, the best first
let busy = false;
let undone = true; // there is no label to take back
let known = false; // whether the service has ever answered
let asked = 0; // requests so far, to tell whether a state is still the latest

// What tells this window from others: a prompt is handed to one of them. It stays over a reload.
const me = sessionStorage.getItem("plaudit-window")
  ?? [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
sessionStorage.setItem("plaudit-window", me);

// ---- order and ties ----

/** Ranks from 1 on, in the order of the cards. */
function ranks() {
  let rank = 0;
  return cards.map((card) => (rank += card.tied ? 0 : 1));
}

function moveTo(card, place) {
  const from = cards.indexOf(card);
  const to = Math.min(Math.max(place, 0), cards.length - 1);
  if (from === to) return;
  const below = cards[from + 1];
  if (below?.tied && !card.tied) below.tied = false; // the head of its tie goes, the next is the head
  cards.splice(from, 1);
  cards.splice(to, 0, card);
  card.tied = Boolean(cards[to + 1]?.tied); // in the middle of a tie it is one of them
  redraw();
  announce(card);
}

function tie(card) {
  if (cards.indexOf(card) === 0) {
    say("The first card has none above it to tie with.");
    return;
  }
  card.tied = !card.tied;
  redraw();
  announce(card);
}

function announce(card) {
  const rank = ranks()[cards.indexOf(card)];
  const others = cards.filter((other, i) => other !== card && ranks()[i] === rank).map((other) => other.letter);
  say(`${card.letter} has rank ${rank}${others.length ? `, tied with ${others.join(", ")}` : ""}.`);
}

// ---- showing ----

function makeCard(text, place) {
  const name = letter(place);
  const card = { place, letter: name, tied: false };
  const button = (label, sign, act) => element("button", {
    type: "button", class: "small", "aria-label": `${label} ${name}`, title: label,
    onclick: (event) => { act(); event.currentTarget.focus(); },
  }, sign);
  card.badge = element("span", { class: "badge", "aria-hidden": "true" });
  card.tiedNote = element("span", { class: "about tied-note" });
  card.reward = element("span", { class: "reward about" });
  card.up = button("Move up", "↑", () => moveTo(card, cards.indexOf(card) - 1));
  card.down = button("Move down", "↓", () => moveTo(card, cards.indexOf(card) + 1));
  card.tie = button("Tie with the one above:", "=", () => tie(card));
  const words = element("div", { class: "words" });
  showText(words, text);
  card.head = element("div", { class: "head grip" },
    element("span", { class: "dots", "aria-hidden": "true" }), card.badge, element("span", { class: "name" }, name), card.tiedNote, card.reward,
    element("span", { class: "buttons" }, card.up, card.down, card.tie));
  card.element = element("li", { class: "sheet card", tabindex: "0" }, card.head, words);
  card.head.addEventListener("pointerdown", (event) => startDrag(event, card));
  return card;
}

function redraw() {
  const order = ranks();
  // Only what stands elsewhere is moved, so that what has the focus keeps it.
  cards.forEach((card, i) => {
    if (list.children[i] !== card.element) {
      const focused = card.element.contains(document.activeElement) ? document.activeElement : null;
      list.insertBefore(card.element, list.children[i] ?? null);
      focused?.focus({ preventScroll: true });
    }
  });
  cards.forEach((card, i) => {
    const tiedBelow = Boolean(cards[i + 1]?.tied);
    card.badge.textContent = String(order[i]);
    card.badge.classList.toggle("first", order[i] === 1);
    card.element.classList.toggle("tied", card.tied);
    card.element.classList.toggle("tied-below", tiedBelow);
    card.element.classList.toggle("best", order[i] === 1);
    card.tiedNote.textContent = card.tied ? "tied with the one above" : "";
    card.tie.setAttribute("aria-pressed", String(card.tied));
    card.up.disabled = i === 0;
    card.down.disabled = i === cards.length - 1;
    card.tie.disabled = i === 0;
    card.element.setAttribute("aria-label",
      `Completion ${card.letter}, rank ${order[i]}, place ${i + 1} of ${cards.length}${card.tied ? ", tied with the one above" : ""}`);
  });
}

function showRewards() {
  const shown = byId("rewards").checked;
  for (const card of cards) {
    const reward = item?.rewards?.[card.place];
    card.reward.replaceChildren(...(!shown ? [] : reward === undefined ? ["not scored"]
      : [element("span", { class: "word" }, "reward "), signed(reward)]));
  }
}

function show(next) {
  item = next;
  byId("work").hidden = !item;
  byId("done").hidden = Boolean(item);
  for (const id of ["save", "skip"]) byId(id).disabled = !item;
  if (!item) {
    cards = [];
    list.replaceChildren();
    byId("done-title").focus();
    return;
  }
  showText(byId("prompt"), item.prompt);
  cards = item.completions.map(makeCard);
  if (item.ranks) {
    const order = item.ranks;
    cards.sort((a, b) => order[a.place] - order[b.place]);
    cards.forEach((card, i) => { card.tied = i > 0 && order[card.place] === order[cards[i - 1].place]; });
  }
  list.replaceChildren(...cards.map((card) => card.element));
  redraw();
  showRewards();
  byId("about").textContent = item.ranks ? "its label was taken back" : item.skipped ? "skipped before" : "";
  const save = byId("save");
  save.setAttribute("aria-disabled", "true");
  setTimeout(() => save.removeAttribute("aria-disabled"), SETTLE);
  byId("prompt-title").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function showState(state) {
  const count = (number) => number.toLocaleString("en");
  byId("labelled").textContent = `${count(state.labelled)} of ${count(state.total)}`;
  byId("skipped").textContent = count(state.skipped);
  byId("scored").textContent = state.scored + state.failed < state.total
    ? `${count(state.scored)} of ${count(state.total)} …` : count(state.scored);
  byId("labels-file").textContent = state.file;
  const bar = byId("progress");
  bar.setAttribute("aria-valuemax", state.total);
  bar.setAttribute("aria-valuenow", state.labelled);
  bar.firstElementChild.style.setProperty("width", `${(100 * state.labelled) / state.total}%`);
  byId("train").textContent = byId("command").textContent = state.command;
  byId("done-text").textContent = `${count(state.labelled)} ${state.labelled === 1 ? "prompt is" : "prompts are"} labelled. Train on them with`;
  const notes = state.left_out.length ? [`Left out: ${state.left_out.join("; ")}.`] : [];
  if (state.failed) notes.push(`${count(state.failed)} could not be scored and come last: ${state.problem}.`);
  byId("left-out").textContent = notes.join(" ");
  byId("left-out").hidden = !notes.length;
  undone = state.labelled === 0;
  known = true;
  byId("undo").disabled = busy || undone;
}

function say(message) {
  status.textContent = message;
}

// ---- what the service is asked ----

/** One thing at a time: what comes while the service is asked is not done. */
async function act(path, body, said) {
  if (busy) return;
  busy = true;
  asked += 1;
  problem.hidden = true;
  for (const id of ["save", "skip", "undo"]) byId(id).setAttribute("aria-busy", "true");
  try {
    let answer;
    try {
      answer = await ask(path, { window: me, ...body });
      say(said);
    } catch (error) {
      if (error.type !== "labelled") throw error;
      complain(error.message);
      answer = await ask("label/next", { window: me });
    }
    show(answer.item);
    showState(answer.state);
  } catch (error) {
    complain(error.message);
  } finally {
    busy = false;
    for (const id of ["save", "skip", "undo"]) byId(id).removeAttribute("aria-busy");
    byId("undo").disabled = undone;
  }
}

function complain(message) {
  say("");
  problem.textContent = message;
  problem.hidden = false;
}

function save() {
  if (!item || byId("save").hasAttribute("aria-disabled")) return;
  const order = ranks();
  if (order.at(-1) === 1) {
    complain("All completions are tied, of which nothing can be learnt. Put one above another, or skip the prompt.");
    return;
  }
  const given = [];
  cards.forEach((card, i) => { given[card.place] = order[i]; });
  act("label/save", { id: item.id, ranks: given }, "Saved.");
}
const skip = () => item && act("label/skip", { id: item.id }, "Skipped: it comes again at the end.");
const undo = () => !byId("undo").disabled && act("label/undo", {}, "The last label was taken back.");

async function poll() {
  let pause = 15_000;
  if (known && !document.hidden && !busy) {
    const before = asked;
    try {
      const state = await ask(`label/state?window=${me}`);
      if (before === asked && !busy) {
        showState(state);
        if (state.scored + state.failed < state.total) pause = 1500;
        if (item && !item.rewards && state.scored > 0) {
          const answer = await ask("label/next", { window: me });
          if (before === asked && answer.item?.id === item?.id) {
            item.rewards = answer.item.rewards;
            showRewards();
          }
        }
      }
    } catch {
      // What is wrong will be said when something is done.
    }
  }
  setTimeout(poll, pause);
}

byId("save").addEventListener("click", save);
byId("skip").addEventListener("click", skip);
byId("undo").addEventListener("click", undo);
byId("rewards").addEventListener("change", showRewards);

// ---- the keyboard ----

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || document.querySelector("dialog")) return;
  const { key } = event;
  const onButton = event.target.closest("button, a, input");
  if (key === "Enter" && onButton && onButton !== byId("rewards")) return; // it does what it says
  const card = cards.find((each) => each.element.contains(document.activeElement));
  const at = cards.indexOf(card);
  const focus = (place) => cards[Math.min(Math.max(place, 0), cards.length - 1)]?.element.focus();
  const keys = {
    Enter: () => !event.repeat && save(),
    s: () => !event.repeat && skip(),
    u: () => !event.repeat && undo(),
    j: () => (card ? moveTo(card, at + 1) : focus(0)),
    k: () => (card ? moveTo(card, at - 1) : focus(0)),
    ArrowDown: () => (!card ? focus(0) : event.altKey ? moveTo(card, at + 1) : focus(at + 1)),
    ArrowUp: () => (!card ? focus(0) : event.altKey ? moveTo(card, at - 1) : focus(at - 1)),
    "=": () => (card ? tie(card) : focus(0)),
  };
  const number = /^[1-9]$/.test(key) ? Number(key) : 0;
  if (number && card && !event.altKey && number <= cards.length) moveTo(card, number - 1);
  else if (keys[key] && (!event.altKey || key.startsWith("Arrow"))) keys[key]();
  else return;
  event.preventDefault();
});

// ---- dragging ----

function startDrag(event, card) {
  if (event.button !== 0 || event.target.closest("button") || busy) return;
  event.preventDefault();
  card.element.focus({ preventScroll: true });
  const before = { cards: [...cards], tied: cards.map((each) => each.tied) };
  const grabbed = event.clientY - card.element.getBoundingClientRect().top;
  let y = event.clientY, frame = 0;
  card.element.classList.add("dragged");
  document.body.classList.add("dragging"); // cards show their first lines: long ones would leave no room

  const follow = () => {
    const edge = 70;
    const over = y < edge ? y - edge : y > innerHeight - edge ? y - innerHeight + edge : 0;
    if (over) window.scrollBy(0, over / 5);
    // The card changes places with a neighbour once its edge is past that one's middle.
    card.element.style.removeProperty("transform");
    const { height } = card.element.getBoundingClientRect();
    for (;;) {
      const at = cards.indexOf(card);
      const top = y - grabbed;
      const middle = (other) => {
        const box = other.element.getBoundingClientRect();
        return box.top + box.height / 2;
      };
      if (at > 0 && top < middle(cards[at - 1])) moveTo(card, at - 1);
      else if (at < cards.length - 1 && top + height > middle(cards[at + 1])) moveTo(card, at + 1);
      else break;
      if (cards.indexOf(card) === at) break;
    }
    const offset = y - grabbed - card.element.getBoundingClientRect().top;
    card.element.style.setProperty("transform", `translateY(${offset}px)`);
    frame = requestAnimationFrame(follow);
  };
  const move = (moved) => {
    if (moved.pointerId === event.pointerId) y = moved.clientY;
  };
  const end = (ended) => {
    if (ended.pointerId !== undefined && ended.pointerId !== event.pointerId) return;
    cancelAnimationFrame(frame);
    if (ended.type === "pointerup") {
      y = ended.clientY;
      follow();
      cancelAnimationFrame(frame);
    } else {
      cards = before.cards;
      cards.forEach((each, i) => { each.tied = before.tied[i]; });
      redraw();
    }
    card.element.classList.remove("dragged");
    document.body.classList.remove("dragging");
    card.element.style.removeProperty("transform");
    card.element.scrollIntoView({ block: "nearest" });
    for (const [type, listener] of listeners) document.removeEventListener(type, listener, true);
  };
  const escape = (pressed) => {
    if (pressed.key === "Escape") end(pressed);
    pressed.stopPropagation(); // nothing else while a card is in the hand
  };
  const listeners = [["pointermove", move], ["pointerup", end], ["pointercancel", end], ["keydown", escape]];
  for (const [type, listener] of listeners) document.addEventListener(type, listener, true);
  frame = requestAnimationFrame(follow);
}

act("label/next", {}, "").then(poll);
