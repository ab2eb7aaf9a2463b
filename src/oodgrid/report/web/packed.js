// Reads the tables that oodgrid.report.packed packed: columns as typed arrays, by name.
"use strict";

const STEPS = 10000;  // as in packed.py
const MISSING = 65535;

async function unpack(id) {
  const packed = new Blob([fromBase64(document.getElementById(id).textContent)]);
  const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const columns = new Map();
  let at = 4 + length;
  for (const about of header.columns) {
    const width = about.kind === "fraction" ? 2 : about.kind === "number" ? 4 : about.width;
    const part = bytes.subarray(at, at += header.rows * width);
    columns.set(about.name, column(about, part, header.rows, width, columns));
  }
  return {rows: header.rows, columns};
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

// A column: `raw(row)` is its value, `number(row)` the same for sorting and charts, NaN where there is none.
function column(about, bytes, rows, width, columns) {
  if (about.kind === "bytes") return {...about, raw: row => bytes.subarray(row * width, (row + 1) * width)};
  if (about.kind === "number") {
    const numbers = new Float32Array(bytes.slice().buffer);
    return {...about, number: row => numbers[row], raw: row => Number.isNaN(numbers[row]) ? null : numbers[row]};
  }
  const codes = unplaned(bytes, rows, width);
  if (about.kind === "words") return {...about, codes, raw: row => about.values[codes[row]]};
  if (about.base) {
    const base = columns.get(about.base).codes;
    for (let row = 0; row < rows; row++) codes[row] += base[row];  // modulo 65536, as it was packed
  }
  const number = row => codes[row] === MISSING ? NaN : (codes[row] - STEPS) / STEPS;
  return {...about, codes, number, raw: row => codes[row] === MISSING ? null : (codes[row] - STEPS) / STEPS};
}

// All lowest bytes come first, then all second ones, and so on.
function unplaned(bytes, rows, width) {
  const codes = new (width === 1 ? Uint8Array : width === 2 ? Uint16Array : Uint32Array)(rows);
  for (let plane = 0; plane < width; plane++)
    for (let row = 0; row < rows; row++) codes[row] += bytes[plane * rows + row] * 256 ** plane;
  return codes;
}
