// Everything that is said in words. Texts of others become text nodes, never markup.

/** An element with a class and children, which are elements or texts. */
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

const byId = (id) => document.getElementById(id);

function show(id, text) {
  byId(id).textContent = text;
  byId(id).hidden = !text;
}

/** "0.61, 95 % interval 0.46 to 0.8", of one line at a cell. */
function interval(atlas, line, cell) {
  const [low, high] = ["low", "high"].map((part) => at(atlas, line, part, cell.layer, cell.place));
  return Number.isFinite(low) && Number.isFinite(high) ? `${say(low)} to ${say(high)}` : "";
}

/** The heading of the cell, and why it has no number where it has none. */
function tellCell(atlas, shown, cell) {
  const values = shown.map(({sheet, letter}) => {
    const value = at(atlas, sheet.lines[0], "values", cell.layer, cell.place), between = interval(atlas, sheet.lines[0], cell);
    return `${letter ? `${letter}: ` : ""}${atlas.symbol} = ${say(value)}${between ? ` (95 % interval ${between})` : ""}`;
  });
  const own = shown.map(({sheet}) => at(atlas, sheet.lines[0], "values", cell.layer, cell.place));
  const apart = own.length > 1 && own.every(Number.isFinite) ? `; A − B = ${say(own[0] - own[1])}` : "";
  const place = placeName(atlas, shown[0].sheet, cell.place);
  show("cell", `${values.join("; ")}${apart}, at layer ${atlas.layers[cell.layer]}, ${place}`);
  const lost = shown.find(({sheet}) => !Number.isFinite(at(atlas, sheet.lines[0], "values", cell.layer, cell.place)));
  show("why", lost ? `Why there is no number: ${lost.sheet.reason || "none was measured here."}` : "");
}

/** A table of every line at the cell, a body a map. */
function tellNumbers(atlas, shown, cell) {
  const head = make("tr", "", ...["", "Value", "95 % interval", "p"].map((text, i) => {
    const column = make(i ? "th" : "td", i ? "number" : "", text);
    if (i) column.scope = "col";
    return column;
  }));
  const bodies = shown.map(({sheet, letter}) => make("tbody", "", ...sheet.lines.map((line) => {
    const name = make("th", "", (letter ? `${letter} · ` : "") + line.label), p = at(atlas, line, "p", cell.layer, cell.place);
    name.scope = "row";
    const value = at(atlas, line, "values", cell.layer, cell.place);
    const texts = [say(value), interval(atlas, line, cell) || "–", Number.isFinite(p) ? say(p) : "–"];
    return make("tr", line.kind, name, ...texts.map((text) => make("td", "number", text)));
  })));
  const table = make("table", "", make("caption", "", "The number of this cell, and what stands beside it"), make("thead", "", head), ...bodies);
  byId("numbers").replaceChildren(table);
}

/** The prompts, word for word, and what concerns the whole map. */
function tellPrompts(shown) {
  const cards = shown.flatMap(({sheet, letter}) => sheet.prompts.map((index) => {
    const {who, texts} = book.prompts[index];
    const lines = texts.flatMap(({role, text}) => {
      const said = make("dd", "", text);
      said.dir = "auto";
      return [make("dt", "", role), said];
    });
    return make("div", "prompt", make("h4", "", (letter ? `${letter} · ` : "") + who), make("dl", "", ...lines));
  }));
  byId("prompts").replaceChildren(...cards);
  const notes = shown.flatMap(({sheet, letter}) => sheet.notes.map((note) => (letter ? `${letter} · ` : "") + note));
  byId("notes").replaceChildren(...[...new Set(notes)].map((note) => make("li", "", note)));
}

/** Python that computes the number of the cell again; of two maps, the first one's. */
function tellCode(atlas, {sheet, letter}, cell) {
  show("whose-code", `${letter ? `The number of ${letter}` : "This number"} again, in Python`);
  const place = atlas.places[cell.place];
  const written = atlas.axis === "position" ? place : JSON.stringify(place);
  byId("code").textContent = sheet.code.replaceAll(book.marks.layer, atlas.layers[cell.layer]).replaceAll(book.marks.place, written);
}

/** A finding, whole. */
function tellFinding(finding) {
  const part = (name, text) => (text ? [make("dt", "", name), make("dd", "", text)] : []);
  const facts = make("dl", "", ...part("Value", `${finding.value}. ${finding.interval}`), ...part("Control", finding.control), ...part("How sure", finding.how_sure));
  const card = make("div", "prompt", make("h4", "", finding.title), facts);
  card.tabIndex = -1;
  byId("finding").replaceChildren(card);
  card.focus();
}
