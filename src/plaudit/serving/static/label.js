// The labelling page. The cards stand in the order of the ranking; `tied` says that one ties with the
// card above it. One request is under way at a time, so that no answer can come too late; what is pressed
// meanwhile is not done, and the page says so. What is done and not yet taken by the service is kept in the
// tab: over a reload, and until the service takes it.
import { ask, byId, download, element, letter, percent, showText, signed } from "./common.js";

const SETTLE = 300; // ms in which a prompt just shown cannot be saved: a key pressed twice is not a label
const AGAIN = 2000; // ms to the first try to send again what was not taken; each pause is twice the last
const LONGEST = 60_000; // ms, of these pauses
const TALL = 560; // px of a text beyond which it is cut until somebody opens it

const list = byId("cards");
const note = byId("note");

let item; // null at the end, and nothing before the service has answered
let cards = []; // {place: in the item, tied, element …}, the best first
let busy = false;
let current = Promise.resolve(); // what is under way
let known = false; // whether the service has ever answered
let settled = Infinity; // when the prompt has been seen for long enough to be saved
let asked = 0; // requests so far, to tell whether a state is still the latest
let wantsNames = false;

// What tells this window from others: a prompt is handed to one of them. It stays over a reload.
const me = sessionStorage.getItem("plaudit-window")
  ?? [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
sessionStorage.setItem("plaudit-window", me);

const named = byId("annotator");
let annotator = localStorage.getItem("plaudit-annotator") ?? ""; // not what is half typed
named.value = annotator;

// ---- what is kept in the tab ----

const DRAFTS = "plaudit-drafts"; // {order, tied, note} of each prompt that something was done to
const SENT = "plaudit-sent"; // {path, body, done} of a label or a skip, until the service has taken it

function kept(name) {
  try {
    return JSON.parse(sessionStorage.getItem(name));
  } catch {
    return null;
  }
}

let drafts = kept(DRAFTS) ?? {};
let sent = kept(SENT);
let stuck = false; // what was sent was not taken, and is sent again
let tries = 0;

/** Keep a draft, or forget it where there is none. */
function keepDraft(id, draft) {
  drafts[id] = draft;
  sessionStorage.setItem(DRAFTS, JSON.stringify(drafts));
}

function keepSent(what) {
  sent = what;
  stuck = false;
  tries = 0;
  sessionStorage.setItem(SENT, JSON.stringify(sent));
}

/** Keep what is done of the prompt at hand. */
function keep() {
  if (!item) return;
  keepDraft(item.id, { order: cards.map((card) => card.place), tied: cards.map((card) => card.tied), note: note.value });
}

// ---- what is said ----

const told = {
  doing: "", // what the service is being asked
  done: "", // what was done last
  missed: "", // what was pressed and not done
  away: "", // why the service takes nothing now
  wrong: "",
};

/** All that the page says of its work is said here: news replaces what was said of its kind. */
function tell(news) {
  Object.assign(told, news);
  const texts = {
    status: [told.doing || told.done, told.missed].filter(Boolean).join(" "), offline: told.away, problem: told.wrong,
  };
  for (const [id, text] of Object.entries(texts)) {
    const place = byId(id);
    if (place.textContent !== text) place.textContent = text; // the same is not read out twice
    if (id !== "status") place.hidden = !text;
  }
}

const say = (done) => tell({ done, missed: "" });

/** Whether nothing can be done to the prompt now; then it says why. */
function locked() {
  const missed = document.body.classList.contains("dragging") ? "Put the card down first."
    : stuck ? "What waits to be sent stays as it is until then."
    : busy ? "A key or a click meanwhile was not taken." : "";
  if (missed) tell({ missed });
  return Boolean(missed);
}

/** Whether the prompt cannot be saved or skipped by this key or click; then it says why. */
function early(event) {
  const missed = !item ? "There is no prompt to label."
    : event.timeStamp < settled ? "A key or a click was not taken: this prompt had only just come." : "";
  if (missed) tell({ missed });
  return Boolean(missed);
}

/** Show which controls do something now. What is not `disabled` keeps the focus and says why it does nothing. */
function mark() {
  const off = busy || stuck;
  const give = ["save", "bad", "skip"].map(byId);
  for (const button of give) button.disabled = !item && !sent;
  byId("undo").disabled = !known;
  const dimmed = (button, is) => (is ? button.setAttribute("aria-disabled", "true") : button.removeAttribute("aria-disabled"));
  for (const button of give) dimmed(button, off || performance.now() < settled);
  if (stuck && !busy) dimmed(byId("save"), false); // it sends at once
  dimmed(byId("undo"), off && !isSaving());
  for (const button of document.querySelectorAll("#cards .buttons button, #labels button")) dimmed(button, off);
  note.readOnly = off;
  byId("work").classList.toggle("locked", off);
  byId("work").setAttribute("aria-busy", String(busy));
}

// ---- order and ties ----

/** Ranks from 1 on, in the order of the cards. */
function ranks() {
  let rank = 0;
  return cards.map((card) => (rank += card.tied ? 0 : 1));
}

const within = (place) => Math.min(Math.max(place, 0), cards.length - 1);

function moveTo(card, place) {
  const from = cards.indexOf(card);
  const to = within(place);
  if (from === to) {
    tell({ missed: `${card.letter} has place ${to + 1} of ${cards.length} already: nothing was moved.` });
    return;
  }
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
    tell({ missed: `${card.letter} is the first card: it has none above it to tie with.` });
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
    onclick: (event) => { locked() || act(); event.currentTarget.focus(); },
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
  settled = Infinity;
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
  note.value = item.note;
  const draft = drafts[item.id];
  if (draft?.order?.length === cards.length) { // as it was left
    cards = draft.order.map((place) => cards.find((card) => card.place === place));
    cards.forEach((card, i) => { card.tied = draft.tied[i]; });
    note.value = draft.note;
  }
  list.replaceChildren(...cards.map((card) => card.element));
  redraw();
  showRewards();
  cut(byId("prompt"), "the prompt");
  for (const card of cards) cut(card.words, card.letter);
  const back = draft?.refused ? "its label was taken back: this is your order"
    : item.all_bad ? "its label was taken back: all bad" : "its label was taken back";
  byId("about").textContent = item.ranks ? back : item.skipped ? "skipped before" : "";
  // From when it is on the screen: the second frame comes after the first is painted.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    if (item !== next) return;
    settled = performance.now() + SETTLE;
    setTimeout(mark, SETTLE + 1);
  }));
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
  byId("with-data").textContent = state.with_data;
  byId("done-text").textContent = `${count(state.labelled)} ${state.labelled === 1 ? "prompt is" : "prompts are"} labelled. Train on them with`;
  const left = state.total - state.labelled;
  byId("done-title").textContent = left ? "All that you can label is labelled" : "All is labelled";
  byId("waits").textContent = `${count(left)} more ${left === 1 ? "label is" : "labels are"} somebody else's to give: another person labels those prompts too.`;
  byId("waits").hidden = !left;
  const notes = state.left_out.length ? [`Left out: ${state.left_out.join("; ")}.`] : [];
  if (state.failed) notes.push(`${count(state.failed)} could not be scored and come last: ${state.problem}.`);
  byId("left-out").textContent = notes.join(" ");
  byId("left-out").hidden = !notes.length;
  known = true;
  mark();
}

