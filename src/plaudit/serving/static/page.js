// The scoring page. A box holds a text as it was given: one from a file is sent unchanged, line ends
// and all, until somebody edits it. Every change makes a new version, and an answer to an old one is
// not shown.
import { ask, byId, element, letter, percent, signed } from "./common.js";
import { isMessages, messagesOrText, readFile } from "./data.js";

const list = byId("completions");
const promptField = byId("prompt");
const status = byId("status");
const problem = byId("problem");

let version = 0;
let running = null; // how to stop what is being scored
let boxes = [];
let given = null; // the prompt as a file has it, until it is edited
let prompts = []; // of the file
let leftOut = 0; // rows of the file
let unreached = false; // whether the service could not be asked
let position = 0;

// ---- boxes ----

const written = (text) => (typeof text === "string" ? text : JSON.stringify(text, null, 2));

function makeBox(text = "", note = "") {
  const box = { given: text === "" ? null : text };
  box.badge = element("span", { class: "badge", "aria-hidden": "true" }, "·");
  box.name = element("label", {});
  box.note = element("span", { class: "about" }, note);
  box.remove = element("button", { type: "button", class: "quiet", onclick: () => removeBox(box) }, "Remove");
  box.field = element("textarea", { rows: 3, spellcheck: "false", dir: "auto", oninput: () => {
    box.given = null;
    box.note.textContent = "";
    changed();
  } });
  box.field.value = written(text);
  box.bar = element("div", { class: "share", "aria-hidden": "true" }, element("div"));
  box.result = element("p", { class: "result" }, " ");
  box.card = element("li", { class: "sheet box" },
    element("div", { class: "head" }, box.badge, box.name, box.note, box.remove),
    box.field, box.bar, box.result);
  return box;
}

function place() {
  list.replaceChildren(...boxes.map((box) => box.card));
  boxes.forEach((box, i) => {
    box.letter = letter(i);
    box.name.textContent = `Completion ${box.letter}`;
    box.field.id = `completion-${i}`;
    box.name.htmlFor = box.field.id;
    box.remove.setAttribute("aria-label", `Remove completion ${box.letter}`);
    box.remove.disabled = boxes.length === 1;
  });
}

function addBox(text, note) {
  boxes.push(makeBox(text, note));
  place();
  return boxes.at(-1);
}

function removeBox(box) {
  const at = boxes.indexOf(box);
  boxes = boxes.filter((other) => other !== box);
  place();
  changed();
  boxes[Math.min(at, boxes.length - 1)].field.focus();
}

// ---- versions ----

function changed() {
  version += 1;
  if (running) {
    running.abort();
    running = null;
    status.textContent = "The text has changed. Score again.";
  } else if (boxes.some((box) => box.reward !== undefined)) {
    status.textContent = "The text has changed since. Score again.";
  }
  document.body.classList.add("stale");
  byId("sort").disabled = true;
}

function clearResults() {
  for (const box of boxes) {
    delete box.reward;
    box.badge.textContent = "·";
    box.badge.classList.remove("first");
    box.result.textContent = " ";
    box.bar.firstChild.style.setProperty("width", "0");
  }
  byId("pairwise").hidden = true;
}

function say(message) {
  problem.hidden = true;
  status.textContent = message;
}

function complain(message) {
  status.textContent = "";
  problem.textContent = message;
  problem.hidden = false;
}

// ---- scoring ----

async function score() {
  const prompt = given ?? messagesOrText(promptField.value);
  const filled = boxes.filter((box) => box.field.value.trim());
  if (typeof prompt === "string" && !prompt.trim()) {
    complain("Write a prompt first.");
    promptField.focus();
    return;
  }
  if (!filled.length) {
    complain("Write a completion first.");
    boxes[0].field.focus();
    return;
  }
  running?.abort();
  const stop = running = new AbortController();
  const mine = version;
  unreached = false;
  say("Scoring …");
  try {
    const completions = filled.map((box) => box.given ?? messagesOrText(box.field.value));
    const answer = await ask("score", { prompt, completions }, stop.signal);
    if (mine === version && running === stop) show(filled, answer);
  } catch (error) {
    if (error.name !== "AbortError" && mine === version && running === stop) {
      clearResults();
      unreached = error.status === 0;
      complain(error.message);
    }
  } finally {
    if (running === stop) running = null;
  }
}

function show(filled, { rewards, probabilities, preference, truncated }) {
  clearResults();
  document.body.classList.remove("stale");
  filled.forEach((box, i) => {
    const rank = 1 + new Set(rewards.filter((other) => other > rewards[i])).size;
    box.reward = rewards[i];
    box.badge.textContent = String(rank);
    box.badge.classList.toggle("first", rank === 1);
    box.bar.firstChild.style.setProperty("width", `${100 * probabilities[i]}%`);
    box.result.replaceChildren(
      element("span", { class: "unseen" }, `Rank ${rank}. `),
      element("span", {}, "reward ", element("strong", {}, signed(rewards[i]))),
      element("span", {}, filled.length > 1 ? `best of these with ${percent(probabilities[i])}` : "nothing to compare it with"),
      ...(truncated[i] ? [element("span", { class: "cut" }, "longer than the model reads: cut")] : []));
  });
  const best = filled.filter((box) => box.reward === Math.max(...rewards));
  const names = best.map((box) => box.letter).join(" and ");
  const empty = boxes.length - filled.length;
  say((filled.length === 1 ? "Scored." : best.length > 1 ? `${names} are best, with the same reward.` : `${names} is best.`)
    + (empty ? ` Empty boxes were left out.` : ""));
  byId("sort").disabled = filled.length < 2;
  if (preference && filled.length > 1) showPairs(filled, preference); // of very many there is none
}

