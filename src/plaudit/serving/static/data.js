// From a file in the browser to prompts with their completions, by the column names that plaudit takes.

const NAMES = {
  prompt: ["prompt", "question", "instruction", "query", "input"],
  chosen: ["chosen"],
  rejected: ["rejected"],
  completion: ["completion", "answer", "response", "output", "text"],
  completions: ["completions", "answers", "responses", "outputs"],
  rank: ["rank"],
  ranks: ["ranks", "rank"],
  score: ["score", "rating"],
  scores: ["scores", "ratings", "score", "rating"],
};
const LARGEST = 50 * 2 ** 20;

/** Whether `value` is a list of chat messages. */
export const isMessages = (value) => Array.isArray(value) && value.length > 0 && value.every((message) =>
  message !== null && typeof message === "object" && typeof message.role === "string"
  && (typeof message.content === "string" || Array.isArray(message.content)));

/** The messages that `text` is the JSON of, else the text itself. */
export function messagesOrText(text) {
  if (!text.trimStart().startsWith("[")) return text;
  try {
    const value = JSON.parse(text);
    return isMessages(value) ? value : text;
  } catch {
    return text;
  }
}

/** The rows of a CSV (RFC 4180): lists of fields. */
export function csvRows(text, delimiter = ",") {
  const rows = [];
  let row = [], field = "", quoted = false, at = 0;
  const endRow = () => {
    row.push(field);
    if (row.length > 1 || row[0].trim()) rows.push(row);
    row = [];
    field = "";
  };
  while (at < text.length) {
    const sign = text[at];
    if (quoted) {
      const end = text.indexOf('"', at);
      if (end < 0) throw new Error(`a quote is opened in row ${rows.length + 1} and never closed`);
      field += text.slice(at, end);
      quoted = text[end + 1] === '"';
      if (quoted) field += '"';
      at = end + (quoted ? 2 : 1);
      continue;
    }
    if (sign === '"' && field === "") quoted = true;
    else if (sign === delimiter) { row.push(field); field = ""; }
    else if (sign === "\n") endRow();
    else if (sign === "\r" && text[at + 1] === "\n") { at += 1; endRow(); }
    else field += sign;
    at += 1;
  }
  if (field !== "" || row.length) endRow();
  return rows;
}

function objectsOfCsv(text, delimiter) {
  const [header, ...rows] = csvRows(text, delimiter);
  if (!header) throw new Error("the file is empty");
  return rows.map((row) => (row.length === header.length
    ? Object.fromEntries(header.map((name, i) => [name, row[i]])) : null));
}

function objectsOfJson(text) {
  if (text.trimStart().startsWith("[")) return JSON.parse(text);
  const rows = [];
  text.split("\n").forEach((line, number) => {
    if (!line.trim()) return;
    try {
      rows.push(JSON.parse(line));
    } catch {
      throw new Error(`line ${number + 1} is not JSON`);
    }
  });
  return rows;
}

function finder(columns) {
  const theirs = new Map(columns.map((name) => [name.trim().toLowerCase(), name]).reverse());
  return (ours) => theirs.get(NAMES[ours].find((name) => theirs.has(name)));
}

/** The list in a cell, which in a CSV is JSON; none where it is no list. */
function listIn(cell, isCsv) {
  try {
    const value = typeof cell === "string" && isCsv ? JSON.parse(cell) : cell;
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}

/**
 * What is in a file: `prompts`, [{prompt, completions: [{text, note}]}], rows of one prompt together,
 * and how many rows are `leftOut`, wholly or in part, because there is no text where one should be.
 * `note` says what the file says of a completion: its rank or score, chosen or rejected.
 */
export async function readFile(file) {
  if (file.size > LARGEST) {
    throw new Error(`it has ${Math.round(file.size / 2 ** 20)} MiB, more than the 50 that are read here; use plaudit score`);
  }
  const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  const isCsv = /\.(csv|tsv)$/i.test(file.name);
  const rows = isCsv ? objectsOfCsv(text, /\.tsv$/i.test(file.name) ? "\t" : ",") : objectsOfJson(text);
  const columns = [...new Set(rows.slice(0, 100).flatMap((row) => Object.keys(row ?? {})))];
  const find = finder(columns);
  const prompts = new Map();
  let leftOut = 0;
  for (const row of rows) {
    if (row === null || typeof row !== "object") {
      leftOut += 1;
      continue;
    }
    const value = (ours) => row[find(ours)] ?? undefined;
    const asText = (cell) => (typeof cell === "string" && isCsv ? messagesOrText(cell) : cell);
    let prompt = asText(value("prompt")), given = [];
    if (value("chosen") !== undefined && value("rejected") !== undefined) {
      const pair = [asText(value("chosen")), asText(value("rejected"))];
      if (find("prompt") === undefined) {
        // Of messages the prompt is what both begin with; of strings it cannot be told for sure here.
        if (!pair.every(isMessages)) throw new Error("chosen and rejected are text without a prompt column; give the prompt a column of its own");
        let same = 0;
        while (same < Math.min(pair[0].length, pair[1].length) - 1
          && JSON.stringify(pair[0][same]) === JSON.stringify(pair[1][same])) same += 1;
        prompt = pair[0].slice(0, same);
        pair.forEach((side, i) => { pair[i] = side.slice(same); });
      }
      given = [{ text: pair[0], note: "file: chosen" }, { text: pair[1], note: "file: rejected" }];
    } else {
      const one = value("completion");
      const list = value("completions") ?? (Array.isArray(one) && !isMessages(one) ? one : undefined);
      if (list !== undefined) {
        const ranks = listIn(value("ranks") ?? value("scores"), isCsv);
        const what = value("ranks") === undefined ? "score" : "rank";
        given = listIn(list, isCsv).map((each, i) => ({ text: each, note: note(what, ranks[i]) }));
      } else if (one !== undefined) {
        const said = value("rank") === undefined ? note("score", value("score")) : note("rank", value("rank"));
        given = [{ text: asText(one), note: said }];
      }
    }
    const usable = given.filter(({ text: each }) => isText(each));
    if (!usable.length || !isText(prompt)) {
      leftOut += 1;
      continue;
    }
    if (usable.length < given.length) leftOut += 1;
    const key = JSON.stringify(prompt);
    if (!prompts.has(key)) prompts.set(key, { prompt, completions: [] });
    const { completions } = prompts.get(key);
    for (const each of usable) {
      if (!completions.some((other) => JSON.stringify(other.text) === JSON.stringify(each.text))) completions.push(each);
    }
  }
  if (!prompts.size) {
    throw new Error(`no prompt with a completion in it; its columns: ${columns.slice(0, 20).join(", ") || "none"}`);
  }
  return { prompts: [...prompts.values()], leftOut };
}

const isText = (value) => isMessages(value) || (typeof value === "string" && value.trim() !== "");

const note = (what, value) => (value === undefined || value === null || value === "" ? "" : `file: ${what} ${value}`);
