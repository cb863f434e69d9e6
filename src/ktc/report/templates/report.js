"use strict";
// Only comfort: without it the page says the same.

/** Makes an element with attributes (and properties that begin with a dot) and children. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith(".")) made[key.slice(1)] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function sortable(table) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const headers = Array.from(table.tHead.rows[0].cells);
  headers.forEach((header, column) => {
    const numeric = header.align === "right";
    const steps = numeric ? ["descending", "ascending", ""] : ["ascending", "descending", ""];
    const button = element("button", { type: "button" }, header.textContent);
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
}

function filterable(table) {
  const rows = Array.from(table.tBodies[0].rows);
  const columns = Array.from(table.tHead.rows[0].cells, (header) => header.textContent);
  const text = element("input", { type: "search", placeholder: "Show nodes that contain\u2026", "aria-label": "Filter nodes" });
  const choices = ["type", "bound"].map((name) => {
    const column = columns.indexOf(name);
    const words = new Set(rows.map((row) => row.cells[column].textContent));
    const options = Array.from(words).sort().map((word) => element("option", { value: "=" + word }, word));
    const select = element("select", { "aria-label": "Filter by " + name }, element("option", { value: "" }, "any " + name), ...options);
    return { column, select };
  });
  const shown = element("output", { class: "note" });
  const apply = () => {
    const wanted = text.value.toLowerCase();
    let count = 0;
    for (const row of rows) {
      row.hidden = !(row.textContent.toLowerCase().includes(wanted) &&
        choices.every(({ column, select }) => !select.value || select.value === "=" + row.cells[column].textContent));
      count += !row.hidden;
    }
    shown.value = count + " of " + rows.length + " nodes";
  };
  const controls = [text, ...choices.map((choice) => choice.select)];
  for (const control of controls) control.addEventListener("input", apply);
  table.parentElement.before(element("div", { class: "filter" }, ...controls, shown));
  apply();
}

/**
 * Time of one inference in ms for other rates and widths. Mirrors `node_time` of ktc/evaluator/cost.py, summed over
 * the nodes; the terms come from ktc/report/_what_if.py. Bandwidths are in GB/s, the clock in MHz.
 */
function inferenceMs(terms, choice) {
  const path = terms.datapath[choice.datapath];
  const load = terms.weights[choice.weights];
  let sum = path.fixed;
  for (let node = 0; node < terms.cycles.length; node++) {
    const compute = terms.cycles[node] * path.factor[node] * load.factor[node] / choice.clock / 1e3;
    const weights = load.bytes[node] * path.loads[node] / choice.weight / 1e6;
    const maps = path.read[node] / choice.read / 1e6 + path.write[node] / choice.write / 1e6;
    sum += Math.max(compute, weights + maps) + terms.exposed * Math.min(compute, weights);
  }
  return sum;
}

function whatIf(section, terms) {
  const now = terms.now;
  // As the page above prints them: four significant digits, whole numbers in full.
  const reported = (value) => value.toFixed(Math.max(0, 3 - Math.floor(Math.log10(value))));
  const digits = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4, useGrouping: false });
  const result = element("output", { class: "result", "aria-live": "polite" });
  const controls = [];

  /** A slider from a quarter to four times the present value, and a field for an exact one. */
  function rate(label, unit, present) {
    const name = label + " (" + unit + ")";
    const slider = element("input", { type: "range", min: -2, max: 2, step: 0.05, "aria-label": name + ", slider" });
    const field = element("input", { type: "number", min: 0, step: "any", "aria-label": name });
    const control = { value: null, reset() { this.value = null; slider.value = 0; field.value = digits(present); } };
    const set = (value) => {
      control.value = value;
      slider.setAttribute("aria-valuetext", digits(value) + " " + unit);
      update();
    };
    slider.addEventListener("input", () => {
      field.value = digits(present * 2 ** slider.value);
      set(Number(field.value));
    });
    field.addEventListener("input", () => {
      const value = field.valueAsNumber;
      field.setCustomValidity(value > 0 ? "" : "a number above 0");
      if (!(value > 0)) return;
      slider.value = Math.log2(value / present);
      set(value);
    });
    controls.push(control);
    return { control, row: element("div", { class: "control" }, element("span", {}, label), slider, field, element("span", {}, unit)) };
  }

  function width(label, modes, present) {
    const options = Object.keys(modes).map((mode) => element("option", { value: mode }, mode));
    const select = element("select", { "aria-label": label }, ...options);
    const control = { get value() { return select.value; }, reset() { select.value = present; } };
    select.addEventListener("input", update);
    controls.push(control);
    const row = element("div", { class: "control" }, element("span", {}, label), select);
    return { control, row: options.length > 1 ? row : "" };
  }

  const weight = rate("Weight bandwidth", "GB/s", now.weight);
  const dma = rate("DMA bandwidth", "GB/s", now.read);
  if (now.write !== now.read) {
    dma.row.firstChild.append(element("small", {}, " writes at " + digits(now.write) + " until moved"));
  }
  const clock = rate("MAC clock", "MHz", now.clock);
  const datapath = width("Datapath width", terms.datapath, now.datapath);
  const weights = width("Weight width", terms.weights, now.weights);
  const reset = element("button", { type: "button" }, "Reset");

  function update() {
    const ms = inferenceMs(terms, {
      weight: weight.control.value ?? now.weight,
      read: dma.control.value ?? now.read,
      write: dma.control.value ?? now.write,
      clock: clock.control.value ?? now.clock,
      datapath: datapath.control.value,
      weights: weights.control.value,
    });
    const present = inferenceMs(terms, now);
    const change = 100 * (present / ms - 1);
    const words = Math.abs(change) < 0.05 ? "as reported" : (change > 0 ? "+" : "\u2212") + Math.abs(change).toFixed(1) + "\u00a0% fps";
    result.replaceChildren(
      element("b", { id: "what-if-fps" }, reported(1000 / ms)), " fps, ",
      element("b", { id: "what-if-ms" }, reported(ms)), " ms, ", words);
  }

  reset.addEventListener("click", () => {
    for (const control of controls) control.reset();
    update();
  });
  section.append(
    element("h2", { id: "what-if" }, "What if"),
    element("p", {}, section.dataset.note),
    element("div", { class: "controls" }, ...[weight, dma, clock, datapath, weights].map((each) => each.row)),
    element("p", {}, result, " ", reset));
  section.setAttribute("aria-labelledby", "what-if");
  document.querySelector("nav a")?.after(" \u00b7 ", element("a", { href: "#what-if" }, "What if"));
  reset.click();
}

for (const table of document.querySelectorAll("table.sortable")) {
  filterable(table);
  sortable(table);
}
const terms = document.getElementById("terms");
if (terms) whatIf(document.getElementById("what-if-section"), JSON.parse(terms.textContent));
for (const drawn of document.querySelectorAll("[data-n]")) {
  drawn.addEventListener("click", () => { location.hash = "n" + drawn.dataset.n; });
}