// ---- what the service is asked ----

let again = 0; // the timer of the next try
let thenUndo = false; // what is being saved is to be taken back

const isSaving = () => busy && !stuck && sent?.path === "label/save";
const passes = (error) => error.type === "conflict" || [0, 408, 429].includes(error.status) || error.status >= 500;

/** Do `work` and nothing beside it; what goes wrong in it is said. */
function alone(doing, work) {
  busy = true;
  asked += 1;
  tell({ doing, done: "", missed: "", wrong: "" });
  mark();
  current = work().catch((error) => tell({ wrong: error.message })).finally(() => {
    busy = false;
    tell({ doing: "" });
    mark();
  });
  return current;
}

const request = (path, body = {}) => ask(path, { window: me, annotator, ...body });
const askState = () => ask(`label/state?window=${me}&annotator=${encodeURIComponent(annotator)}`);

function arrived(answer, done) {
  show(answer.item);
  showState(answer.state);
  tell({ done, away: "" });
  refresh();
}

function later(what) {
  clearTimeout(again);
  again = setTimeout(what, Math.min(AGAIN * 2 ** tries, LONGEST));
  tries += 1;
}

/** Send a label or a skip of the prompt at hand. It is kept until the service has taken it, also over a reload. */
function give(path, body, done) {
  keepSent({ path, body: { annotator, ...body }, done });
  send();
}

