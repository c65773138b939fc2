"use strict";
// Numbers come largest first, names in the order of the alphabet, what has no value last.
for (const table of document.querySelectorAll(".grid table")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const valueOf = (row, column) => {
    const value = row.cells[column].dataset.value;
    return value === undefined || value === "" || Number.isNaN(Number(value)) ? value ?? "" : Number(value);
  };
  const sort = (column, direction) => {
    const rows = [...body.rows];
    const values = rows.map((row) => valueOf(row, column)).filter((value) => value !== "");
    const numbers = values.length > 0 && values.every((value) => typeof value === "number");
    const up = direction ?? (numbers ? "descending" : "ascending");
    const sign = up === "ascending" ? 1 : -1;
    rows.sort((a, b) => {
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (numbers ? x - y : String(x).localeCompare(String(y)));
    });
    body.append(...rows);
    heads.forEach((head, index) => {
      if (index === column) head.setAttribute("aria-sort", up);
      else head.removeAttribute("aria-sort");
    });
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      sort(column, now === "descending" ? "ascending" : now === "ascending" ? "descending" : undefined);
    });
  });
  const select = document.querySelector(`select[data-table="${table.id}"]`);
  select.value = "0";
  select.addEventListener("input", () => sort(Number(select.value)));
  select.parentElement.hidden = false;
}
