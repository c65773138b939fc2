// What the pages share: building elements, the theme, and asking the service, with a key if it wants one.
// Whatever comes from data goes onto the page as text and as nothing else.

export const byId = (id) => document.getElementById(id);

/** An element with attributes, listeners (`onclick`) and children, which are elements or text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A name for the n-th completion: A, B … Z, AA, AB … */
export function letter(n) {
  return (n >= 26 ? letter(Math.floor(n / 26) - 1) : "") + String.fromCharCode(65 + (n % 26));
}

export const signed = (number) => (number < 0 ? "−" : "+") + Math.abs(number).toFixed(3);
export const percent = (share) => `${share > 0 && share < 0.005 ? "< 1" : share < 1 && share >= 0.995 ? "> 99" : Math.round(100 * share)} %`;

/** What a message says: its content, and all else it has (calls of tools, names) as JSON. */
function saidIn(message) {
  const { role, content, ...rest } = message;
  const said = typeof content === "string" ? content : JSON.stringify(content);
  return Object.keys(rest).length ? `${said}\n${JSON.stringify(rest)}` : said;
}

/** Give a file to whoever looks at the page. */
export function download(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Fill `place` with a text: a string, or messages in turn. */
export function showText(place, text) {
  const turns = typeof text === "string" ? [{ content: text }] : text;
  place.replaceChildren(...turns.map((turn) => element("div", { class: "turn" },
    ...(turn.role === undefined ? [] : [element("p", { class: "role" }, element("bdi", {}, turn.role))]),
    element("div", { class: "text", dir: "auto" }, turn.role === undefined ? turn.content : saidIn(turn)))));
}

// ---- the theme ----

const theme = byId("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
const nameTheme = () => { theme.textContent = isDark() ? "Light colours" : "Dark colours"; };
const kept = localStorage.getItem("plaudit-theme");
if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  localStorage.setItem("plaudit-theme", document.documentElement.dataset.theme);
  nameTheme();
});
system.addEventListener("change", nameTheme);
theme.hidden = false;
nameTheme();

// ---- asking the service ----

/** What the service refused, in its words; `type` and `status` are its own. */
export class Refusal extends Error {
  constructor(message, status, type) {
    super(message);
    this.status = status;
    this.type = type;
  }
}

const KEY = "plaudit-key";
let asking = null; // the key that is being asked for, once for however many requests

function askForKey(refused) {
  asking ??= new Promise((resolve, reject) => {
    const field = element("input", { type: "password", id: "key", autocomplete: "off", required: true });
    const form = element("form", { class: "key" },
      element("h2", {}, refused ? "The key was not accepted" : "This service wants a key"),
      element("label", { for: "key" }, "API key"),
      field,
      element("p", { class: "hint" }, "Kept in this tab until it is closed."),
      element("div", { class: "row" },
        element("button", { type: "submit", class: "primary" }, "Use it"),
        element("button", { type: "button", onclick: () => dialog.close() }, "Not now")));
    const dialog = element("dialog", {}, form);
    let given = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, field.value.trim());
      given = true;
      dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      asking = null;
      if (given) resolve();
      else reject(new Refusal("The service wants an API key, and none was given.", 401, "no_key"));
    });
    document.body.append(dialog);
    dialog.showModal();
    field.focus();
  });
  return asking;
}

/** The JSON that the service answers, or its bytes as a blob; with `body` a POST. Throws `Refusal`, or AbortError. */
export async function ask(path, body, signal, asBlob = false) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { Accept: asBlob ? "*/*" : "application/json" };
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer, value;
    try {
      answer = await fetch(path, {
        method: body === undefined ? "GET" : "POST", headers, signal, cache: "no-store",
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      value = await (asBlob && answer.ok ? answer.blob() : answer.json()).catch((error) => {
        if (error.name === "AbortError") throw error;
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal("The service cannot be reached. Is it still running?", 0, "unreachable");
    }
    if (answer.ok && value !== undefined) return value;
    if (answer.status !== 401) {
      const { message, where, type } = value?.error ?? {};
      const said = message ?? `The service answered ${answer.status}, without saying why.`;
      throw new Refusal(where && !said.includes(where) ? `${where}: ${said}` : said, answer.status, type);
    }
    // Another request may have been given a new key meanwhile.
    if (sessionStorage.getItem(KEY) === key) await askForKey(Boolean(key));
  }
}
