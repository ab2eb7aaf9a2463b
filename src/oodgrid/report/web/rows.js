// Which rows of a table are shown, and in what order.

const naturally = new Intl.Collator("en", {numeric: true});

// Return the rows that pass: `chosen` holds, by column, the values that are ticked; `search` words that must all occur in
// names of the row; `range` the column and the lowest and highest number.
function passing(table, chosen, search, range, searched, titleOf) {
  const tests = [];
  for (const [name, values] of chosen) {
    const column = table.columns.get(name);
    if (column && values.size) tests.push([[column.codes, Uint8Array.from(column.values, value => values.has(value))]]);
  }
  for (const word of search.toLocaleLowerCase("en").split(/\s+/).filter(Boolean))
    tests.push(searched.map(name => {
      const column = table.columns.get(name);
      const occurs = value => `${titleOf(name, value)} ${value}`.toLocaleLowerCase("en").includes(word);
      return [column.codes, Uint8Array.from(column.values, occurs)];
    }));
  const numbers = range && table.columns.get(range.column);
  const rows = new Uint32Array(table.rows);
  let count = 0;
  for (let row = 0; row < table.rows; row++) {
    if (!tests.every(any => any.some(([codes, allowed]) => allowed[codes[row]]))) continue;
    if (numbers && !(numbers.number(row) >= range.low && numbers.number(row) <= range.high)) continue;
    rows[count++] = row;
  }
  return rows.subarray(0, count);
}

// Return rows sorted by a column, those without a value last, equal ones in the order of the configuration.
function sorted(table, rows, name, descending, titleOf) {
  const column = table.columns.get(name), sign = descending ? -1 : 1;
  let key = column.number;
  if (column.kind === "words") {
    const places = new Map([...column.values].sort((a, b) => compared(a, b, name, titleOf)).map((v, i) => [v, i]));
    const ranks = Float64Array.from(column.values, value => value === null || value === "" ? NaN : places.get(value));
    key = row => ranks[column.codes[row]];
  }
  const keys = new Float64Array(table.rows);
  for (const row of rows) keys[row] = key(row);
  return rows.slice().sort((a, b) => {
    const x = keys[a], y = keys[b];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
    return sign * (x - y) || a - b;
  });
}

function compared(a, b, name, titleOf) {
  return typeof a === "number" && typeof b === "number" ? a - b : naturally.compare(titleOf(name, a), titleOf(name, b));
}

// Return rows as CSV: all columns, named and scaled as in the parquet file. No spreadsheet takes a word for a formula.
function csv(table, rows) {
  const cell = value => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const columns = [...table.columns.values()].filter(column => column.kind !== "bytes");
  const lines = [columns.map(column => cell(column.name)).join(",")];
  for (const row of rows) lines.push(columns.map(column => cell(column.raw(row))).join(","));
  return lines.join("\n") + "\n";
}

// Return means of a number over the rows of each group, with the lowest and highest.
function grouped(table, rows, number, names) {
  const columns = names.map(name => table.columns.get(name)), groups = new Map();
  for (const row of rows) {
    const value = number(row);
    if (Number.isNaN(value)) continue;
    const key = columns.map(column => column.codes[row]).join();
    let group = groups.get(key);
    if (!group) groups.set(key, group = {row, count: 0, sum: 0, low: value, high: value});
    group.count++;
    group.sum += value;
    group.low = Math.min(group.low, value);
    group.high = Math.max(group.high, value);
  }
  return [...groups.values()].map(group => ({...group, mean: group.sum / group.count}));
}
