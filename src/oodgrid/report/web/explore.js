// The page: one filter over the views, a chart and a table that follow it, and what belongs to the rows that are chosen.

const PAGE = 50;  // rows at a time
const MOST_LINES = 30;  // of a chart
const MOST_CHOSEN = 4;
const NAMING = ["backbone", "id_dataset", "method", "score", "shots", "scope", "ood_dataset", "against", "reference"];  // of a line in a chart
const about = JSON.parse(document.getElementById("about").textContent);
const root = document.getElementById("explore");
const at = role => root.querySelector(`[data-role="${role}"]`);
const tables = new Map();  // unpacked when a view is first shown
const state = {view: null, chosen: new Map(), search: "", metric: null, group: null, colour: null, low: "", high: "", page: 0, sort: null, rows: [], picked: new Map()};

const titleOf = (name, value) => {
  if (value === null || value === undefined || value === "") return about.nothing[name] || "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  const titles = about.titles[name];
  return titles && Object.hasOwn(titles, value) ? titles[value] : String(value);
};
const columnOf = name => state.table.columns.get(name);
const several = name => columnOf(name) && columnOf(name).values.length > 1;

class View {
  constructor(given) {
    Object.assign(this, given);
    this.columns = [...this.words, ...this.numbers];
  }
  isNumber(name) { return this.numbers.some(shown => shown.name === name); }
  get metrics() { return this.long ? columnOf("metric").values : this.numbers.map(shown => shown.name); }
}

async function show(name) {
  const view = about.views.find(each => each.id === name);
  if (!tables.has(name)) tables.set(name, await unpack(`table-${name}`));
  state.table = tables.get(name);
  const words = view.words.filter((each, place) => !place || several(each.name) || each.always);
  state.view = new View({...view, words});
  state.sort = null;
  state.page = 0;
  for (const [column, values] of Object.entries(view.start)) if (!state.chosen.has(column)) state.chosen.set(column, new Set(values));
  if (!state.view.metrics.includes(state.metric)) state.metric = state.view.metrics[0];
  drawFilters();
  update();
}

function drawFilters() {
  const view = state.view, facets = at("facets");
  fill(at("metric"), view.metrics.map(name => [name, metricOf(name).title]), state.metric);
  facets.replaceChildren(...view.facets.filter(several).map(facet));
  const names = view.words.map(each => each.name).filter(name => name !== "metric" && several(name));
  const titles = new Map(view.words.map(each => [each.name, each.title]));
  const options = names.map(name => [name, titles.get(name)]);
  if (!names.includes(state.group)) state.group = names.includes("method") ? "method" : names[0];
  if (!names.includes(state.colour)) state.colour = [view.colour].find(name => names.includes(name)) || "";
  fill(at("group"), options, state.group);
  fill(at("colour"), [["", "nothing"], ...options], state.colour);
  at("group").parentElement.hidden = view.long || names.length < 2;
}

function fill(select, options, value) {
  select.replaceChildren(...options.map(([name, title]) => element("option", {value: name}, title)));
  select.value = value;
}

// A list of values to tick; nothing ticked means all.
function facet(name) {
  const ticked = state.chosen.get(name) || new Set();
  state.chosen.set(name, ticked);
  const title = state.view.words.find(each => each.name === name)?.title || about.words[name] || name;
  const count = element("b", {}, counted(ticked));
  const values = [...columnOf(name).values];
  const boxes = values.map(value => element("label", {}, element("input", {
    type: "checkbox", checked: ticked.has(value),
    onchange: event => { event.target.checked ? ticked.add(value) : ticked.delete(value); count.textContent = counted(ticked); filtered(); },
  }), " ", titleOf(name, value)));
  return element("details", {class: "facet", name: "facet", "data-facet": name}, element("summary", {}, `${title}: `, count),
    element("fieldset", {}, element("legend", {}, `${title}: nothing ticked shows all`), ...boxes));
}

const counted = ticked => ticked.size ? `${ticked.size} ticked` : "all";

function filtered() {
  state.page = 0;
  update();
}

function update() {
  const {view, table} = state, sort = order();
  const chosen = new Map([...state.chosen].filter(([name]) => view.facets.includes(name)));
  if (view.long) chosen.set("metric", new Set([state.metric]));
  const range = state.low === "" && state.high === "" ? null : {
    column: view.long ? view.numbers[0].name : state.metric,
    low: state.low === "" ? -Infinity : state.low / 100, high: state.high === "" ? Infinity : state.high / 100,
  };
  state.rows = passing(table, chosen, state.search, range, view.words.map(each => each.name), titleOf);
  if (sort.name) state.rows = sorted(table, state.rows, sort.name, sort.descending, titleOf);
  state.page = Math.min(state.page, Math.max(0, Math.ceil(state.rows.length / PAGE) - 1));
  drawTable();
  drawChart();
}

// The order that was asked for; else the best first where rows are of one metric, or that of the configuration.
function order() {
  if (state.sort || !state.view.long) return state.sort || {};
  return {name: state.view.numbers[0].name, descending: metricOf(state.metric).better !== "↓"};
}

