// Each figure is JSON in an inert script element; draw it into the place that names it.
const settings = {
  responsive: true, displaylogo: false, displayModeBar: matchMedia("(hover: hover)").matches && "hover",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};
for (const place of document.querySelectorAll("[data-drawing]")) {
  const {data, layout} = JSON.parse(document.getElementById(place.dataset.drawing).textContent);
  Plotly.newPlot(place, data, {...layout, autosize: true}, settings).then(() => place.classList.add("drawn"));
}
// Paper has a width of its own. What is folded stays folded: the reader chooses what to print.
window.addEventListener("beforeprint", () => {
  for (const place of document.querySelectorAll(".drawn")) Plotly.Plots.resize(place);
});
