"use strict";
document.documentElement.classList.add("scripted");
const plots = [];

function colours() {
  const style = getComputedStyle(document.documentElement);
  const [text, line, panel] = ["--text", "--line", "--panel"].map((name) => style.getPropertyValue(name).trim());
  const axes = {};
  for (const axis of ["xaxis", "yaxis"]) {
    axes[`${axis}.gridcolor`] = axes[`${axis}.zerolinecolor`] = axes[`${axis}.linecolor`] = line;
  }
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", "font.color": text, "font.family": "system-ui, sans-serif",
    "hoverlabel.bgcolor": panel, "hoverlabel.font.color": text, "hoverlabel.bordercolor": line, ...axes,
  };
}

/** Show the traces of one view; runs that the reader hid stay hidden. */
function showView(plot, name) {
  for (const trace of plot.node.data) {
    if (trace.meta === plot.view) {
      if (trace.visible === "legendonly") plot.hidden.add(trace.legendgroup);
      else plot.hidden.delete(trace.legendgroup);
    }
  }
  plot.view = name;
  const visible = plot.node.data.map((trace) => trace.meta === name && (!plot.hidden.has(trace.legendgroup) || "legendonly"));
  Plotly.update(plot.node, { visible }, plot.views[name]);
}

function addFigure(figure, { data, layout, views, chosen }) {
  const plot = { node: figure.querySelector(".plot"), hidden: new Set(), view: chosen, views };
  for (const trace of data) trace.visible = trace.meta === plot.view;
  Plotly.newPlot(plot.node, data, layout, { responsive: true, displaylogo: false, displayModeBar: false })
    .then(() => Plotly.relayout(plot.node, { ...colours(), ...views[chosen] }));
  figure.querySelector("select").addEventListener("change", (event) => showView(plot, event.target.value));
  plots.push(plot);
}

function addProblems(section) {
  const lists = [...section.querySelectorAll(".list")];
  if (!lists.length) return;
  const [choice, search, filter, sort, count] = [
    "[data-choice=comparison]", "input[type=search]", "[data-filter]", "[data-sort]", "[data-count]",
  ].map((selector) => section.querySelector(selector));
  const kinds = {
    all: () => true,
    first: (problem) => Number(problem.before) <= 0 && Number(problem.after) > 0,
    never: (problem) => Number(problem.before) > 0 && Number(problem.after) <= 0,
  };
  function update() {
    const words = search.value.toLowerCase();
    const matches = kinds[filter.value] || ((problem) => problem.kind === filter.value);
    const [sign, key] = sort.value.startsWith("-") ? [-1, sort.value.slice(1)] : [1, sort.value];
    for (const list of lists) {
      list.hidden = list.dataset.view !== choice.value;
      if (list.hidden) continue;
      const problems = [...list.querySelectorAll(".problem")];
      problems.sort((a, b) => sign * (a.dataset[key] - b.dataset[key]));
      for (const problem of problems) {
        problem.hidden = !matches(problem.dataset) || !problem.textContent.toLowerCase().includes(words);
      }
      list.querySelector(".problems").append(...problems);
      count.textContent = `${problems.filter((problem) => !problem.hidden).length} of ${problems.length}`;
    }
  }
  for (const control of [choice, search, filter, sort]) control.addEventListener("input", update);
  update();
}

for (const section of document.querySelectorAll("section")) {
  const figures = section.querySelectorAll("figure");
  JSON.parse(section.querySelector(".figures-data").textContent).forEach((data, i) => addFigure(figures[i], data));
  addProblems(section);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const plot of plots) Plotly.relayout(plot.node, colours());
});
