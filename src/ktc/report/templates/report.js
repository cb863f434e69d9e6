"use strict";
// Only comfort: without it the page says the same.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const headers = Array.from(table.tHead.rows[0].cells);

  headers.forEach((header, column) => {
    const numeric = header.align === "right";
    const steps = numeric ? ["descending", "ascending", ""] : ["ascending", "descending", ""];
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const now = header.getAttribute("aria-sort") || "";
      const next = steps[(steps.indexOf(now) + 1) % steps.length];
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) header.setAttribute("aria-sort", next);
      const sign = next === "descending" ? -1 : 1;
      const key = (row) => {
        const text = row.cells[column].textContent;
        return numeric ? Number(text.replace(/,/g, "")) : text;
      };
      const compare = (a, b) => {
        if (!numeric) return sign * a.localeCompare(b, undefined, { numeric: true });
        // What is not available comes last, in either direction.
        return Number.isNaN(a) - Number.isNaN(b) || sign * (a - b) || 0;
      };
      const keys = new Map(rows.map((row) => [row, key(row)]));
      const sorted = next ? rows.slice().sort((a, b) => compare(keys.get(a), keys.get(b))) : rows;
      body.append(...sorted);
    });
  });

  const filter = document.createElement("input");
  filter.type = "search";
  filter.className = "filter";
  filter.placeholder = "Show nodes that contain\u2026";
  filter.setAttribute("aria-label", "Filter nodes");
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  table.parentElement.before(filter);
}

for (const rect of document.querySelectorAll(".profile rect")) {
  rect.addEventListener("click", () => { location.hash = "n" + rect.getAttribute("x"); });
}
