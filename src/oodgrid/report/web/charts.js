// The charts: SVG by Observable Plot, in the colours of the page.

const COLOURS = [1, 2, 3, 4, 5, 6, 7].map(place => `var(--mark-${place})`);
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "wye", "cross"];
const STYLE = {background: "transparent", color: "inherit", fontSize: "12px", overflow: "visible"};

// Points with intervals, one line of the chart for each label. `points`: {label, series, value, low, high, title}.
function forest(points, {width, title, series, zero}) {
  const labels = [...new Set(points.map(point => point.label))];
  const narrow = width < 520, letters = Math.min(narrow ? 18 : 46, Math.max(4, ...labels.map(label => label.length)));
  const place = new Map(labels.map((label, at) => [label, at])), fitted = apartOf(labels, letters);
  // Series on one line of the chart stand a little apart, so that no interval hides another.
  const apart = point => (series.indexOf(point.series) - (series.length - 1) / 2) * Math.min(0.22, 0.7 / series.length);
  const y = point => place.get(point.label) + apart(point);
  const looks = {domain: series, range: COLOURS};
  return Plot.plot({
    width, style: STYLE, marginLeft: 14 + 7 * letters, marginRight: 16, marginTop: 34,
    height: 60 + labels.length * (series.length > 1 ? 14 + 5 * series.length : 19),
    x: {label: title, grid: true, nice: true, axis: "top", ticks: Math.max(3, width / 110), labelAnchor: "left", transform: v => v * 100},
    y: {domain: [labels.length - 0.4, -0.6], ticks: labels.map((_, at) => at), label: null, tickSize: 0, tickFormat: at => fitted[at]},
    color: looks,
    symbol: {domain: series, range: SYMBOLS},
    marks: [
      zero ? Plot.ruleX([0], {strokeOpacity: 0.6}) : null,
      Plot.ruleY(points.filter(point => point.high > point.low), {y, x1: "low", x2: "high", stroke: "series", strokeWidth: 1.6}),
      Plot.dot(points, {y, x: "value", fill: "series", symbol: "series", r: 4, title: "title", ariaLabel: "title"}),
    ],
  });
}

// Return labels of at most so many letters, no two alike: those that become alike are numbered.
function apartOf(labels, letters) {
  const taken = new Set(labels.filter(label => label.length <= letters));
  return labels.map(label => {
    if (label.length <= letters) return label;
    let short = shortened(label, letters);
    for (let number = 2; taken.has(short); number++) short = `${shortened(label, letters - ` (${number})`.length)} (${number})`;
    taken.add(short);
    return short;
  });
}

// Return a label of at most so many letters; of names joined by a dot each keeps its beginning and its end.
function shortened(text, letters) {
  if (text.length <= letters) return text;
  const parts = text.split(" · "), widths = parts.map(part => part.length);
  let room = letters - 3 * (parts.length - 1);
  [...parts.keys()].sort((a, b) => widths[a] - widths[b]).forEach((at, done) => room -= widths[at] = Math.min(widths[at], Math.max(3, Math.floor(room / (parts.length - done)))));
  const cut = (part, width) => part.length <= width ? part : `${part.slice(0, Math.ceil(width / 2) - 1)}…${part.slice(part.length - Math.floor(width / 2))}`;
  return parts.map((part, at) => cut(part, widths[at])).join(" · ");
}

// Means over shots, a line for each series. `points`: {shots, series, value, low, high, title}.
function trend(points, {width, title, series}) {
  return Plot.plot({
    width, height: 300, style: STYLE, marginLeft: 48,
    x: {type: "point", label: "shots a class", domain: [...new Set(points.map(point => point.shots))].sort((a, b) => a - b)},
    y: {label: title, grid: true, nice: true, transform: v => v * 100},
    color: {domain: series, range: COLOURS},
    symbol: {domain: series, range: SYMBOLS},
    marks: [
      Plot.lineY(points, {x: "shots", y: "value", stroke: "series", strokeWidth: 1.8, sort: "shots"}),
      Plot.dot(points, {x: "shots", y: "value", fill: "series", symbol: "series", r: 4, title: "title", ariaLabel: "title"}),
    ],
  });
}

// ROC curves of some pairs. `curves`: {name, steps}, steps as packed.py left them.
function roc(curves, width) {
  const names = curves.map(curve => curve.name);
  const points = curves.flatMap(({name, steps}) => {
    const step = 2 / steps.length, line = [{name, fpr: 0, tpr: 0}];
    let tpr = 0;
    steps.forEach((share, at) => {
      tpr += share / 255 * step;
      line.push({name, fpr: Math.max(0, step * (at + 1) - tpr), tpr});
    });
    return line;
  });
  return Plot.plot({
    width, height: width, style: STYLE, marginLeft: 44, marginBottom: 40,
    x: {label: "OOD kept as ID (FPR, %)", domain: [0, 100], transform: v => v * 100, ticks: 5},
    y: {label: "ID kept (TPR, %)", domain: [0, 100], transform: v => v * 100, ticks: 5, grid: true},
    color: {domain: names, range: COLOURS},
    marks: [
      Plot.link([0], {x1: 0, y1: 0, x2: 1, y2: 1, strokeOpacity: 0.35, strokeDasharray: "3 3"}),
      Plot.ruleY([0.95], {strokeOpacity: 0.5, strokeDasharray: "1 3"}),
      Plot.line(points, {x: "fpr", y: "tpr", stroke: "name", strokeWidth: 1.8}),
    ],
  });
}

// Densities of ID and OOD scores of one pair. `curve`: {id, ood, low, high, threshold}.
function histogram(curve, width) {
  const bar = (curve.high - curve.low) / curve.id.length;
  const bars = (heights, set) => Array.from(heights, (height, at) => ({set, height, x1: curve.low + at * bar, x2: curve.low + (at + 1) * bar}));
  return Plot.plot({
    width, height: Math.round(width * 0.6), style: STYLE, marginLeft: 16, marginBottom: 40,
    x: {label: "score (higher: more in-distribution)", ticks: Math.max(3, width / 90)},
    y: {axis: null, domain: [0, 262]},
    color: {domain: ["ID", "OOD"], range: COLOURS},
    marks: [
      Plot.rectY([...bars(curve.id, "ID"), ...bars(curve.ood, "OOD")], {x1: "x1", x2: "x2", y1: 0, y2: "height", fill: "set", fillOpacity: 0.45}),
      Plot.ruleX([curve.threshold], {strokeDasharray: "3 2"}),
      Plot.ruleY([0]),
    ],
  });
}
