// Maps and profiles, by plotly. It reads tags in every text, so what people wrote is escaped here and nowhere else.

const DIVERGING = [[0, "#0b2f5e"], [0.17, "#2f6aa3"], [0.35, "#93bbda"], [0.5, "#fbfbf9"], [0.65, "#f3b98f"], [0.83, "#cf6a2c"], [1, "#76290a"]];
const FEW = 8; // so few places are drawn as rows, with layers from left to right
const settings = {
  responsive: true, displaylogo: false, displayModeBar: matchMedia("(hover: hover)").matches && "hover",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};
const BLANKS = {"\n": "⏎", "\r": "⏎", "\t": "⇥", " ": "␣", "\u00a0": "␣"};

const colour = (name) => getComputedStyle(document.getElementById("swatch-" + name) ?? swatch(name)).color;

/** An element that shows what a colour of the page is just now, in daylight, at night or on paper. */
function swatch(name) {
  const element = document.createElement("span");
  element.id = "swatch-" + name;
  element.hidden = true;
  element.style.color = `var(--${name})`;
  document.getElementById("explorer").append(element);
  return element;
}

/** Text for plotly: no tags, no TeX, nothing that turns the direction of what follows. */
function plain(text) {
  const kept = String(text).replace(/[\u0000-\u001f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "�");
  return kept.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\$/g, "&#36;");
}

/** At most so many characters, cut in the middle. */
function shorten(text, longest) {
  const letters = [...text], tail = Math.floor((longest - 1) / 2);
  return letters.length <= longest ? text : letters.slice(0, longest - 1 - tail).join("") + "…" + letters.slice(-tail).join("");
}

/** A token as an axis shows it: its blanks visible, except the usual one before a word. */
function visible(token) {
  const bare = token.trim() && token.startsWith(" ") ? token.slice(1) : token;
  return [...bare].map((letter) => BLANKS[letter] ?? letter).join("");
}

const minus = (text) => String(text).replace("-", "−");

/** What a place is called on an axis: its token, or its segment. */
function placeLabel(atlas, sheet, place) {
  const token = book.tokens[sheet.tokens]?.[place];
  if (atlas.axis === "position") return token ? plain(shorten(visible(token), 12)) : minus(atlas.places[place]);
  return plain(shorten(atlas.places[place].replaceAll("_", " "), 20));
}

/** What a place is called in a sentence. */
function placeName(atlas, sheet, place) {
  const token = book.tokens[sheet.tokens]?.[place], segment = atlas.segments[place];
  if (atlas.axis !== "position") return `segment “${atlas.places[place].replaceAll("_", " ")}”`;
  return `position ${minus(atlas.places[place])}` + (token ? ` “${visible(token)}”` : "") + (segment ? `, in the ${segment}` : "");
}

const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A number with its two or three leading digits. */
function say(x) {
  if (!Number.isFinite(x)) return "no number";
  const [digits, power] = x.toExponential(0).split("e");
  if (power < -4) return `${minus(digits)} × 10⁻${[...power.slice(1)].map((digit) => SUPERSCRIPT[digit]).join("")}`;
  return minus(String(Number(x.toPrecision(power < -1 ? 2 : 3))));
}

function layoutOf(height, margin) {
  return {
    height, margin, autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: {family: "system-ui, 'Liberation Sans', Arial, sans-serif", size: 12, color: colour("ink")}, dragmode: false,
    hoverlabel: {bgcolor: colour("paper"), bordercolor: colour("soft"), font: {color: colour("ink")}, align: "left"},
  };
}

/** An axis over places, its tokens upright where they are many. */
function placeAxis(atlas, sheet, upright) {
  const n = atlas.places.length, room = Math.max(1, Math.ceil(n / upright));
  const shown = [...Array(n).keys()].filter((i) => (n - 1 - i) % room === 0);
  return {
    tickvals: shown, ticktext: shown.map((i) => placeLabel(atlas, sheet, i)), tickangle: n > FEW ? -90 : 0,
    showgrid: false, zeroline: false, automargin: true, fixedrange: true, tickfont: {size: 11},
  };
}

