"use strict";
// The pairs to look through: which of them, in which order, ten at a time. Their figures are columns
// of numbers; whatever the data say is set as text and never read as HTML.
if (byId("pairs-data")) {
  const data = JSON.parse(byId("pairs-data").textContent);
  const { ranking, prompt, category, apart, length, writer, completion, rewards } = data.columns;
  const several = data.models.length > 1;
  const all = ranking.map((_, i) => i); // furthest apart first: pair i is #mistake-(i + 1)
  const PAGE = 10, LONG = 700, LINES = 9;
  const list = byId("list"), section = byId("pairs");
  const field = (id) => byId(id); // null where this report has no such field
  const fields = ["search", "right", "wrong", "category", "length", "apart", "each"].map(field).filter(Boolean);
  const order = byId("order");
  const pages = [...section.querySelectorAll(".page")];
  const number = (value) => value.toLocaleString("en");
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
  const margin = (model, i) => rewards[model][0][i] - rewards[model][1][i];
  let found = [], page = 0;

  const turns = (text) => typeof text === "string" ? [["", text]] : text;
  const lower = []; // of each text, made when it is first searched
  const reads = (text) => lower[text] ??= turns(data.texts[text]).map((turn) => turn[1]).join("\n").toLowerCase();

  const orders = {
    most: null,
    least: (a, b) => b - a,
    category: (a, b) => (data.categories[category[a]] ?? "").localeCompare(data.categories[category[b]] ?? "") || a - b,
    data: (a, b) => ranking[a] - ranking[b] || a - b,
  };

  const select = () => {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const least = Number(byId("apart").value);
    const kind = field("category")?.selectedIndex ? data.categories.indexOf(field("category").value) : null;
    const longer = byId("length").value;
    const right = field("right")?.value ?? "", wrong = field("wrong")?.value ?? "";
    const seen = byId("each").value ? new Set() : null;
    found = all.filter((i) => {
      if (apart[i] < least) return false;
      if (kind !== null && category[i] !== kind) return false;
      if (longer && (longer === "longer" ? length[0][i] <= length[1][i] : length[0][i] >= length[1][i])) return false;
      if (right && margin(right, i) <= 0) return false;
      if (wrong && margin(wrong, i) > 0) return false;
      if (words.length) {
        const texts = data.shown[i];
        if (!texts || !words.every((word) => texts.some((text) => reads(text).includes(word)))) return false;
      }
      if (seen) {
        if (seen.has(prompt[i])) return false;
        seen.add(prompt[i]);
      }
      return true;
    });
    if (orders[order.value]) found.sort(orders[order.value]);
  };

  const make = (tag, name, ...inside) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...inside.filter((each) => each !== null));
    return element;
  };

  const said = (text, what) => turns(data.texts[text]).map(([role, words]) => {
    const turn = make("div", "turn", role ? make("p", "role", make("bdi", "", role)) : null);
    const shown = make("div", words.trim() ? "text" : "text empty", words.trim() ? words : "(empty)");
    shown.dir = "auto";
    turn.append(shown);
    if (words.length > LONG || words.split("\n", LINES + 1).length > LINES) {
      const button = make("button", "more", "Show all");
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      button.setAttribute("aria-label", `Show all of the ${what}, ${number(words.length)} characters`);
      button.addEventListener("click", () => {
        const cut = turn.classList.toggle("cut");
        button.setAttribute("aria-expanded", String(!cut));
        button.textContent = cut ? "Show all" : "Show less";
      });
      turn.classList.add("cut");
      turn.append(button);
    }
    return turn;
  });

  const side = (i, k) => {
    const what = ["chosen", "rejected"][k];
    const about = make("span", "about");
    const reward = (model) => `${several ? " " : "reward "}${signed(rewards[model][k][i])}`;
    data.models.forEach((name, model) => about.append(model ? " · " : "", several ? make("bdi", "", name) : "", reward(model)));
    if (writer[k][i] >= 0) about.append(" · ", make("bdi", "", data.writers[writer[k][i]]));
    about.append(` · ${number(length[k][i])} characters`);
    const head = make("h4", "", k ? "Rejected " : "Chosen ", about);
    const texts = data.shown[i];
    return make("section", `side ${what}`, head, ...(texts ? said(texts[k + 1], `${what} completion`) : []));
  };

  // Of several models rankings are counted among those that all have, and not as in one's file.
  const elsewhere = (i) => "Its texts are not in this page" + (several ? "." : `, but in predictions.jsonl, ranking ${ranking[i]}: completions ${completion[0][i] + 1} and ${completion[1][i] + 1}.`);

  const card = (i) => {
    const link = make("a", "anchor", `#${i + 1}`);
    link.href = `#mistake-${i + 1}`;
    link.title = "A link to this pair";
    const head = make("h3", "", link, " ");
    if (several) {
      data.models.forEach((name, model) => {
        const right = margin(model, i) > 0;
        const figure = make("span", right ? "margin good" : "margin", right ? "right " : "wrong ", signed(margin(model, i)));
        head.append(make("span", "of-model", make("bdi", "about", name), " ", figure));
      });
    } else {
      head.append(make("span", "margin", signed(margin(0, i))), make("span", "about", " margin"));
    }
    const about = make("span", "about");
    if (category[i] >= 0) about.append(" · ", make("bdi", "tag", data.categories[category[i]]));
    const texts = data.shown[i];
    const origin = data.origins[data.origin[i]];
    about.append(" · ", origin ? make("bdi", "", origin) : `ranking ${ranking[i]}`);
    head.append(about);
    const article = make("article", "mistake", head);
    article.id = `mistake-${i + 1}`;
    article.tabIndex = -1;
    if (texts) article.append(make("section", "prompt", make("h4", "", "Prompt"), ...said(texts[0], "prompt")));
    else article.append(make("p", "note", elsewhere(i)));
    article.append(make("div", "pair", side(i, 0), side(i, 1)));
    return article;
  };

  const show = () => {
    const last = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(Math.max(page, 0), last - 1);
    const here = found.slice(page * PAGE, (page + 1) * PAGE);
    list.replaceChildren(...here.map(card));
    byId("count").textContent = found.length === 0
      ? "No pair fits. Clear shows them again."
      : `${number(page * PAGE + 1)} to ${number(page * PAGE + here.length)} of ${number(found.length)}`
        + (found.length < all.length ? `, of ${number(all.length)} in all` : "");
    for (const input of pages) { input.value = page + 1; input.max = last; }
    for (const span of section.querySelectorAll(".pages")) span.textContent = `of ${number(last)}`;
    for (const button of section.querySelectorAll(".back")) button.disabled = page === 0;
    for (const button of section.querySelectorAll(".on")) button.disabled = page === last - 1;
    section.querySelectorAll(".pager")[1].hidden = last === 1;
  };

  const fresh = () => { page = 0; select(); show(); };
  const clear = () => {
    for (const each of fields) each.value = each.id === "each" ? "one" : "";
    order.value = "most";
    fresh();
  };
  const turnTo = (wanted) => {
    page = wanted;
    show();
    section.querySelector(".pager").scrollIntoView();
    list.firstElementChild?.focus({ preventScroll: true });
  };
  // A link to a pair shows it, whatever the fields leave out.
  const follow = () => {
    const i = Number(/^#mistake-(\d+)$/.exec(location.hash)?.[1]) - 1;
    if (!(i in all)) return;
    if (!found.includes(i)) clear();
    if (!found.includes(i)) { byId("each").value = ""; fresh(); }
    page = Math.floor(found.indexOf(i) / PAGE);
    show();
    const there = byId(`mistake-${i + 1}`);
    there.classList.add("linked");
    there.scrollIntoView();
    there.focus({ preventScroll: true });
  };

  // An apostrophe before what a spreadsheet would compute.
  const quoted = (text) => `"${String(text).replace(/^(?=[=+\-@\t\r\n＝＋－＠])/, "'").replaceAll('"', '""')}"`;
  const save = () => {
    const heads = ["mistake", "ranking", "chosen", "rejected", "chosen_characters", "rejected_characters", "category"];
    for (const name of data.models) heads.push(...["chosen", "rejected"].map((what) => (several ? `${name}: ` : "") + `reward_${what}`));
    const rows = found.map((i) => [i + 1, ranking[i], completion[0][i], completion[1][i], length[0][i], length[1][i],
      quoted(data.categories[category[i]] ?? ""), ...rewards.flatMap((each) => [each[0][i], each[1][i]])].join(","));
    const link = make("a");
    link.download = "pairs.csv";
    link.href = URL.createObjectURL(new Blob([[heads.map(quoted).join(","), ...rows, ""].join("\n")], { type: "text/csv" }));
    link.click();
    URL.revokeObjectURL(link.href);
  };

  for (const each of [...fields, order]) each.addEventListener("input", fresh);
  byId("clear").addEventListener("click", () => { clear(); byId("search").focus(); });
  byId("save").addEventListener("click", save);
  for (const button of section.querySelectorAll(".back")) button.addEventListener("click", () => turnTo(page - 1));
  for (const button of section.querySelectorAll(".on")) button.addEventListener("click", () => turnTo(page + 1));
  for (const input of pages) input.addEventListener("change", () => turnTo(Math.round(Number(input.value)) - 1 || 0));
  // Only where the focus is among the pairs, so that no key is taken from anybody who types.
  list.addEventListener("keydown", (event) => {
    if (event.target !== event.target.closest(".mistake") || event.altKey || event.ctrlKey || event.metaKey) return;
    const next = { j: "nextElementSibling", k: "previousElementSibling" }[event.key];
    if (next) event.target[next]?.focus();
    else if (event.key === "ArrowRight" && (page + 1) * PAGE < found.length) turnTo(page + 1);
    else if (event.key === "ArrowLeft" && page > 0) turnTo(page - 1);
  });
  addEventListener("hashchange", follow);
  if (data.shown.length < all.length) {
    byId("without-text").textContent = `Of the first ${number(data.shown.length)} the texts are in this page, which search looks through; of the others the figures.`;
    byId("without-text").hidden = false;
  }
  section.querySelector(".controls").hidden = false;
  section.querySelector(".pager").hidden = false;
  // What a browser kept of the fields when the page is loaded anew counts, too.
  select();
  show();
  follow();
}