function showPairs(filled, preference) {
  const table = byId("pairwise");
  const head = (box, scope) => element("th", { scope }, box.letter);
  table.querySelector("thead").replaceChildren(
    element("tr", {}, element("td"), ...filled.map((box) => head(box, "col"))));
  table.querySelector("tbody").replaceChildren(...filled.map((row, i) =>
    element("tr", {}, head(row, "row"), ...filled.map((column, j) => {
      if (i === j) return element("td", { class: "same" }, "–");
      const share = preference[i][j];
      const cell = element("td", { title: `${row.letter} is preferred to ${column.letter} with ${percent(share)}` }, percent(share));
      cell.style.setProperty("--share", `${Math.round(Math.abs(2 * share - 1) * 100)}%`);
      cell.classList.add(share >= 0.5 ? "over" : "under");
      return cell;
    }))));
  table.hidden = false;
}

// ---- a file ----

function showPrompt(at) {
  position = Math.min(Math.max(at, 0), prompts.length - 1);
  const { prompt, completions } = prompts[position];
  given = prompt;
  promptField.value = written(prompt);
  nameKind();
  boxes = completions.map(({ text, note }) => makeBox(text, note));
  place();
  changed();
  clearResults();
  byId("position").value = position + 1;
  byId("previous").disabled = position === 0;
  byId("next").disabled = position === prompts.length - 1;
  score();
}

async function open(file) {
  const mine = ++version;
  say("Reading …");
  try {
    const found = await readFile(file);
    if (mine !== version) return;
    prompts = found.prompts;
    leftOut = found.leftOut;
  } catch (error) {
    if (mine === version) {
      const why = error instanceof TypeError ? "it is not UTF-8 text" : error.message;
      complain(`${file.name}: ${why}`);
    }
    return;
  }
  byId("stepper").hidden = false;
  byId("file-hint").hidden = true;
  byId("file-name").firstChild.textContent = file.name;
  byId("left-out").textContent = leftOut
    ? `, ${leftOut.toLocaleString("en")} ${leftOut === 1 ? "row" : "rows"} left out: without a text` : "";
  byId("position").max = prompts.length;
  byId("total").textContent = `of ${prompts.length.toLocaleString("en")}`;
  showPrompt(0);
}

byId("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = ""; // so that the same file can be opened again after it has changed
  if (file) open(file);
});
byId("previous").addEventListener("click", () => showPrompt(position - 1));
byId("next").addEventListener("click", () => showPrompt(position + 1));
byId("position").addEventListener("change", (event) => {
  const wanted = Number.parseInt(event.target.value, 10);
  showPrompt(Number.isNaN(wanted) ? position : wanted - 1);
});
byId("close").addEventListener("click", () => {
  prompts = [];
  byId("stepper").hidden = true;
  byId("file-hint").hidden = false;
  given = null;
  promptField.value = "";
  boxes = [makeBox(), makeBox()];
  place();
  changed();
  clearResults();
  nameKind();
  say("");
  promptField.focus();
});

// ---- the rest ----

function nameKind() {
  const prompt = given ?? messagesOrText(promptField.value);
  byId("prompt-kind").textContent = isMessages(prompt)
    ? `${prompt.length} ${prompt.length === 1 ? "message" : "messages"}` : "";
}

promptField.addEventListener("input", () => {
  given = null;
  nameKind();
  changed();
});
byId("add").addEventListener("click", () => {
  addBox().field.focus();
  changed();
});
byId("several").addEventListener("click", () => {
  const paste = byId("paste");
  paste.hidden = !paste.hidden;
  byId("several").setAttribute("aria-expanded", String(!paste.hidden));
  if (!paste.hidden) byId("many").focus();
});
byId("split").addEventListener("click", () => {
  const texts = byId("many").value.split(/^---[ \t]*$/m)
    .map((text) => text.replace(/^\n|\n$/g, "")).filter((text) => text.trim());
  if (!texts.length) {
    complain("There is nothing to put into boxes.");
    return;
  }
  boxes = [...boxes.filter((box) => box.field.value.trim()), ...texts.map((text) => makeBox(messagesOrText(text)))];
  place();
  changed();
  byId("many").value = "";
  byId("several").click();
  boxes[0].field.focus();
  say(`${texts.length} ${texts.length === 1 ? "box" : "boxes"} filled.`);
});
byId("score").addEventListener("click", score);
byId("sort").addEventListener("click", () => {
  // Letters go with the places, so the pairs are shown anew.
  boxes = [...boxes].sort((a, b) => (b.reward ?? -Infinity) - (a.reward ?? -Infinity));
  place();
  score();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) {
    event.preventDefault();
    score();
  }
});

// ---- over a reload, and until the service can be reached again ----

const TYPED = "plaudit-typed";

addEventListener("pagehide", () => {
  const texts = boxes.map((box) => [box.given ?? messagesOrText(box.field.value), box.note.textContent]);
  try {
    sessionStorage.setItem(TYPED, JSON.stringify([given ?? messagesOrText(promptField.value), texts]));
  } catch {
    sessionStorage.removeItem(TYPED); // more than the browser keeps for a tab
  }
});
addEventListener("online", () => { if (unreached) score(); });

const [typed, texts] = JSON.parse(sessionStorage.getItem(TYPED)) ?? ["", [["", ""], ["", ""]]];
if (typed !== "") {
  given = typed;
  promptField.value = written(typed);
}
for (const [text, note] of texts) addBox(text, note);
nameKind();