/** An axis over layers, about one label in every 22 pixels. */
function layerAxis(atlas, pixels) {
  const n = atlas.layers.length, step = Math.max(1, Math.ceil((22 * n) / pixels));
  const shown = [...Array(n).keys()].filter((i) => i % step === 0);
  return {
    tickvals: shown, ticktext: shown.map((i) => atlas.layers[i]), title: {text: "layer", standoff: 6},
    showgrid: false, zeroline: false, automargin: true, fixedrange: true, tickfont: {size: 11},
  };
}

/** The chosen cell, as a frame around it that stands out on light and on dark cells. */
function cursor(x, y) {
  const frame = {type: "rect", x0: x - 0.5, x1: x + 0.5, y0: y - 0.5, y1: y + 0.5};
  return [{...frame, line: {color: "#ffffff", width: 5}}, {...frame, line: {color: "#000000", width: 2}}];
}

/** Draw a map into an element; `choose(layer, place)` is called for the cell that is clicked. */
function drawMap(element, atlas, sheet, cell, choose) {
  const few = atlas.places.length <= FEW, layers = atlas.layers.length, places = atlas.places.length;
  const value = (layer, place) => at(atlas, sheet.lines[0], "values", layer, place);
  const words = (layer, place) =>
    `<b>${atlas.symbol} = ${say(value(layer, place))}</b><br>layer ${atlas.layers[layer]}, ${plain(placeName(atlas, sheet, place))}`;
  const grid = (of) => few
    ? Array.from({length: places}, (_, p) => Array.from({length: layers}, (_, l) => of(l, p)))
    : Array.from({length: layers}, (_, l) => Array.from({length: places}, (_, p) => of(l, p)));
  const limit = limitOf(atlas), finite = (x) => (Number.isFinite(x) ? x : null);
  const trace = {
    type: "heatmap", z: grid((l, p) => finite(value(l, p))), text: grid(words), hovertemplate: "%{text}<extra></extra>",
    colorscale: DIVERGING, zmin: -limit, zmax: limit, xgap: 1, ygap: 1, hoverongaps: false,
    colorbar: {thickness: 10, outlinewidth: 0, len: 1, tickfont: {size: 11}, title: {text: atlas.symbol, side: "top"}, xpad: 4},
  };
  const height = few ? 130 + 34 * places : Math.min(560, 150 + 14 * layers);
  const layout = layoutOf(height, {l: 44, r: 8, t: 12, b: 44});
  layout.xaxis = few ? layerAxis(atlas, element.clientWidth - 120) : placeAxis(atlas, sheet, element.clientWidth / 16);
  layout.yaxis = few ? placeAxis(atlas, sheet, 99) : layerAxis(atlas, height - 100);
  layout.plot_bgcolor = colour("blank");
  layout.shapes = few ? cursor(cell.layer, cell.place) : cursor(cell.place, cell.layer);
  if (few) layout.yaxis.tickangle = 0;
  Plotly.react(element, [trace], layout, settings).then(() => {
    element.removeAllListeners("plotly_click");
    element.on("plotly_click", ({points: [{pointIndex: [y, x]}]}) => (few ? choose(x, y) : choose(y, x)));
  });
}

const INKS = {own: "chart", mean: "accent", control: "soft", other: "chart-other"};
const DASHES = ["dot", "dash", "dashdot", "longdash", "6px,2px"];