async function send() {
  if (busy || !sent) return;
  clearTimeout(again);
  const { path, body, done } = sent;
  await alone(stuck ? "" : path === "label/skip" ? "Skipping …" : "Saving …", async () => {
    try {
      const answer = await request(path, body);
      const waited = stuck;
      keepSent(null);
      keepDraft(body.id, undefined);
      arrived(answer, waited ? `The service answers again. ${done}` : done);
    } catch (error) {
      if (thenUndo) tell({ missed: "Nothing was taken back." });
      thenUndo = false;
      if (passes(error) || error.status === 401) {
        wait(error);
        return;
      }
      keepSent(null);
      tell({ away: "" });
      if (error.type !== "labelled") throw error; // it stays at hand, to be put right
      keepDraft(body.id, { ...drafts[body.id], refused: true });
      tell({ wrong: `${error.message} Your order is kept in this tab: to give it instead, take that label back under “What is labelled”.` });
      arrived(await request("label/next"), "");
    }
  });
  if (thenUndo) undo();
  else if (!sent && body.annotator !== annotator) begin(); // what came next is another person's
}

/** What was not taken is sent again by itself; but nobody is asked for a key again and again. */
function wait(error) {
  stuck = true;
  const what = sent.path === "label/skip" ? "That it is skipped" : "This label";
  const how = error.status === 401 ? "by Save"
    : "again by itself, at growing pauses, and by Save at once. Leave the tab open";
  tell({ away: `${error.message} ${what} is kept in this tab and is sent ${how}.` });
  if (error.status !== 401) later(send);
}

/** Take a label back. It comes as it was given, and what is done to the prompt at hand is kept. */
function takeBack(path, body, doing, done) {
  if (locked()) return;
  alone(doing, async () => {
    const answer = await request(path, body);
    if (answer.item && !drafts[answer.item.id]?.refused) keepDraft(answer.item.id, undefined);
    arrived(answer, done);
  });
}

let beginning = Promise.resolve();

/** Ask for a prompt, once it is known who asks. */
function begin() {
  beginning = beginning.then(beginNow);
  return beginning;
}

async function beginNow() {
  while (busy) await current;
  let wrong = "";
  if (sent) {
    await send();
    if (sent || item !== undefined) return;
    wrong = told.wrong;
  }
  await alone("Fetching a prompt …", async () => {
    try {
      if (!known) showState(await askState());
      if (wantsNames && !annotator) {
        named.focus();
        throw new Error("Give your name first: the labels of several people are compared.");
      }
      arrived(await request("label/next"), "");
      tries = 0;
    } catch (error) {
      if (passes(error)) later(begin);
      throw error;
    }
  });
  if (!told.wrong) tell({ wrong });
}

function save(event, bad = false) {
  if (stuck && !busy && !bad) {
    send();
    return;
  }
  if (locked() || early(event)) return;
  const order = ranks();
  const given = [];
  cards.forEach((card, i) => { given[card.place] = order[i]; });
  const tied = order.at(-1) === 1;
  const label = { id: item.id, ranks: given, all_bad: bad, note: note.value };
  give("label/save", label, bad ? "Saved: all bad." : tied ? "Saved: all tied." : "Saved.");
}

function skip(event) {
  if (locked() || early(event)) return;
  give("label/skip", { id: item.id }, "Skipped: it comes again at the end.");
}

