"use strict";
// What every page has: the choice of colours, figures to save, long tables cut. Without scripts a
// page shows all of that, and the controls stay hidden.
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

// The picture is in the page already; its address is not written twice.
for (const link of document.querySelectorAll("a.svg")) {
  link.href = link.closest("figure").querySelector(".on-light").src;
  link.hidden = false;
}

const SHOWN_ROWS = 12;
for (const table of document.querySelectorAll(".table")) {
  const count = table.querySelectorAll("tbody tr").length;
  if (count <= SHOWN_ROWS + 3) continue;
  const button = document.createElement("button");
  const name = () => { button.textContent = table.classList.contains("cut") ? `Show all ${count} rows` : "Show fewer rows"; };
  button.type = "button";
  button.className = "more";
  button.addEventListener("click", () => {
    button.setAttribute("aria-expanded", String(!table.classList.toggle("cut")));
    name();
  });
  button.setAttribute("aria-expanded", "false");
  table.classList.add("cut");
  name();
  table.append(button);
}