/** The traces of a line with its interval, over `count` cells found by `cellOf(i)`. */
function traces(atlas, line, name, ink, dash, count, cellOf) {
  const read = (part) => Array.from({length: count}, (_, i) => at(atlas, line, part, ...cellOf(i)));
  const [values, low, high] = ["values", "low", "high"].map(read), x = [...Array(count).keys()];
  const inside = x.filter((i) => Number.isFinite(low[i]) && Number.isFinite(high[i])), shade = colour(ink);
  const band = inside.length > 1 && {
    x: [...inside, ...inside.toReversed()], y: [...inside.map((i) => high[i]), ...inside.toReversed().map((i) => low[i])],
    fill: "toself", fillcolor: shade.replace("rgb(", "rgba(").replace(")", ", 0.15)"), line: {width: 0}, mode: "lines",
    hoverinfo: "skip", showlegend: false, legendgroup: name,
  };
  const drawn = {
    x, y: values.map((v) => (Number.isFinite(v) ? v : null)), name: plain(name), mode: count > 1 ? "lines" : "markers", legendgroup: name,
    line: {color: shade, width: ink === "soft" ? 1.3 : 2.2, dash}, hovertemplate: `${plain(name)}: %{text}<extra></extra>`, text: values.map(say),
  };
  return [...(band ? [band] : []), drawn];
}

/** From the least to the most that is drawn, and never so near to zero that rounding looks like a result. */
function reach(data, limit) {
  const ys = data.flatMap(({y}) => y).filter(Number.isFinite), low = Math.min(-limit / 10, ...ys), high = Math.max(limit / 5, ...ys);
  return [low - 0.04 * (high - low), high + 0.04 * (high - low)];
}

/** Draw what every line says along one axis, through the chosen cell; a click moves the cell. */
function drawProfile(element, atlas, shown, over, cell, choose) {
  const byLayer = over === "layer", count = byLayer ? atlas.layers.length : atlas.places.length;
  const cellOf = (i) => (byLayer ? [i, cell.place] : [cell.layer, i]);
  let dashes = 0;
  const data = shown.flatMap(({sheet, letter}) => sheet.lines.flatMap((line) => {
    if (letter === "B" && line.kind !== "own") return []; // of the second map its own numbers alone: more would not be read
    const ink = letter === "B" ? INKS.other : INKS[line.kind];
    const dash = line.kind === "control" ? DASHES[dashes++ % DASHES.length] : line.kind === "mean" ? "dash" : "solid";
    return traces(atlas, line, (letter && line.kind === "own" ? `${letter}: ` : "") + line.label, ink, dash, count, cellOf);
  }));
  const keys = data.filter((trace) => trace.showlegend !== false).map((trace) => 60 + 6.5 * trace.name.length);
  const below = 19 * Math.ceil(1.2 * keys.reduce((sum, width) => sum + width, 0) / Math.max(element.clientWidth, 200));
  const layout = layoutOf(310 + below, {l: 44, r: 8, t: 28, b: 52 + below});
  const where = byLayer ? `layers, at ${atlas.axis} ${minus(atlas.places[cell.place])}` : `${atlas.axis === "position" ? "tokens" : "segments"}, at layer ${atlas.layers[cell.layer]}`;
  layout.title = {text: `over ${plain(where)}`, x: 0, xref: "paper", font: {size: 12}};
  layout.xaxis = byLayer ? layerAxis(atlas, element.clientWidth - 60) : placeAxis(atlas, shown[0].sheet, element.clientWidth / 16);
  layout.yaxis = {automargin: true, fixedrange: true, zerolinecolor: colour("soft"), gridcolor: colour("faint"), title: {text: atlas.symbol}, range: reach(data, limitOf(atlas))};
  layout.legend = {orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, font: {size: 11}};
  const here = byLayer ? cell.layer : cell.place;
  layout.shapes = [{type: "line", x0: here, x1: here, yref: "paper", y0: 0, y1: 1, line: {color: colour("soft"), width: 1}}];
  Plotly.react(element, data, layout, settings).then(() => {
    element.removeAllListeners("plotly_click");
    element.on("plotly_click", ({points: [{x}]}) => choose(...cellOf(x)));
  });
}