function drawTable() {
  const {view, table, rows} = state, first = state.page * PAGE, last = Math.min(first + PAGE, rows.length);
  const many = count => count.toLocaleString("en");
  at("count").textContent = rows.length ? `Rows ${many(first + 1)} to ${many(last)} of ${many(rows.length)}${rows.length < table.rows ? ` (all: ${many(table.rows)})` : ""}` : "No row passes the filter.";
  at("chosen").hidden = !state.picked.size;
  at("chosen").textContent = `${state.picked.size} chosen: see below`;
  at("before").disabled = !state.page;
  at("after").disabled = last >= rows.length;
  const picked = new Set([...state.picked.values()].filter(pick => pick.view === view.id).map(pick => pick.row));
  const scroll = at("table"), left = scroll.scrollLeft;
  const focused = document.activeElement?.closest?.("[data-role=table] th") ? [...scroll.querySelectorAll("th button")].indexOf(document.activeElement) : -1;
  const node = drawn({...view, ...varying(view), isNumber: view.isNumber}, table, rows.subarray(first, last), order(), picked, {titleOf, nameOf: row => nameOf(table, row), onSort, onChoose});
  scroll.replaceChildren(node);
  stick(node, scroll.clientWidth);
  scroll.scrollLeft = left;
  if (focused >= 0) scroll.querySelectorAll("th button")[focused]?.focus({preventScroll: true});
}

// Return the columns in which the rows differ; the caption names the others.
function varying(view) {
  const {rows} = state, differs = codes => rows.some(row => codes[row] !== codes[rows[0]]);
  const fixed = rows.length < 2 ? [] : view.words.filter(({name}, place) => place && !differs(columnOf(name).codes));
  const said = fixed.map(({name, title}) => [title, name, columnOf(name).raw(rows[0])]).filter(([, , value]) => value !== null && value !== "");
  const named = said.map(([title, name, value]) => `${title}: ${titleOf(name, value)}`);
  const columns = view.columns.filter(each => !fixed.includes(each));
  return {columns, first: view.words.length - fixed.length, caption: [view.caption, named.length ? `${named.join("; ")}.` : ""].join(" ")};
}

function onSort(name) {
  const sort = order(), first = state.view.isNumber(name) && metricOf(state.view.long && name === state.view.numbers[0].name ? state.metric : name).better !== "↓";
  state.sort = sort.name !== name ? {name, descending: first} : sort.descending === first ? {name, descending: !first} : null;
  filtered();
}

const metricOf = name => Object.hasOwn(about.metrics, name) ? about.metrics[name] : {title: name, better: ""};

// A value within a name; nothing where it says nothing.
function worded(name, value) {
  if (value === null || value === "" || (value === 0 && ["shots", "seed"].includes(name))) return "";
  return name === "shots" ? `${value} shots` : name === "seed" ? `seed ${value}` : titleOf(name, value);
}

function nameOf(table, row) {
  const parts = ["method", "shots", "score", "scope", "ood_dataset", "seed"].filter(name => table.columns.has(name));
  return parts.map(name => worded(name, table.columns.get(name).raw(row))).filter(Boolean).join(" · ");
}

// ---------------------------------------------------------------------------------------------------- the chart

function drawChart() {
  const figure = at("chart"), {view} = state, width = Math.min(880, Math.max(300, figure.clientWidth));
  const metric = metricOf(state.metric), title = `${metric.title} ${metric.better}`;
  const [points, caption] = view.long ? pointsOfRows() : pointsOfGroups();
  const said = element("figcaption", {}, caption);
  if (!points.length) return figure.replaceChildren(said);
  const series = seriesIn(points), legend = legendOf(series);
  const isTrend = !view.long && state.group === "shots";
  const plot = isTrend ? trend(points, {width, series, title: `${title}, %`})
    : forest(points, {width, series, title: view.long && view.zero ? `difference in ${title}, points` : `${title}, %`, zero: view.zero});
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", caption);
  figure.replaceChildren(legend, element("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Chart"}, plot), said);
}

const seriesOf = row => state.colour ? titleOf(state.colour, columnOf(state.colour).raw(row)) : "all";

function legendOf(series) {
  if (series.length < 2) return element("div");
  return element("ul", {class: "legend"}, ...series.map((name, place) => element("li", {}, swatch(place), ` ${name}`)));
}

function swatch(place) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(svg.namespaceURI, "path");
  svg.setAttribute("viewBox", "-8 -8 16 16");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", d3.symbol(d3[`symbol${SYMBOLS[place][0].toUpperCase()}${SYMBOLS[place].slice(1)}`], 80)());
  path.setAttribute("fill", COLOURS[place]);
  svg.append(path);
  return svg;
}