function undo() {
  if (isSaving()) { // what is meant is the label that is on its way
    thenUndo = true;
    tell({ missed: "It is taken back once it is saved." });
    return;
  }
  thenUndo = false;
  takeBack("label/undo", {}, "Taking the last label back …", "The last label was taken back.");
}

let looking = 0; // the timer of the next look

/** See how far the work is, and whether the service can be reached. */
async function look() {
  let pause = 15_000;
  if (known && !document.hidden && !busy && !sent) {
    const before = asked;
    const still = () => before === asked && !busy;
    try {
      const state = await askState();
      if (still()) {
        showState(state);
        if (told.away) tell({ away: "", done: "The service can be reached again.", missed: "" });
        if (state.scored + state.failed < state.to_score) pause = 1500;
        if (item && !item.rewards && state.scored > 0) {
          const answer = await request("label/next");
          if (still() && answer.item?.id === item?.id) {
            item.rewards = answer.item.rewards;
            showRewards();
          }
        }
      }
    } catch (error) {
      if (still() && error.status === 0) {
        tell({ away: "The service cannot be reached. What you do here is kept in this tab." });
        pause = AGAIN;
      }
    }
  }
  clearTimeout(looking);
  looking = setTimeout(look, pause);
}

byId("save").addEventListener("click", (event) => save(event));
byId("bad").addEventListener("click", (event) => save(event, true));
byId("skip").addEventListener("click", skip);
byId("undo").addEventListener("click", undo);
byId("rewards").addEventListener("change", showRewards);
note.addEventListener("input", keep);

const fixed = byId("fixed");
fixed.checked = localStorage.getItem("plaudit-fixed") === "yes";
const showFixed = () => byId("work").classList.toggle("fixed", fixed.checked);
fixed.addEventListener("change", () => {
  localStorage.setItem("plaudit-fixed", fixed.checked ? "yes" : "no");
  showFixed();
});
showFixed();

named.addEventListener("change", () => {
  annotator = named.value = named.value.trim();
  localStorage.setItem("plaudit-annotator", annotator);
  begin();
});
named.addEventListener("keydown", (event) => {
  if (event.key === "Enter") named.blur();
});

// A browser without a network may still reach a service on its own machine.
addEventListener("offline", look);
addEventListener("online", () => {
  tries = 0;
  if (sent) send();
  else look();
});
addEventListener("beforeunload", (event) => {
  if (stuck) event.preventDefault(); // the browser asks whether to leave
});
addEventListener("pageshow", (event) => {
  if (event.persisted) begin(); // by the back button: others may have labelled meanwhile
});

// ---- what is labelled, and who labelled ----

let before = null; // number of the first label of the list that is shown
let listing = Promise.resolve();

/** One part after the other: each begins where the last ended. */
function loadLabels(older) {
  listing = listing.then(() => loadPart(older));
}

async function loadPart(older) {
  try {
    const part = await ask("label/labelled", { window: me, before: older ? before : null });
    before = part.before;
    const rows = part.labels.map((label) => element("li", { value: label.number + 1 },
      element("p", {}, element("bdi", { class: "said" }, label.prompt)),
      element("p", { class: "about" }, element("bdi", {}, label.said),
        ...(label.annotator ? [" · by ", element("bdi", {}, label.annotator)] : []),
        ...(label.note ? [" · note: ", element("bdi", {}, label.note)] : [])),
      element("button", { type: "button", class: "small", "aria-label": `Take back label ${label.number + 1}: ${label.prompt}`,
        onclick: () => takeBack("label/reopen", { id: label.id, by: label.annotator }, "Taking a label back …", "The label was taken back.") }, "Take back")));
    if (older) byId("labels").append(...rows);
    else byId("labels").replaceChildren(...rows);
    byId("older").hidden = before === 0;
    mark();
  } catch (error) {
    tell({ wrong: error.message });
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
    if (!layout.options.length) {
      layout.append(...found.layouts.map((name) => element("option", {}, name)));
      layout.value = "ranked";
    }
  } catch (error) {
    tell({ wrong: error.message });
  }
}

