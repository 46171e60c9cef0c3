// Curves and examples of a report. Every text is set as text, none as HTML.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 20; // examples at a time
  const SHORT = 1200; // characters of a passage that are shown at first

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  // --- curves -----------------------------------------------------------------------------------

  const style = () => getComputedStyle(document.documentElement);
  const color = (name) => style().getPropertyValue(name).trim();
  const plots = [];

  function columns(chart) {
    if (!chart.linked && !chart.log) return scattered(chart);
    const tables = chart.series.map((s) => (s.low ? [s.x, s.y, s.low, s.high] : [s.x, s.y]));
    return tables.length > 1 ? uPlot.join(tables) : tables[0];
  }

  // Many points may have one x, and each keeps its own row: a join by x would keep one of them.
  function scattered(chart) {
    const found = chart.series.flatMap((s, n) => s.x.map((x, k) => [x, n, s.y[k]]));
    found.sort((a, b) => a[0] - b[0]);
    return [found.map((row) => row[0]), ...chart.series.map((s, n) => found.map((row) => (row[1] === n ? row[2] : null)))];
  }

  function shortened(value) {
    if (value === null || value === undefined) return "";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
    return String(Number(value.toPrecision(4)));
  }

  function seriesOf(chart) {
    const found = [{ label: chart.x, value: (u, v) => shortened(v) }];
    const bands = [];
    let hue = 0;
    for (const s of chart.series) {
      const stroke = s.look === "faint" ? color("--faint") : s.look === "guide" ? color("--guide") : color("--s" + (hue++ % 8));
      const one = { label: s.name, stroke: stroke, width: s.look === "faint" ? 1 : 2, value: (u, v) => shortened(v), spanGaps: true };
      if (s.look === "points") one.points = { show: true, size: 7, fill: stroke };
      if (s.look === "points" && !chart.linked) {
        one.paths = () => null;
        one.points = { show: true, size: 5, fill: stroke + "66", stroke: stroke };
      }
      if (s.look === "guide") one.dash = [5, 5];
      if (s.look === "line") one.points = { show: s.x.length < 40, size: 6, fill: stroke };
      if (s.look === "faint" || s.look === "guide") one.points = { show: false };
      found.push(one);
      if (s.low) {
        const edge = { stroke: "transparent", width: 0, points: { show: false }, spanGaps: true, value: (u, v) => shortened(v) };
        found.push({ ...edge, label: s.name + ", lowest" }, { ...edge, label: s.name + ", highest" });
        bands.push({ series: [found.length - 1, found.length - 2], fill: stroke + "30" });
      }
    }
    return [found, bands];
  }

  function draw(element) {
    const chart = data.charts[Number(element.dataset.chart)];
    const [series, bands] = seriesOf(chart);
    const axis = {
      stroke: color("--soft"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
      grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 },
    };
    const options = {
      width: Math.max(200, element.clientWidth), height: 240, series: series, bands: bands,
      scales: { x: { time: false, distr: chart.log ? 3 : 1 } },
      axes: [
        { ...axis, label: chart.x, labelSize: 18, size: 34, values: (u, ticks) => ticks.map(shortened) },
        { ...axis, size: 62, values: (u, ticks) => ticks.map(shortened) },
      ],
      cursor: {
        drag: { x: true, y: false },
        bind: { dblclick: (u) => () => { whole(plots.find((p) => p.plot === u)); return null; } },
        ...(chart.linked ? { sync: { key: "step" } } : {}),
      },
      legend: { show: chart.series.length > 0 },
      hooks: { setScale: [(u, key) => { if (key === "x" && chart.linked) follow(u); }] },
    };
    const plot = new uPlot(options, columns(chart), element);
    const x = plot.data[0];
    return { plot: plot, element: element, linked: chart.linked, from: x[0], to: x[x.length - 1] };
  }

  // The linked charts show the same steps; null until all are drawn.
  let steps = null;

  function follow(source) {
    const { min, max } = source.scales.x;
    if (steps === null || min === null || (steps[0] === min && steps[1] === max)) return;
    steps = [min, max];
    for (const one of plots) if (one.linked && one.plot !== source) one.plot.setScale("x", { min: min, max: max });
  }

  function zoom(one, factor, shift) {
    const { min, max } = one.plot.scales.x;
    const middle = (min + max) / 2 + shift * (max - min);
    const half = ((max - min) / 2) * factor;
    const low = Math.max(one.from, middle - half), high = Math.min(one.to, middle + half);
    if (high > low) one.plot.setScale("x", { min: low, max: high });
  }

  function whole(one) {
    if (one.to > one.from) one.plot.setScale("x", { min: one.from, max: one.to });
  }

  const KEYS = { "+": [0.5, 0], "=": [0.5, 0], "-": [2, 0], ArrowLeft: [1, -0.25], ArrowRight: [1, 0.25] };

  function drawAll() {
    steps = null;
    for (const { plot } of plots) plot.destroy();
    plots.length = 0;
    for (const element of document.querySelectorAll(".plot")) plots.push(draw(element));
    const linked = plots.filter((one) => one.linked);
    const from = Math.min(...linked.map((one) => one.from)), to = Math.max(...linked.map((one) => one.to));
    for (const one of linked) {
      [one.from, one.to] = [from, to];
      whole(one);
    }
    setTimeout(() => { steps = [from, to]; });
  }

  for (const element of document.querySelectorAll(".plot")) {
    element.addEventListener("keydown", (event) => {
      const one = plots.find((p) => p.element === element);
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "0") whole(one);
      else if (KEYS[event.key]) zoom(one, ...KEYS[event.key]);
      else return;
      event.preventDefault();
    });
  }
  const buttons = document.querySelector(".zoom");
  if (buttons) {
    const linked = () => plots.find((p) => p.linked);
    for (const [text, label, act] of [
      ["+", "Zoom in", () => zoom(linked(), 0.5, 0)],
      ["\u2212", "Zoom out", () => zoom(linked(), 2, 0)],
      ["\u2190", "Earlier", () => zoom(linked(), 1, -0.25)],
      ["\u2192", "Later", () => zoom(linked(), 1, 0.25)],
      ["Whole", "Show the whole", () => whole(linked())],
    ]) {
      const button = make("button", { type: "button", "aria-label": label }, text);
      button.addEventListener("click", () => { if (linked()) act(); });
      buttons.append(button);
    }
  }
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  new ResizeObserver(() => {
    for (const { plot, element } of plots) {
      if (Math.abs(plot.width - element.clientWidth) > 1) plot.setSize({ width: Math.max(200, element.clientWidth), height: 240 });
    }
  }).observe(document.body);

  // --- examples ---------------------------------------------------------------------------------

  const examples = data.examples;
  const list = document.getElementById("list");
  if (!examples || !list) return;
  const { texts, labels, facets, rows } = examples;
  const percent = (p) => (100 * p).toFixed(p > 0.995 && p < 1 ? 2 : 1) + " %";

  // Pieces of a text between the ends of its marks, each with the marks that it is in.
  function pieces(text, marks) {
    const ends = new Set([0, text.length]);
    for (const [start, end] of marks) { ends.add(start); ends.add(end); }
    const sorted = [...ends].sort((a, b) => a - b);
    return sorted.slice(1).map((end, n) => ({
      text: text.slice(sorted[n], end),
      marks: marks.filter(([start, stop]) => start <= sorted[n] && stop >= end && stop > start),
      last: end,
    }));
  }

  function marked(text, marks) {
    const found = document.createDocumentFragment();
    for (const piece of pieces(text, marks)) {
      if (!piece.marks.length) { found.append(piece.text); continue; }
      const tag = piece.marks.find(([, , label]) => labels[label]);
      const gold = piece.marks.some(([, , , by]) => by === 1), said = piece.marks.some(([, , , by]) => by === 0);
      const who = gold && said ? "gold and predicted" : gold ? "gold" : "predicted";
      const element = make("mark", { title: tag ? labels[tag[2]] : who });
      if (tag) {
        element.className = "tag";
        element.style.setProperty("--c", "var(--s" + (tag[2] % 8) + ")");
      } else element.className = (gold ? "gold " : "") + (said ? "said" : "");
      element.append(piece.text);
      if (tag && tag[1] === piece.last) element.append(make("small", {}, labels[tag[2]]));
      if (!tag) element.append(make("span", { class: "unseen" }, " (" + who + ")"));
      found.append(element);
    }
    return found;
  }

  function passage([title, number, marks], first) {
    const text = texts[number];
    const element = make("p", { class: "passage" + (first ? " main" : ""), dir: "auto" });
    const show = (whole) => {
      element.replaceChildren();
      if (title) element.append(make("span", { class: "title" }, title));
      let from = 0, to = text.length;
      if (!whole && text.length > SHORT) {
        const start = Math.min(...marks.map((m) => m[0]));
        from = marks.length ? Math.max(0, start - SHORT / 2) : 0;
        to = Math.min(text.length, from + SHORT);
        if (/[\udc00-\udfff]/.test(text[from])) from -= 1; // no half of a character
        if (/[\ud800-\udbff]/.test(text[to - 1])) to -= 1;
      }
      const inside = marks.filter((m) => m[1] > from && m[0] < to)
        .map((m) => [Math.max(m[0], from) - from, Math.min(m[1], to) - from, m[2], m[3]]);
      if (from > 0) element.append("\u2026 ");
      element.append(marked(text.slice(from, to), inside));
      if (to < text.length) element.append(" \u2026");
      if (from > 0 || to < text.length) {
        const more = make("button", { type: "button", class: "more" }, "the whole text");
        more.addEventListener("click", () => show(true));
        element.append(more);
      }
    };
    show(false);
    return element;
  }

  function choices(row) {
    const items = row.o.map(([text, p, flags]) => {
      const gold = (flags & 1) > 0, said = (flags & 2) > 0;
      const meter = make("span", { class: "meter", "aria-hidden": "true" }, make("i"));
      meter.firstChild.style.width = 100 * (p || 0) + "%";
      return make("li", { class: (gold ? "is-gold " : "") + (said ? "is-said" : "") },
        make("span", { class: "p" }, p === null ? "" : percent(p)), meter,
        make("span", { class: "text", dir: "auto" }, text === "" ? "(no answer)" : text,
          gold ? make("em", {}, "gold") : null, said ? make("em", {}, "predicted") : null));
    });
    const listed = make("ul", { class: "choices" }, ...items);
    if (items.length <= 6) return listed;
    const rest = make("ul", { class: "choices" }, ...items.slice(3));
    listed.replaceChildren(...items.slice(0, 3));
    return make("div", {}, listed, make("details", { class: "nbest" }, make("summary", {}, items.length - 3 + " more"), rest));
  }

  function card(row) {
    const verdict = row.r === null ? "" : row.r ? "right" : "wrong";
    const head = make("div", { class: "head" }, verdict ? make("b", {}, verdict) : null);
    if (row.c !== undefined && row.c !== null) head.append(make("span", {}, "confidence " + percent(row.c)));
    facets.forEach(({ name, values }, n) => {
      if (row.f[n] >= 0 && !["verdict", "gold", "predicted"].includes(name)) head.append(make("span", {}, name + ": " + values[row.f[n]]));
    });
    head.append(make("span", { class: "id" }, row.id));
    const shown = row.t.map((one, n) => passage(one, n === 0 && row.t.length > 1 && row.o && row.o.length > 0 && one[2].length === 0));
    const answers = make("dl", { class: "answers" });
    if (row.g !== null) answers.append(make("dt", {}, "gold"), make("dd", { dir: "auto", class: "is-gold" }, row.g));
    if (row.p !== "") answers.append(make("dt", {}, "predicted"), make("dd", { dir: "auto", class: row.r === false ? "is-wrong" : row.r ? "is-gold" : "" }, row.p));
    return make("li", { class: verdict }, head, ...shown,
      answers.childNodes.length ? answers : null, row.o && row.o.length ? choices(row) : null);
  }

  const ORDERS = {
    "worst first": null,
    "as in the data": (a, b) => a.n - b.n,
    "surest first": (a, b) => (b.c ?? -1) - (a.c ?? -1),
    "least sure first": (a, b) => (a.c ?? 2) - (b.c ?? 2),
    "longest first": (a, b) => b.l - a.l,
    "shortest first": (a, b) => a.l - b.l,
  };
  const form = document.getElementById("filters");
  const selects = facets.map(({ name, values }, n) => {
    const counts = values.map(() => 0);
    for (const row of rows) if (row.f[n] >= 0) counts[row.f[n]] += 1;
    const select = make("select", {}, make("option", { value: "" }, "all"),
      ...values.map((value, k) => make("option", { value: k }, value + " (" + counts[k] + ")")));
    form.append(make("label", {}, name, select));
    return select;
  });
  const hasConfidence = rows.some((row) => row.c !== undefined && row.c !== null);
  const order = make("select", {}, ...Object.keys(ORDERS)
    .filter((name) => hasConfidence || !name.includes("sure")).map((name) => make("option", { value: name }, name)));
  form.append(make("label", {}, "order", order));
  const search = make("input", { type: "search", autocomplete: "off", placeholder: "text or id" });
  form.append(make("label", { class: "wide" }, "search", search));
  const clear = make("button", { type: "reset" }, "Show all");
  form.append(clear);

  if (rows.some((row) => row.t.some(([, , marks]) => marks.some(([, , label]) => !labels[label])))) {
    list.before(make("p", { class: "note" }, make("mark", { class: "gold" }, "gold"), " is what is right, ",
      make("mark", { class: "said" }, "framed"), " what was predicted."));
  }
  let found = rows, page = 0;

  function filter() {
    const wanted = selects.map((select) => (select.value === "" ? null : Number(select.value)));
    const words = search.value.trim().toLowerCase();
    const hits = words ? new Set(texts.flatMap((text, n) => (text.toLowerCase().includes(words) ? [n] : []))) : null;
    found = rows.filter((row) => wanted.every((value, n) => value === null || row.f[n] === value) &&
      (!hits || row.t.some(([, number]) => hits.has(number)) || row.id.toLowerCase().includes(words) ||
        (row.g || "").toLowerCase().includes(words) || row.p.toLowerCase().includes(words)));
    if (ORDERS[order.value]) found = [...found].sort(ORDERS[order.value]);
    page = 0;
    show();
  }

  const previous = document.getElementById("previous"), next = document.getElementById("next");

  function show() {
    const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
    page = Math.min(Math.max(page, 0), last);
    list.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(card));
    const left = examples.total > rows.length ? "; of " + examples.total + " examples the worst " + rows.length + " are in this page" : "";
    document.getElementById("count").textContent = found.length + " of " + rows.length + " examples" + left;
    document.getElementById("pages").textContent = found.length ? "page " + (page + 1) + " of " + (last + 1) : "no example";
    previous.disabled = page === 0;
    next.disabled = page >= last;
  }

  function turn(by) {
    page += by;
    show();
    list.focus({ preventScroll: true });
    document.getElementById("examples").scrollIntoView();
  }

  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  let typing = 0;
  search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filter, 150); });
  for (const button of document.querySelectorAll(".miss button")) {
    // A class that all examples have tells none apart, and has no filter.
    const targets = [["gold", button.dataset.gold], ["predicted", button.dataset.predicted]]
      .map(([name, value]) => [facets.findIndex((f) => f.name === name), value]).filter(([n]) => n >= 0);
    if (!targets.length || targets.some(([n, value]) => !facets[n].values.includes(value))) {
      button.replaceWith(button.textContent);
      continue;
    }
    button.addEventListener("click", () => {
      form.reset(); // after which it filters
      for (const [n, value] of targets) selects[n].value = facets[n].values.indexOf(value);
      document.getElementById("examples").scrollIntoView();
    });
  }
  show();
})();