// Points of the rows as sorted: what varies among them is their label.
function pointsOfRows() {
  const {view, table} = state, number = view.numbers[0], worked = [...state.rows].filter(row => columnOf(number.name).raw(row) !== null);
  const by = row => columnOf(number.name).number(row);
  const rows = worked.slice(0, MOST_LINES);
  const present = NAMING.filter(name => columnOf(name) && name !== state.colour);
  const naming = present.filter(name => new Set(rows.map(row => columnOf(name).raw(row))).size > 1);
  const points = rows.map(row => {
    const label = naming.map(name => worded(name, columnOf(name).raw(row))).filter(Boolean).join(" · ") || nameOf(table, row);
    const [text, interval] = cell(table, number, row);
    return {label, series: seriesOf(row), value: by(row), low: columnOf(number.low).number(row), high: columnOf(number.high).number(row), title: `${nameOf(table, row)}: ${text}${interval ? ` (${interval})` : ""}`};
  });
  const which = rows.length < worked.length ? `The first ${rows.length} of ${worked.length} rows` : "All rows";
  return [shownSeries(points), `${which} that pass the filter, with 95 % intervals. ${view.note}`];
}

// Points of groups of rows: their mean, from the lowest to the highest.
function pointsOfGroups() {
  const {table, view} = state, number = view.numbers.find(shown => shown.name === state.metric), column = columnOf(number.name);
  const names = state.colour && state.colour !== state.group ? [state.group, state.colour] : [state.group];
  const groups = grouped(table, state.rows, column.number, names.filter(Boolean));
  const better = metricOf(state.metric).better === "↓" ? 1 : -1;
  groups.sort((a, b) => better * (a.mean - b.mean));
  const labels = [...new Set(groups.map(group => titleOf(state.group, columnOf(state.group).raw(group.row))))].slice(0, MOST_LINES);
  const points = groups.map(group => {
    const label = titleOf(state.group, columnOf(state.group).raw(group.row)), series = seriesOf(group.row);
    const single = group.count === 1 && number.low;
    const low = single ? columnOf(number.low).number(group.row) : group.low, high = single ? columnOf(number.high).number(group.row) : group.high;
    const spread = `${formatted("percent", low)} to ${formatted("percent", high)}`;
    return {label, series, shots: columnOf("shots")?.raw(group.row), value: group.mean, low, high, title: `${label}${state.colour ? `, ${series}` : ""}: ${formatted("percent", group.mean)} (${spread}; ${group.count} rows)`};
  }).filter(point => labels.includes(point.label));
  const many = groups.length ? `of ${Math.min(...groups.map(group => group.count))} to ${Math.max(...groups.map(group => group.count))} rows` : "";
  return [shownSeries(points), `Plain means over the rows that pass the filter (${many} each) of whatever sets and seeds those are; lines from the lowest to the highest row, or the 95 % interval of a single one. For certainty see the other tables.`];
}

// The colours that points have, in the order of the configuration; the first where there are too many to tell apart.
function seriesIn(points) {
  const present = new Set(points.map(point => point.series));
  const order = state.colour ? columnOf(state.colour).values.map(value => titleOf(state.colour, value)) : ["all"];
  return order.filter(name => present.has(name)).slice(0, COLOURS.length);
}

function shownSeries(points) {
  const series = seriesIn(points);
  return points.filter(point => series.includes(point.series));
}

// ------------------------------------------------------------------------------------------------------ the start

function start() {
  const views = at("views"), first = about.views[0];
  views.append(...about.views.map(view => element("label", {}, element("input", {type: "radio", name: "view", value: view.id, checked: view === first, onchange: () => show(view.id)}), ` ${view.title}`)));
  views.hidden = about.views.length < 2;
  const on = (role, event, react) => at(role).addEventListener(event, react);
  let waiting;
  on("search", "input", event => { state.search = event.target.value; clearTimeout(waiting); waiting = setTimeout(filtered, 120); });
  for (const name of ["low", "high"]) on(name, "input", event => { state[name] = event.target.value; filtered(); });
  for (const name of ["group", "colour"]) on(name, "change", event => { state[name] = event.target.value; filtered(); });
  on("metric", "change", event => choose(event.target.value));
  on("before", "click", () => { state.page--; drawTable(); });
  on("after", "click", () => { state.page++; drawTable(); });
  on("save", "click", () => save(`${about.experiment}-${state.view.id}.csv`, csv(state.table, state.rows)));
  on("reset", "click", reset);
  document.addEventListener("keydown", event => { if (event.key === "Escape") closeFacets(null); });
  document.addEventListener("click", event => closeFacets(event.target.closest("details.facet")));
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { drawTable(); drawChart(); drawPicked(); }, 150); });
  root.hidden = false;
  return show(first.id);
}

// Show another metric; one that has no row under the mean that is ticked, as ID accuracy has none of OOD sets, unticks it.
function choose(metric) {
  state.metric = metric;
  filtered();
  if (state.rows.length || !state.chosen.get("scope")?.size) return;
  state.chosen.get("scope").clear();
  drawFilters();
  filtered();
}

function reset() {
  Object.assign(state, {search: "", low: "", high: "", sort: null, page: 0});
  for (const name of ["search", "low", "high"]) at(name).value = "";
  state.chosen.clear();
  show(state.view.id);
}

function closeFacets(except) {
  for (const open of root.querySelectorAll("details.facet[open]"))
    if (open !== except) {
      if (open.contains(document.activeElement)) open.querySelector("summary").focus();
      open.open = false;
    }
}

start().catch(error => { document.getElementById("broken").hidden = false; console.error(error); });
