// The table of rows: a real one, some rows at a time, so that ninety thousand open at once.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  node.append(...children.filter(child => child !== null && child !== undefined));  // strings become text, never markup
  return node;
}

const FORMATS = {
  percent: value => (value * 100).toFixed(2),
  points: value => `${value < 0 ? "−" : "+"}${Math.abs(value * 100).toFixed(2)}`,
  probability: value => value < 0.0001 ? "< .0001" : value.toFixed(4).replace(/^0/, ""),
  plain: value => String(+value.toPrecision(6)),
};

const formatted = (format, value) => value === null || Number.isNaN(value) ? "–" : FORMATS[format || "plain"](value);

// Return the text of a cell, and of its interval.
function cell(table, shown, row) {
  const of = name => formatted(shown.format, table.columns.get(name).number(row));
  const low = shown.low && table.columns.get(shown.low).number(row);
  return [of(shown.name), shown.low && !Number.isNaN(low) ? `${of(shown.low)} to ${of(shown.high)}` : null];
}

// Return the table of some rows. `view`: {words, numbers, caption}; `sort`: {name, descending}.
function drawn(view, table, rows, sort, chosen, {titleOf, nameOf, onSort, onChoose}) {
  const head = element("tr");
  for (const {name, title, better, about} of view.columns) {
    const ordered = sort.name === name ? (sort.descending ? "descending" : "ascending") : "none";
    const sign = {descending: " ▼", ascending: " ▲", none: ""}[ordered];
    const label = `${title}${better ? ` ${better}` : ""}`;
    const letters = view.isNumber(name) ? 0 : Math.max(title.length + 2, ...table.columns.get(name).values.map(value => titleOf(name, value).length));
    head.append(element("th", {scope: "col", "aria-sort": ordered, class: view.isNumber(name) ? "number" : "word", style: letters ? `--letters: ${letters}` : null},
      element("button", {type: "button", title: about, onclick: () => onSort(name)}, label, element("span", {"aria-hidden": "true"}, sign))));
  }
  const body = element("tbody");
  for (const row of rows) body.append(line(view, table, row, chosen.has(row), {titleOf, nameOf, onChoose}));
  return element("table", {class: "rows"}, element("caption", {}, element("span", {}, view.caption)), element("thead", {}, head), body);
}

function line(view, table, row, isChosen, {titleOf, nameOf, onChoose}) {
  const best = view.best && table.columns.get(view.best).raw(row) === true;
  const cells = view.columns.map(({name}, at) => {
    const number = view.numbers.find(shown => shown.name === name);
    if (number) {
      const [text, interval] = cell(table, number, row);
      return element("td", {class: best && at === view.first ? "best" : null}, text, interval && element("small", {}, ` ${interval}`));
    }
    const text = titleOf(name, table.columns.get(name).raw(row));
    if (at) return element("td", {class: "word"}, text);
    const button = element("button", {type: "button", "aria-pressed": String(isChosen), "aria-label": `${isChosen ? "Hide" : "Show"} ${nameOf(row)}`}, text);
    return element("th", {scope: "row"}, button);
  });
  return element("tr", {class: isChosen ? "chosen" : null, onclick: () => onChoose(row)}, ...cells);
}

// Keep the first two columns in sight, as far as they leave room for the others.
function stick(table, room) {
  const [first, second] = table.tHead.rows[0].cells;
  if (!second) return;
  const width = first.offsetWidth;
  table.style.setProperty("--first", `${width}px`);
  table.classList.toggle("two", width + second.offsetWidth < room * 0.45);
}

function save(name, text) {
  const address = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  element("a", {href: address, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