function refresh() {
  if (byId("history").open) loadLabels(false);
  if (byId("people").open) loadPeople();
}

byId("history").addEventListener("toggle", refresh);
byId("people").addEventListener("toggle", refresh);
byId("older").addEventListener("click", () => loadLabels(true));
byId("download").addEventListener("click", async ({ currentTarget: button }) => {
  if (button.hasAttribute("aria-disabled")) {
    tell({ missed: "One file after the other." });
    return;
  }
  const [layout, kind] = [byId("layout").value, byId("kind").value];
  const name = `labels-${layout}.${kind}`;
  button.setAttribute("aria-disabled", "true");
  say(`Making ${name} …`);
  try {
    download(await ask("label/export", { window: me, layout, kind }, undefined, true), name);
    say(`${name} is made.`);
  } catch (error) {
    tell({ done: "", wrong: error.message });
  }
  button.removeAttribute("aria-disabled");
});

// ---- the keyboard ----

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog")) return;
  // With Caps Lock on, a key does what it does without.
  const key = event.key.length === 1 && !event.shiftKey ? event.key.toLowerCase() : event.key;
  if (event.target.matches("textarea, select, input:not([type=checkbox])")) { // there keys are text
    if (event.target !== note) return;
    if (key === "Enter" && (event.ctrlKey || event.metaKey)) event.repeat || save(event);
    else if (key === "Escape") cards[0]?.element.focus();
    else {
      if (note.readOnly && (key.length === 1 || ["Enter", "Backspace", "Delete"].includes(key))) locked();
      return;
    }
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey) return;
  const onButton = event.target.closest("button, a, input, summary");
  if (key === "Enter" && onButton && onButton !== byId("rewards")) return; // it does what it says
  const card = cards.find((each) => each.element.contains(document.activeElement));
  const at = cards.indexOf(card);
  const miss = (missed) => tell({ missed });
  const focus = (place) => {
    miss(within(place) === place ? "" : `${card.letter} is the ${place < 0 ? "first" : "last"} card.`);
    cards[within(place)].element.focus();
  };
  const some = (act) => (item ? act() : miss("There is no prompt to label."));
  /** What moves a card needs one; without one the first is chosen, and stays. */
  const move = (act) => some(() => {
    if (locked()) return;
    if (card) act();
    else {
      focus(0);
      miss(`No card was chosen, so nothing was moved: now ${cards[0].letter} is.`);
    }
  });
  const choose = (place) => some(() => focus(card ? place : 0));
  const keys = {
    Enter: () => event.repeat || save(event),
    s: () => event.repeat || skip(event),
    b: () => event.repeat || save(event, true),
    u: () => event.repeat || undo(),
    t: () => some(() => locked() || tieAll()),
    o: () => some(openAll),
    n: () => some(() => note.focus()),
    j: () => move(() => moveTo(card, at + 1)),
    k: () => move(() => moveTo(card, at - 1)),
    ArrowDown: () => (event.altKey ? keys.j() : choose(at + 1)),
    ArrowUp: () => (event.altKey ? keys.k() : choose(at - 1)),
    "=": () => move(() => tie(card)),
  };
  const number = !event.altKey && /^[1-9]$/.test(key) ? Number(key) : 0;
  if (number > cards.length && item) miss(`There is no place ${number}: there are ${cards.length} cards.`);
  else if (number) move(() => moveTo(card, number - 1));
  else if (keys[key] && (!event.altKey || key.startsWith("Arrow"))) keys[key]();
  else return;
  event.preventDefault();
});

// ---- dragging ----

function startDrag(event, card) {
  if (event.button !== 0 || event.target.closest("button") || locked()) return;
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
    else if (pressed.key.length === 1 || pressed.key === "Enter") locked();
    pressed.stopPropagation(); // nothing else while a card is in the hand
  };
  const listeners = [["pointermove", move], ["pointerup", end], ["pointercancel", end], ["keydown", escape]];
  for (const [type, listener] of listeners) document.addEventListener(type, listener, true);
  frame = requestAnimationFrame(follow);
}

begin().then(look);
