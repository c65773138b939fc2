"use strict";
// Without this script the page shows everything and its controls stay hidden.
const byId = (id) => document.getElementById(id);

const theme = byId("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
const nameTheme = () => { theme.textContent = isDark() ? "Light colours" : "Dark colours"; };
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
system.addEventListener("change", nameTheme);
theme.hidden = false;
nameTheme();

for (const button of document.querySelectorAll(".more")) {
  const turn = button.parentElement;
  turn.classList.add("cut");
  button.hidden = false;
  button.addEventListener("click", () => {
    const cut = turn.classList.toggle("cut");
    button.setAttribute("aria-expanded", String(!cut));
    button.textContent = cut ? "Show all" : "Show less";
  });
}

const list = byId("list");
if (list) {
  const mistakes = [...list.children].map((element) => ({
    element,
    margin: Number(element.dataset.margin),
    place: Number(element.dataset.place),
    category: Number(element.dataset.category),
    text: [...element.querySelectorAll(".text")].map((each) => each.textContent).join("\n").toLowerCase(),
  }));
  const orders = {
    worst: (a, b) => a.margin - b.margin,
    least: (a, b) => b.margin - a.margin,
    category: (a, b) => a.category - b.category || a.margin - b.margin,
    data: (a, b) => a.place - b.place || a.margin - b.margin,
  };
  const search = byId("search"), category = byId("category"), margin = byId("margin"), order = byId("order");

  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const mistake of mistakes) {
      const fits = words.every((word) => mistake.text.includes(word))
        && (!category || category.value === "" || mistake.category === Number(category.value))
        && -mistake.margin >= Number(margin.value);
      mistake.element.hidden = !fits;
      shown += fits;
    }
    byId("count").textContent = shown === 0
      ? "No mistake fits. Clear shows all again."
      : `${shown} of ${mistakes.length} shown`;
  };
  const sort = () => {
    list.append(...[...mistakes].sort(orders[order.value]).map((mistake) => mistake.element));
  };
  const controls = [search, category, margin].filter(Boolean);
  for (const control of controls) control.addEventListener("input", show);
  order.addEventListener("input", sort);
  byId("clear").addEventListener("click", () => {
    for (const control of controls) control.value = "";
    order.value = "worst";
    sort();
    show();
    search.focus();
  });
  document.querySelector(".controls").hidden = false;
  // What a browser kept of the fields when the page is loaded anew counts, too.
  sort();
  show();
}
