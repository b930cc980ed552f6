// What is chosen, and what follows from it.

const state = {atlas: -1, first: [], second: null, layer: 0, place: 0};
const atlasNow = () => book.atlases[state.atlas];

/** The maps that are shown: one, or A and B. */
function shownNow() {
  const atlas = atlasNow(), first = sheetAt(atlas, state.first);
  if (!state.second) return [{sheet: first, letter: ""}];
  return [{sheet: first, letter: "A"}, {sheet: sheetAt(atlas, state.second), letter: "B"}];
}

/** Take up an atlas at these options, or as near to what was shown as its own options come; the cell stays, if it can. */
function turnTo(index, options = []) {
  const before = atlasNow(), names = before ? before.picks.map((pick, i) => pick.options[state.first[i]]) : [];
  const atlas = book.atlases[index], layer = before ? atlas.layers.indexOf(before.layers[state.layer]) : -1;
  const kept = atlas.picks.map((pick, i) => options[i] ?? Math.max(0, pick.options.indexOf(names[i])));
  state.atlas = index;
  state.first = nearest(atlas, kept).at;
  if (before === atlas) return;
  state.second = state.second && nearest(atlas, kept).at;
  state.layer = layer < 0 ? Math.floor(0.6 * atlas.layers.length) : layer;
  state.place = atlas.places.length - 1;
}

/** One select, for the pick `i` of the map under `key`. */
function select(key, letter, pick, i) {
  const box = make("select", "");
  box.append(...pick.options.map((option, k) => new Option(option, k, false, state[key][i] === k)));
  box.id = `pick-${key}-${i}`;
  box.addEventListener("change", () => {
    const options = [...state[key]];
    options[i] = Number(box.value);
    state[key] = nearest(atlasNow(), options, i).at;
    render();
    byId(box.id).focus();
  });
  const label = make("label", "", (letter ? `${letter} · ` : "") + pick.label);
  label.htmlFor = box.id;
  return make("div", "choice", label, box);
}

/** The choices among the maps of the atlas, a row a map. */
function renderPicks() {
  const keys = state.second ? [["first", "A"], ["second", "B"]] : [["first", ""]];
  byId("picks").replaceChildren(...keys.map(([key, letter]) =>
    make("div", "bar", ...atlasNow().picks.flatMap((pick, i) => (pick.options.length > 1 ? [select(key, letter, pick, i)] : [])))));
  byId("atlas").value = state.atlas;
  byId("compare").setAttribute("aria-pressed", String(Boolean(state.second)));
  byId("compare").disabled = atlasNow().sheets.length < 2;
}

/** The maps, each under its name, reached by the tab key. */
function renderMaps(shown) {
  const atlas = atlasNow(), maps = byId("maps");
  const whole = `${state.atlas}/${shown.length}`;
  if (maps.dataset.holds !== whole) {
    maps.dataset.holds = whole;
    maps.className = shown.length > 1 ? "columns" : "";
    maps.replaceChildren(...shown.map(() => {
      const plot = make("div", "map");
      plot.tabIndex = 0;
      plot.setAttribute("role", "application");
      plot.addEventListener("keydown", move);
      return make("div", "", make("p", "name"), plot);
    }));
  }
  shown.forEach(({sheet, letter}, i) => {
    const [name, plot] = maps.children[i].children, words = nameOf(atlas, sheet).join(" · ");
    name.textContent = (letter ? `${letter} · ` : "") + (words || atlas.title);
    plot.setAttribute("aria-label", `Map of ${atlas.title}, ${words}. Arrow keys choose a cell.`);
    drawMap(plot, atlas, sheet, state, chooseCell);
  });
}

function chooseCell(layer, place) {
  state.layer = layer;
  state.place = place;
  render();
}

/** Everything, from what is chosen. */
function render() {
  const atlas = atlasNow(), shown = shownNow();
  renderPicks();
  show("asks", atlas.asks);
  show("left-out", atlas.left_out ? `${atlas.left_out} maps of this quantity are not in this page, to keep it small; selfrep.open_run reads them all.` : "");
  renderMaps(shown);
  tellCell(atlas, shown, state);
  const places = atlas.places.length > 1;
  drawProfile(byId("by-layer"), atlas, shown, "layer", state, chooseCell);
  byId("by-place").hidden = !places;
  if (places) drawProfile(byId("by-place"), atlas, shown, "place", state, chooseCell);
  tellNumbers(atlas, shown, state);
  tellPrompts(shown);
  tellCode(atlas, shown[0], state);
  remember();
}

// ---- keys

/** Arrow keys move the cell as it lies on the screen. */
function move(event) {
  const atlas = atlasNow(), few = atlas.places.length <= FEW;
  const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1], Home: [-Infinity, 0], End: [Infinity, 0]};
  const step = steps[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const into = (i, n) => Math.max(0, Math.min(n - 1, i));
  const [dLayer, dPlace] = few ? step : step.toReversed();
  chooseCell(into(state.layer + dLayer, atlas.layers.length), into(state.place + dPlace, atlas.places.length));
}

