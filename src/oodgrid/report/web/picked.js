// What belongs to the rows that are chosen: their curves, the samples mistaken most, all their numbers and where they stand.

async function onChoose(row) {
  const key = `${state.view.id} ${row}`;
  if (state.picked.has(key)) state.picked.delete(key);
  else {
    if (state.picked.size === MOST_CHOSEN) state.picked.delete(state.picked.keys().next().value);
    state.picked.set(key, {view: state.view.id, row});
  }
  drawTable();
  for (const name of ["curves", "mistakes", "pictures"])
    if (document.getElementById(`table-${name}`) && !tables.has(name)) tables.set(name, await unpack(`table-${name}`));
  drawPicked();
}

function drawPicked() {
  const parts = [...state.picked.values()].map(pick => ({...pick, table: tables.get(pick.view), view: about.views.find(view => view.id === pick.view)}));
  const curves = parts.flatMap(part => curvesOf(part.table, part.row)).slice(0, 7);
  const room = at("picked"), width = Math.min(340, Math.max(260, room.clientWidth - 24));
  const children = parts.map(({view, table, row}) => element("section", {}, element("h4", {}, nameOf(table, row)), facts(view, table, row)));
  if (curves.length) children.unshift(chartsOf(curves, width));
  else if (parts.length && about.curves) children.unshift(element("p", {class: "note"}, "No ROC curve is kept for these rows."));
  room.replaceChildren(...(parts.length ? [element("h3", {}, "Chosen rows"), element("button", {type: "button", onclick: clear}, "Clear"), ...children] : []));
}

function clear() {
  state.picked.clear();
  drawTable();
  drawPicked();
  at("table").focus();
}

// The curves of a row: of its OOD set, or of all sets of its kind.
function curvesOf(table, row) {
  const curves = tables.get("curves");
  if (!curves) return [];
  const raw = name => table.columns.has(name) ? table.columns.get(name).raw(row) : undefined;
  const wanted = {backbone: raw("backbone"), id_dataset: raw("id_dataset"), method: raw("method"), score: raw("score")};
  if (raw("ood_dataset")) wanted.ood_dataset = raw("ood_dataset");
  else if (["near", "far", "covariate"].includes(raw("scope"))) wanted.ood_kind = raw("scope");
  const of = (name, place) => curves.columns.get(name).raw(place), found = [];
  for (let place = 0; place < curves.rows; place++)
    if (Object.entries(wanted).every(([name, value]) => of(name, place) === value)) {
      const named = ["method", "score", "ood_dataset"].map(name => titleOf(name, of(name, place))).join(" · ");
      found.push({name: `${named}${of("shots", place) ? ` (${of("shots", place)} shots, seed ${of("seed", place)})` : ""}`, steps: of("roc", place), id: of("id_heights", place), ood: of("ood_heights", place), low: of("lowest", place), high: of("highest", place), threshold: of("threshold95", place), place, auroc: of("auroc", place)});
    }
  return found;
}

function chartsOf(curves, width) {
  const unique = [...new Map(curves.map(curve => [curve.name, curve])).values()];
  const figure = (plot, label, caption) => {
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `${label}: ${caption}`);
    return element("figure", {}, plot, element("figcaption", {}, caption));
  };
  const legend = element("ul", {class: "legend"}, ...unique.map((curve, place) => element("li", {}, swatch(place), ` ${curve.name}: AUROC ${formatted("percent", curve.auroc)}`)));
  const histograms = unique.map(curve => figure(histogram(curve, width), "Histogram", `${curve.name}: densities of the scores of ID (first colour) and OOD samples; dashed: 95 % of ID kept.`));
  return element("div", {}, legend, element("div", {class: "curves"}, figure(roc(unique, width), "ROC", `ROC curves, ${about.curves.note}`), ...histograms),
    ...(tables.has("mistakes") ? unique.map(curve => mistakesOf(curve)) : []));
}

// The samples that are mistaken most under one curve: of each curve the table has so many ID, then so many OOD samples.
function mistakesOf(curve) {
  const {columns, rows} = tables.get("mistakes"), most = rows / tables.get("curves").rows / 2;
  const side = (title, first) => {
    const places = Array.from({length: most}, (_, at) => first + at).filter(place => columns.get("path").raw(place) !== null);
    const items = places.map(place => sample(...["dataset", "path", "score"].map(name => columns.get(name).raw(place))));
    return element("div", {}, element("h5", {}, title), element("ol", {class: "samples"}, ...items));
  };
  const first = curve.place * 2 * most;
  return element("div", {class: "mistakes"}, element("h4", {}, `Most mistaken: ${curve.name}`),
    side("ID samples of the lowest scores", first), side("OOD samples of the highest scores", first + most));
}

function sample(dataset, path, score) {
  const {columns, rows} = tables.get("pictures");
  let picture = null;
  for (let row = 0; row < rows && !picture; row++)
    if (columns.get("path").raw(row) === path && columns.get("dataset").raw(row) === dataset) picture = columns.get("picture").raw(row);
  return element("li", {}, picture && element("img", {src: picture, alt: `${dataset}: ${path}`}), element("span", {}, `${path} (${formatted("plain", score)})`));
}

// All that is known of a row, and where it stands.
function facts(view, table, row) {
  const list = element("dl");
  const add = (title, text) => list.append(element("dt", {}, title), element("dd", {}, text));
  for (const column of table.columns.values()) {
    const shown = view.numbers.find(each => [each.name, each.low, each.high].includes(column.name)), value = column.raw(row);
    if (shown && column.name !== shown.name) continue;
    if (shown) {
      const [text, interval] = cell(table, shown, row);
      add(shown.title, interval ? `${text} (95 %: ${interval})` : text);
    } else if (value !== null && value !== "") add(about.words[column.name] || column.name, column.kind === "words" ? titleOf(column.name, value) : formatted("plain", column.number(row)));
  }
  add("Stands in", `${view.file}, from ${["scores", table.columns.get("backbone").raw(row), table.columns.get("id_dataset").raw(row) || "…", `${table.columns.get("method").raw(row)}.parquet`].join("/")}`);
  return list;
}
