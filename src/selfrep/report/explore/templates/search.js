// Search: personas, items, findings and the words of prompts, each with what choosing it does.

const MOST = 40;
const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** All that can be found: a kind, a text, the words it is found by, and where it leads. */
function entries() {
  const found = [];
  book.atlases.forEach((atlas, a) => atlas.picks.forEach((pick, i) => pick.options.forEach((option, k) => {
    if (pick.options.length > 1 && atlas.sheets.some((sheet) => sheet.at[i] === k))
      found.push({kind: pick.label.toLowerCase(), text: `${option} · ${atlas.title}`, words: `${option} ${atlas.title}`, atlas: a, pick: i, option: k});
  })));
  for (const finding of book.findings) found.push({kind: "finding", text: finding.title, words: Object.values(finding).join(" "), finding});
  book.prompts.forEach((prompt, index) => {
    const [a, sheet] = sheetWith(index);
    const text = prompt.texts.map((part) => part.text).join(" ");
    found.push({kind: "prompt", text: `${prompt.who}: ${text}`, words: `${prompt.who} ${text}`, atlas: a, sheet});
  });
  for (const {label, texts, kind} of book.people) found.push({kind: "persona", text: `${label}: ${texts[0] ?? ""}`, words: [label, kind, ...texts].join(" "), label});
  return found.map((entry) => ({...entry, words: fold(entry.words)}));
}

/** The first map in which a prompt was read, and its atlas. */
function sheetWith(index) {
  for (const [a, atlas] of book.atlases.entries()) {
    const sheet = atlas.sheets.find(({prompts}) => prompts.includes(index));
    if (sheet) return [a, sheet];
  }
  return [0, undefined];
}

/** Show what a text finds; `choose(entry)` is called for the one that is taken. */
function search(all, text, choose) {
  const wanted = fold(text).split(/\s+/).filter(Boolean);
  const hits = wanted.length ? all.filter(({words}) => wanted.every((word) => words.includes(word))) : [];
  const rows = hits.slice(0, MOST).map((entry, i) => {
    const row = make("li", "", make("span", "kind", entry.kind), " ", make("span", "", shorten(entry.text, 160)));
    row.role = "option";
    row.id = `result-${i}`;
    row.dir = "auto";
    row.addEventListener("mousedown", (event) => event.preventDefault());
    row.addEventListener("click", () => choose(entry));
    return row;
  });
  if (wanted.length && !hits.length) rows.push(make("li", "none", "Nothing found."));
  if (hits.length > MOST) rows.push(make("li", "none", `${hits.length - MOST} more: say more words.`));
  byId("results").replaceChildren(...rows);
  byId("results").hidden = !rows.length;
  byId("search").setAttribute("aria-expanded", String(rows.length > 0));
}

/** Move the marked result by one; returns it. */
function mark(step) {
  const rows = [...byId("results").querySelectorAll("[role=option]")];
  const now = rows.findIndex((row) => row.getAttribute("aria-selected") === "true");
  const next = rows[Math.max(0, Math.min(rows.length - 1, now + step))];
  for (const row of rows) row.setAttribute("aria-selected", String(row === next));
  if (next) {
    byId("search").setAttribute("aria-activedescendant", next.id);
    next.scrollIntoView({block: "nearest"});
  }
  return next;
}
