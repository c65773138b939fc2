// The labelling page. The cards stand in the order of the ranking; `tied` says that one ties with the
// card above it. One request is under way at a time, so that no answer can come too late. What is done
// and not yet sent is kept in the tab: over a reload, and until the service can be reached again.
import { ask, byId, download, element, letter, percent, showText, signed } from "./common.js";

const SETTLE = 300; // ms in which a new prompt cannot be saved: a key pressed twice is not a label
const AGAIN = 2000; // ms after which what could not be sent is sent again
const TALL = 560; // px of a text beyond which it is cut until somebody opens it

const list = byId("cards");
const status = byId("status");
const problem = byId("problem");

let item = null;
let cards = []; // {place: in the item, tied, element …}, the best first
let busy = false;
let undone = true; // there is no label to take back
let known = false; // whether the service has ever answered
let settled = 0; // when the prompt has been there for long enough to be saved
let asked = 0; // requests so far, to tell whether a state is still the latest
let wantsNames = false;

// What tells this window from others: a prompt is handed to one of them. It stays over a reload.
const me = sessionStorage.getItem("plaudit-window")
  ?? [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
sessionStorage.setItem("plaudit-window", me);

const named = byId("annotator");
named.value = localStorage.getItem("plaudit-annotator") ?? "";
const annotator = () => named.value.trim();

// ---- what is kept in the tab ----

const DRAFT = "plaudit-draft"; // {id, order, tied, note} of the prompt at hand, {waiting} to be sent

function draft() {
  try {
    return JSON.parse(sessionStorage.getItem(DRAFT)) ?? {};
  } catch {
    return {};
  }
}

/** Keep what is done of the prompt at hand, and what of it waits to be sent, until it is. */
function keep(more = {}) {
  if (!item) return;
  const { id, waiting } = draft();
  const at = { id: item.id, order: cards.map((card) => card.place), tied: cards.map((card) => card.tied) };
  sessionStorage.setItem(DRAFT, JSON.stringify({ ...at, note: byId("note").value, waiting: id === item.id ? waiting : undefined, ...more }));
}

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

function tieAll() {
  cards.forEach((card, i) => { card.tied = i > 0; });
  redraw();
  say("All are tied.");
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
  card.words = words;
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
  keep();
}

/** Cut a text that is very long, with a button that opens it; all of it is on the page. */
function cut(words, name) {
  words.nextElementSibling?.matches(".open") && words.nextElementSibling.remove();
  words.classList.remove("cut");
  if (words.scrollHeight <= TALL * 1.3) return;
  const count = words.textContent.length.toLocaleString("en");
  const button = element("button", { type: "button", class: "open quiet", onclick: () => {
    const isCut = words.classList.toggle("cut");
    button.setAttribute("aria-expanded", String(!isCut));
    button.textContent = isCut ? `Show all ${count} characters of ${name}` : `Show less of ${name}`;
  } });
  words.after(button);
  button.click();
}

function openAll() {
  const buttons = [...document.querySelectorAll("#work .open")];
  const closed = buttons.filter((button) => button.getAttribute("aria-expanded") === "false");
  for (const button of closed.length ? closed : buttons) button.click();
  say(buttons.length ? (closed.length ? "All texts are open." : "Long texts are cut.") : "No text here is so long that it is cut.");
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
  for (const id of ["save", "skip", "bad"]) byId(id).disabled = !item;
  if (!item) {
    cards = [];
    list.replaceChildren();
    sessionStorage.removeItem(DRAFT);
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
  byId("note").value = item.note;
  const kept = draft();
  if (kept.id === item.id && kept.order?.length === cards.length) { // as it was before a reload
    cards = kept.order.map((place) => cards.find((card) => card.place === place));
    cards.forEach((card, i) => { card.tied = kept.tied[i]; });
    byId("note").value = kept.note;
  }
  list.replaceChildren(...cards.map((card) => card.element));
  redraw();
  showRewards();
  cut(byId("prompt"), "the prompt");
  for (const card of cards) cut(card.words, card.letter);
  const back = item.all_bad ? "its label was taken back: all bad" : "its label was taken back";
  byId("about").textContent = item.ranks ? back : item.skipped ? "skipped before" : "";
  settled = performance.now() + SETTLE;
  byId("prompt-title").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function showState(state) {
  const count = (number) => number.toLocaleString("en");
  byId("labelled").textContent = `${count(state.labelled)} of ${count(state.total)}`;
  byId("mine").textContent = count(state.mine);
  wantsNames = state.wants_names;
  byId("skipped").textContent = count(state.skipped);
  byId("scored").textContent = state.scored + state.failed < state.to_score
    ? `${count(state.scored)} of ${count(state.to_score)} …` : count(state.scored);
  byId("labels-file").textContent = state.file;
  const bar = byId("progress");
  bar.setAttribute("aria-valuemax", state.total);
  bar.setAttribute("aria-valuenow", state.labelled);
  bar.firstElementChild.style.setProperty("width", `${(100 * state.labelled) / state.total}%`);
  byId("train").textContent = byId("command").textContent = state.command;
  byId("done-text").textContent = `${count(state.labelled)} ${state.labelled === 1 ? "prompt is" : "prompts are"} labelled. Train on them with`;
  const left = state.total - state.labelled;
  byId("done-title").textContent = left ? "All that you can label is labelled" : "All is labelled";
  byId("waits").textContent = `${count(left)} more ${left === 1 ? "label is" : "labels are"} somebody else's to give: another person labels those prompts too.`;
  byId("waits").hidden = !left;
  const notes = state.left_out.length ? [`Left out: ${state.left_out.join("; ")}.`] : [];
  if (state.failed) notes.push(`${count(state.failed)} could not be scored and come last: ${state.problem}.`);
  byId("left-out").textContent = notes.join(" ");
  byId("left-out").hidden = !notes.length;
  undone = state.labelled === 0 && state.mine === 0;
  known = true;
  byId("undo").disabled = busy || undone;
}

function say(message) {
  status.textContent = message;
}

// ---- what the service is asked ----

/** One thing at a time: what comes while the service is asked is not done. What waits is sent before anything else. */
async function act(path, body, said) {
  if (busy) return;
  const own = path === "label/save" || path === "label/skip"; // of the prompt at hand, as what waits is
  const waited = draft().waiting !== undefined;
  if (waited && !own) {
    sendWaiting();
    return;
  }
  busy = true;
  asked += 1;
  problem.hidden = true;
  byId("save").setAttribute("aria-disabled", "true");
  for (const id of ["save", "bad", "skip", "undo"]) byId(id).setAttribute("aria-busy", "true");
  try {
    let answer;
    try {
      answer = await ask(path, { window: me, annotator: annotator(), ...body });
      say(waited ? `The service answers again. ${said}` : said);
    } catch (error) {
      if (error.type !== "labelled") throw error;
      complain(error.message);
      answer = await ask("label/next", { window: me, annotator: annotator() });
    }
    if (path !== "label/next") sessionStorage.removeItem(DRAFT);
    byId("offline").hidden = true;
    show(answer.item);
    showState(answer.state);
    refresh();
  } catch (error) {
    const away = [0, 429, 502, 503, 504].includes(error.status);
    if (away && own) {
      // A label that was made before is sent as it was, whatever the name says by then.
      keep({ waiting: { path, body: { annotator: annotator(), ...body }, said } });
      offline("This label is kept in this tab and is sent as soon as the service answers. Leave the tab open.");
      setTimeout(sendWaiting, AGAIN);
    } else {
      if (waited && [404, 422].includes(error.status)) { // it will never be taken
        sessionStorage.removeItem(DRAFT);
        keep();
      }
      complain(error.message);
    }
  } finally {
    busy = false;
    for (const id of ["save", "bad", "skip", "undo"]) byId(id).removeAttribute("aria-busy");
    byId("undo").disabled = undone;
    setTimeout(() => { if (!busy) byId("save").removeAttribute("aria-disabled"); }, settled - performance.now());
  }
}

function sendWaiting() {
  const { waiting } = draft();
  if (waiting) act(waiting.path, waiting.body, waiting.said);
}

function offline(message) {
  say("");
  byId("offline").textContent = `The service cannot be reached. ${message}`;
  byId("offline").hidden = false;
}

let beginning = Promise.resolve();

/** Ask for a prompt, once it is known who asks. */
function begin() {
  beginning = beginning.then(beginNow);
  return beginning;
}

async function beginNow() {
  if (draft().waiting) {
    sendWaiting();
    return;
  }
  if (!known) {
    try {
      showState(await ask(`label/state?window=${me}`));
    } catch (error) {
      complain(error.message);
      return;
    }
  }
  if (wantsNames && !annotator()) {
    complain("Give your name first: the labels of several people are compared.");
    named.focus();
    return;
  }
  await act("label/next", {}, "");
}

function complain(message) {
  say("");
  problem.textContent = message;
  problem.hidden = false;
}

function save(bad = false) {
  if (!item || byId("save").hasAttribute("aria-disabled")) return;
  const order = ranks();
  const given = [];
  cards.forEach((card, i) => { given[card.place] = order[i]; });
  const tied = order.at(-1) === 1;
  const label = { id: item.id, ranks: given, all_bad: bad, note: byId("note").value };
  act("label/save", label, bad ? "Saved: all bad." : tied ? "Saved: all tied." : "Saved.");
}
const skip = () => item && act("label/skip", { id: item.id }, "Skipped: it comes again at the end.");
const undo = () => !byId("undo").disabled && act("label/undo", {}, "The last label was taken back.");

async function poll() {
  let pause = 15_000;
  if (known && !document.hidden && !busy) {
    const before = asked;
    try {
      const state = await ask(`label/state?window=${me}&annotator=${encodeURIComponent(annotator())}`);
      if (before === asked && !busy) {
        showState(state);
        if (state.scored + state.failed < state.to_score) pause = 1500;
        if (item && !item.rewards && state.scored > 0) {
          const answer = await ask("label/next", { window: me, annotator: annotator() });
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

byId("save").addEventListener("click", () => save());
byId("bad").addEventListener("click", () => save(true));
byId("skip").addEventListener("click", skip);
byId("undo").addEventListener("click", undo);
byId("rewards").addEventListener("change", showRewards);
byId("note").addEventListener("input", () => keep());

const fixed = byId("fixed");
fixed.checked = localStorage.getItem("plaudit-fixed") === "yes";
const showFixed = () => byId("work").classList.toggle("fixed", fixed.checked);
fixed.addEventListener("change", () => {
  localStorage.setItem("plaudit-fixed", fixed.checked ? "yes" : "no");
  showFixed();
});
showFixed();

named.addEventListener("change", () => {
  named.value = annotator();
  localStorage.setItem("plaudit-annotator", named.value);
  begin();
});
named.addEventListener("keydown", (event) => {
  if (event.key === "Enter") named.blur();
});

addEventListener("offline", () => {
  if (!draft().waiting) offline("What you do here is kept in this tab.");
});
addEventListener("online", () => {
  byId("offline").hidden = true;
  if (draft().waiting) sendWaiting();
  else say("The service can be reached again.");
});
addEventListener("beforeunload", (event) => {
  if (draft().waiting) event.preventDefault(); // the browser asks whether to leave
});
addEventListener("pageshow", (event) => {
  if (event.persisted) begin(); // by the back button: others may have labelled meanwhile
});

// ---- what is labelled, and who labelled ----

let before = null; // number of the first label of the list that is shown

async function loadLabels(older) {
  try {
    const part = await ask("label/labelled", { window: me, before: older ? before : null });
    before = part.before;
    const rows = part.labels.map((label) => element("li", { value: label.number + 1 },
      element("p", {}, element("bdi", { class: "said" }, label.prompt)),
      element("p", { class: "about" }, element("bdi", {}, label.said),
        ...(label.annotator ? [" · by ", element("bdi", {}, label.annotator)] : []),
        ...(label.note ? [" · note: ", element("bdi", {}, label.note)] : [])),
      element("button", { type: "button", class: "small", "aria-label": `Take back label ${label.number + 1}: ${label.prompt}`,
        onclick: () => act("label/reopen", { id: label.id, by: label.annotator }, "The label was taken back.") }, "Take back")));
    if (older) byId("labels").append(...rows);
    else byId("labels").replaceChildren(...rows);
    byId("older").hidden = before === 0;
  } catch (error) {
    complain(error.message);
  }
}

async function loadPeople() {
  try {
    const found = await ask("label/people", { window: me });
    byId("people-rows").replaceChildren(...found.people.map((one) => element("tr", {},
      element("th", { scope: "row" }, element("bdi", {}, one.annotator || "without a name")),
      ...[one.labels, one.tied, one.bad].map((number) => element("td", {}, number.toLocaleString("en"))),
      element("td", {}, one.gold_pairs ? `${percent(one.gold_right / one.gold_pairs)} of ${one.gold_pairs}` : "–"))));
    const { agreement } = found;
    byId("agreement").textContent = agreement
      ? `Two people order a pair alike in ${percent(agreement.agreement.value)} of the cases (${agreement.pairs} pairs with several labels).`
      : "No pair has the labels of two people yet, so their agreement is not known.";
    const layout = byId("layout");
    if (!layout.options.length) layout.append(...found.layouts.map((name) => element("option", {}, name)));
    if (!layout.value || layout.selectedIndex === 0) layout.value = "ranked";
  } catch (error) {
    complain(error.message);
  }
}

function refresh() {
  if (byId("history").open) loadLabels(false);
  if (byId("people").open) loadPeople();
}

byId("history").addEventListener("toggle", refresh);
byId("people").addEventListener("toggle", refresh);
byId("older").addEventListener("click", () => loadLabels(true));
byId("download").addEventListener("click", async () => {
  const [layout, kind] = [byId("layout").value, byId("kind").value];
  try {
    download(await ask("label/export", { window: me, layout, kind }, undefined, true), `labels-${layout}.${kind}`);
  } catch (error) {
    complain(error.message);
  }
});

// ---- the keyboard ----

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog")) return;
  const { key } = event;
  if (event.target.matches("textarea, select, input:not([type=checkbox])")) { // there keys are text
    if (event.target !== byId("note")) return;
    if (key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) save();
    else if (key === "Escape") cards[0]?.element.focus();
    else return;
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey) return;
  const onButton = event.target.closest("button, a, input, summary");
  if (key === "Enter" && onButton && onButton !== byId("rewards")) return; // it does what it says
  const card = cards.find((each) => each.element.contains(document.activeElement));
  const at = cards.indexOf(card);
  const focus = (place) => cards[Math.min(Math.max(place, 0), cards.length - 1)]?.element.focus();
  const keys = {
    Enter: () => !event.repeat && save(),
    s: () => !event.repeat && skip(),
    b: () => !event.repeat && save(true),
    u: () => !event.repeat && undo(),
    t: () => item && tieAll(),
    o: () => item && openAll(),
    n: () => item && byId("note").focus(),
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

begin().then(poll);