/** Keys of the whole page, unless somebody is writing. */
function command(event) {
  const writing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey;
  const does = {"/": () => byId("search").focus(), "?": () => byId("keys").showModal(), c: compare, d: turnTheme}[event.key];
  if (writing || !does || byId("keys").open) return;
  event.preventDefault();
  does();
}

/** Keys of the search box. */
function searchKeys(event) {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    mark(event.key === "ArrowDown" ? 1 : -1);
  } else if (event.key === "Enter") {
    (byId("results").querySelector("[aria-selected=true]") ?? byId("results").querySelector("[role=option]"))?.click();
  } else if (event.key === "Escape") {
    closeSearch();
  }
}

// ---- what the controls do

function compare() {
  if (byId("compare").disabled) return;
  const others = atlasNow().sheets.filter((sheet) => sheet.at.some((option, i) => option !== state.first[i]));
  const beside = others.find((sheet) => sheet.at.every((option, i) => i === 0 || option === state.first[i]));
  state.second = state.second ? null : (beside ?? others[0]).at;
  render();
}

const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function nameTheme() {
  byId("theme").textContent = isDark() ? "Light" : "Dark";
}

function turnTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
  render();
}

/** Go where a result of the search leads. */
function follow(entry) {
  closeSearch();
  if (entry.finding) return tellFinding(entry.finding);
  if (entry.label !== undefined) return followPersona(entry.label);
  const options = [];
  if (entry.pick !== undefined) options[entry.pick] = entry.option;
  turnTo(entry.atlas, entry.sheet?.at ?? options);
  if (entry.pick !== undefined) {
    const wanted = [...state.first];
    wanted[entry.pick] = entry.option;
    state.first = nearest(atlasNow(), wanted, entry.pick).at;
  }
  render();
  byId("maps").querySelector(".map").focus();
}

/** The first map whose name holds that of a persona. */
function followPersona(label) {
  for (const [a, atlas] of book.atlases.entries()) {
    const sheet = atlas.sheets.find((one) => nameOf(atlas, one).some((name) => name.split(" → ").includes(label)));
    if (sheet) return follow({atlas: a, sheet});
  }
  return show("cell", `No map of this run is of ${label} alone.`);
}

function closeSearch() {
  byId("search").value = "";
  search([], "", follow);
}

async function copy() {
  const range = document.createRange();
  range.selectNodeContents(byId("code"));
  getSelection().removeAllRanges();
  getSelection().addRange(range); // so that a hand can copy where a script may not
  let done = "Selected";
  if (navigator.clipboard) done = await navigator.clipboard.writeText(byId("code").textContent).then(() => "Copied", () => "Selected");
  byId("copy").textContent = done;
  setTimeout(() => (byId("copy").textContent = "Copy"), 1500);
}

// ---- the address keeps what is chosen, so that a number can be found again

const addressable = /^(file|https?):$/.test(location.protocol);

function remember() {
  if (!addressable) return; // a frame of a notebook has no address of its own
  const {name, layers, places} = atlasNow();
  const kept = {map: name, at: state.first.join("."), layer: layers[state.layer], place: places[state.place]};
  if (state.second) kept.beside = state.second.join(".");
  history.replaceState(null, "", "#explore?" + new URLSearchParams(kept));
}

function recall() {
  const kept = new URLSearchParams(location.hash.split("?")[1]), a = book.atlases.findIndex(({name}) => name === kept.get("map"));
  const options = (name) => (kept.get(name) ?? "").split(".").map(Number);
  turnTo(a < 0 ? Math.max(0, book.atlases.findIndex(({symbol}) => symbol === "T")) : a);
  if (a < 0) return;
  const atlas = atlasNow();
  state.first = nearest(atlas, options("at")).at;
  if (kept.has("beside")) state.second = nearest(atlas, options("beside")).at;
  state.layer = Math.max(0, atlas.layers.indexOf(Number(kept.get("layer"))));
  state.place = Math.max(0, atlas.places.indexOf(kept.get("place")));
  byId("explore").scrollIntoView();
}

function listen() {
  const all = entries();
  byId("atlas").addEventListener("change", () => { turnTo(Number(byId("atlas").value)); render(); });
  byId("search").addEventListener("input", () => search(all, byId("search").value, follow));
  byId("search").addEventListener("keydown", searchKeys);
  byId("search").addEventListener("blur", () => (byId("results").hidden = true));
  byId("compare").addEventListener("click", compare);
  byId("theme").addEventListener("click", turnTheme);
  byId("help").addEventListener("click", () => byId("keys").showModal());
  byId("close").addEventListener("click", () => byId("keys").close());
  byId("copy").addEventListener("click", copy);
  document.addEventListener("keydown", command);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { nameTheme(); render(); });
  window.addEventListener("beforeprint", render);
  window.addEventListener("afterprint", render);
}

book.atlases = book.atlases.filter(({sheets}) => sheets.length);
byId("explorer").hidden = false;
byId("atlas").append(...book.atlases.map(({title}, i) => new Option(title, i)));
recall();
nameTheme();
listen();
render();
