// What the page holds: maps, and the numbers they point to.

/** Little-endian float32 numbers from base64. */
function floats(base64) {
  const text = atob(base64), view = new DataView(new ArrayBuffer(text.length));
  for (let i = 0; i < text.length; i += 1) view.setUint8(i, text.charCodeAt(i));
  return Float32Array.from({length: text.length / 4}, (_, i) => view.getFloat32(4 * i, true));
}

const book = JSON.parse(document.getElementById("explorer-data").textContent);
const numbers = floats(book.numbers);

/** The number of a line ("values", "low", "high", "p") at a cell; NaN where it has none. */
function at(atlas, line, part, layer, place) {
  return line && part in line ? numbers[line[part] + layer * atlas.places.length + place] : NaN;
}

/** The map at these options; undefined where there is none. */
function sheetAt(atlas, options) {
  return atlas.sheets.find((sheet) => sheet.at.every((option, i) => option === options[i]));
}

/** The map that has option `fixed` in its pick `i` and shares most of the others, the first ones counting more. */
function nearest(atlas, options, i) {
  const agreement = (sheet) =>
    sheet.at.reduce((sum, option, k) => sum + (option === options[k]) * 2 ** (sheet.at.length - k), 0);
  const allowed = atlas.sheets.filter((sheet) => i === undefined || sheet.at[i] === options[i]);
  return allowed.reduce((best, sheet) => (best && agreement(best) >= agreement(sheet) ? best : sheet), undefined);
}

/** Where the colours of all maps of an atlas end, so that one colour is one number in all of them. */
function limitOf(atlas) {
  const size = atlas.layers.length * atlas.places.length;
  let most = atlas.least;
  for (const {lines: [own]} of atlas.sheets)
    for (let i = own.values; i < own.values + size; i += 1) if (Math.abs(numbers[i]) > most) most = Math.abs(numbers[i]);
  return Math.min(most, atlas.most ?? Infinity) || 1;
}

/** What the options of a map are called, one after another; where there is nothing to choose, no word is lost. */
function nameOf(atlas, sheet) {
  const named = atlas.picks.map(({label, options}, i) => {
    const option = options[sheet.at[i]];
    return options.length === 1 && i > 1 ? "" : /^\d+$/.test(option) ? `${label.toLowerCase()} ${option}` : option;
  });
  return named.filter(Boolean);
}
