"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("scripted");

  // ---- the table: texts are set as text, never as HTML -------------------------------------
  const table = one("#runs-table");
  const { columns, numRows, step } = data.table;
  const view = { sort: null, isDescending: false, limit: step, isWide: false, rows: [], unknown: [] };
  let picked = null;

  const shownColumns = () => columns.filter((column) => view.isWide || column.main);
  const cellText = (column, row) => (column.index[row] < 0 ? "" : column.texts[column.index[row]]);

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  const pattern = /^([^<>=!]+)(<=|>=|!=|<|>|=)(.+)$/;
  const compares = {
    "<": (a, b) => a < b,
    "<=": (a, b) => a <= b,
    ">": (a, b) => a > b,
    ">=": (a, b) => a >= b,
    "=": (a, b) => a === b,
    "!=": (a, b) => a !== b,
  };

  /** A number that stands alone or in front of its interval; NaN of anything else. */
  const numberIn = (text) => {
    const [, head] = /^(\S+)(?: \(.*\))?$/.exec(text) || [];
    return head === undefined ? NaN : Number(head.replace(/^(-?)inf$/, "$1Infinity"));
  };

  /** Whether a cell with a text passes "column<value": as numbers where both are some. */
  function comparison(column, sign, value) {
    const wanted = numberIn(value);
    const passes = column.texts.map((text, i) => {
      const known = column.numbers ? column.numbers[i] : numberIn(text);
      if (!Number.isNaN(wanted) && !Number.isNaN(known)) return compares[sign](known, wanted);
      // A word is neither more nor less than a number; days and times compare as they are written.
      if (sign.length === 1 && sign !== "=" && Number.isNaN(wanted) !== Number.isNaN(known)) return false;
      return compares[sign](text.toLowerCase(), value);
    });
    return (row) => (column.index[row] < 0 ? sign === "!=" : passes[column.index[row]]);
  }

  /** Whether any cell of a row has the word. */
  function search(word) {
    const found = columns.map((column) => column.texts.map((text) => text.toLowerCase().includes(word)));
    return (row) => columns.some((column, i) => found[i][column.index[row]]);
  }

  /** What a word of the filter box asks of a row; names that no column has go to `unknown`. */
  function test(word, unknown) {
    const [, name, sign, value] = pattern.exec(word) || [];
    if (!name) return search(word);
    const named = columns.filter((column) => [column.name, column.title].some((n) => n.toLowerCase() === name));
    if (!named.length) {
      unknown.push(name);
      return search(word);
    }
    const tests = named.map((column) => comparison(column, sign, value));
    return (row) => tests.some((passes) => passes(row));
  }

  function arrange() {
    const words = one("#filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    view.unknown = [];
    const tests = words.map((word) => test(word, view.unknown));
    const rows = [];
    for (let row = 0; row < numRows; row += 1) {
      if (tests.every((passes) => passes(row))) rows.push(row);
    }
    if (view.sort) {
      const places = view.sort.index;
      const sign = view.isDescending ? -1 : 1;
      // Missing ones go last whichever way it is sorted; equal ones keep their order.
      rows.sort((a, b) => (places[a] < 0) - (places[b] < 0) || sign * (places[a] - places[b]));
    }
    view.rows = rows;
  }

  function drawHead() {
    const line = element("tr");
    for (const column of shownColumns()) {
      const cell = element("th", undefined, column.numeric ? "num" : "");
      cell.scope = "col";
      cell.title = column.name;
      const button = element("button", column.title);
      button.type = "button";
      button.addEventListener("click", () => sortBy(column));
      cell.append(button);
      if (column.subtitle) cell.append(element("small", column.subtitle));
      if (view.sort === column) {
        cell.setAttribute("aria-sort", view.isDescending ? "descending" : "ascending");
      }
      line.append(cell);
    }
    one("thead", table).replaceChildren(line);
  }

  function drawRow(row) {
    const line = element("tr", undefined, row === picked ? "picked" : "");
    line.dataset.row = row;
    for (const column of shownColumns()) {
      const cell = element("td", cellText(column, row), column.numeric ? "num" : "");
      if (cell.textContent.length > 40) cell.title = cell.textContent;
      line.append(cell);
    }
    return line;
  }

  function drawBody() {
    const rows = view.rows.slice(0, view.limit);
    // A picked run is always in sight, also when it is sorted far down or filtered out.
    if (picked !== null && !rows.includes(picked)) rows.unshift(picked);
    one("tbody", table).replaceChildren(...rows.map(drawRow));
    const left = view.rows.length - view.limit;
    one("#more").hidden = left <= 0;
    one("#more").textContent = `Show ${Math.min(left, step * 5).toLocaleString("en")} more`;
    one("#count").textContent = counted();
  }

  function counted() {
    const num = numRows.toLocaleString("en");
    const told = view.rows.length === numRows
      ? `${num} ${numRows === 1 ? "run" : "runs"}`
      : `${view.rows.length.toLocaleString("en")} of ${num} runs`;
    return view.unknown.length ? `${told}; no column is called ${view.unknown.join(", ")}` : told;
  }

  function redraw() {
    arrange();
    drawHead();
    drawBody();
  }

  function sortBy(column) {
    view.isDescending = view.sort === column ? !view.isDescending : false;
    view.sort = column;
    redraw();
  }

  function startTable() {
    table.classList.add("scripted");
    one("#filter").addEventListener("input", () => { view.limit = step; redraw(); });
    one("#all-columns").addEventListener("change", (event) => {
      view.isWide = event.target.checked;
      redraw();
    });
    one("#more").addEventListener("click", () => { view.limit += step * 5; drawBody(); });
    one("tbody", table).addEventListener("click", (event) => {
      const line = event.target.closest("tr");
      const isSelecting = String(window.getSelection());
      if (line && !isSelecting) pick(Number(line.dataset.row) === picked ? null : Number(line.dataset.row));
    });
    redraw();
  }

  // ---- pictures ------------------------------------------------------------------------------
  const config = { displayModeBar: false, responsive: true, showTips: false };
  const waiting = new Set();

  // Texts for plotly.js are escaped: one with an entity is not cut in two.
  const shortened = (text, most) => (
    text.length > most && !text.includes("&") ? `${text.slice(0, most - 1)}…` : text);

  /** On a narrow screen the names of lanes stand above them: beside them is no room. */
  function fitted(panel, width) {
    const { layout } = panel;
    const { tickvals, ticktext, range } = layout.yaxis;
    const longest = Math.max(0, ...(ticktext || []).map((text) => text.length));
    if (width > 620 || longest * 6.5 < width / 3) return layout;
    const isBars = panel.data.some((trace) => trace.type === "bar");
    const names = tickvals.map((y, i) => ({
      x: 0, xref: "paper", xanchor: "left", y, yanchor: "bottom", yshift: isBars ? 14 : 5, text: shortened(ticktext[i], width / 6.2),
      showarrow: false, font: { size: 11 },
    }));
    return {
      ...layout, height: layout.height + 16 * names.length,
      yaxis: { ...layout.yaxis, showticklabels: false, range: [range[0], range[1] + 0.3] },
      annotations: [...layout.annotations, ...names],
    };
  }

  function draw(box) {
    waiting.delete(box);
    const panel = data.panels[box.dataset.panel];
    panel.layout = fitted(panel, box.clientWidth);
    box.style.height = `${panel.layout.height}px`;
    Plotly.newPlot(box, panel.data, panel.layout, config);
    box.on("plotly_click", (event) => {
      const point = event.points[0];
      const { key, keys } = point.data.meta || {};
      const row = keys ? keys[point.pointNumber] : key;
      // A bar of several attempts belongs to no row.
      if (row !== undefined && row !== null) pick(row);
    });
    box.dataset.drawn = "yes";
    if (picked !== null) mark(box);
  }

  const isShown = (box) => !box.closest(".slot").hidden;

  function drawAll() {
    for (const box of [...waiting]) if (isShown(box)) draw(box);
  }

  /** Draws what comes into sight at once, and the rest one by one while nothing else is to do. */
  function startPictures() {
    all(".plot").forEach((box) => waiting.add(box));
    const watch = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting && waiting.has(target)) draw(target);
      }
    }, { rootMargin: "300px" });
    waiting.forEach((box) => watch.observe(box));
    const whenIdle = window.requestIdleCallback || ((work) => setTimeout(work, 50));
    const next = () => {
      const box = [...waiting].find(isShown);
      if (!box) return;
      draw(box);
      whenIdle(next);
    };
    whenIdle(next);
    startPrinting();
    all("select[data-chooses]").forEach((select) => {
      select.addEventListener("change", () => choose(select));
    });
  }

  /** Paper is narrower than the window: pictures are drawn anew to its width. */
  function startPrinting() {
    const refit = (width) => all(".plot[data-drawn]").filter(isShown).forEach((box) => {
      const wide = width && box.closest(".panels").classList.contains("wide");
      Plotly.relayout(box, { width: width ? (wide ? width : Math.min(box.clientWidth, width / 2)) : null });
    });
    window.addEventListener("beforeprint", () => { drawAll(); refit(660); });
    window.addEventListener("afterprint", () => refit(null));
  }

  function choose(select) {
    for (const slot of all(".slot", document.getElementById(select.dataset.chooses))) {
      slot.hidden = slot.dataset.choice !== select.value;
      const box = one(".plot", slot);
      if (slot.hidden) continue;
      if (waiting.has(box)) draw(box);
      else Plotly.Plots.resize(box);
    }
  }

  // ---- picking a run -------------------------------------------------------------------------
  const accent = "#22272e";

  function copyOf(trace, row) {
    const { key, keys } = trace.meta || {};
    if (key === row) {
      return { ...trace, opacity: 1, line: { ...trace.line, color: accent, width: 3.5 }, meta: { ...trace.meta, mark: 1 } };
    }
    const at = keys ? keys.indexOf(row) : -1;
    if (at < 0 || trace.type === "bar") return null;
    return {
      type: "scatter", mode: "markers", x: [trace.x[at]], y: [trace.y[at]],
      text: [trace.text[at]], hovertemplate: trace.hovertemplate, meta: { mark: 1 },
      marker: { size: trace.marker.size + 6, symbol: "circle-open", color: accent, line: { width: 2.5, color: accent } },
    };
  }

  /** Draws the picked run once more on top; what marked another one goes. */
  function mark(box) {
    const plain = data.panels[box.dataset.panel].data.filter((trace) => !(trace.meta || {}).mark);
    const copies = picked === null ? [] : plain.map((trace) => copyOf(trace, picked)).filter(Boolean);
    data.panels[box.dataset.panel].data = [...plain, ...copies];
    Plotly.react(box, data.panels[box.dataset.panel].data, data.panels[box.dataset.panel].layout, config);
  }

  function pick(row) {
    picked = row;
    drawBody();
    all(".plot[data-drawn]").forEach(mark);
    const box = one("#picked");
    box.hidden = row === null;
    if (row !== null) {
      const cells = columns.filter((column) => column.main && column.name !== "error")
        .map((column) => [column.title, cellText(column, row)]).filter(([, text]) => text);
      one("span", box).textContent = cells.map(([title, text]) => `${title} ${text}`).join(" · ");
    }
  }

  function startPicking() {
    one("#picked button").addEventListener("click", () => pick(null));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && picked !== null) pick(null);
    });
  }

  function startCopying() {
    one("#copy").addEventListener("click", async () => {
      const told = one("#copied");
      try {
        await navigator.clipboard.writeText(one("#command").textContent);
        told.textContent = "copied";
      } catch {
        // Pages opened from a file may not write to the clipboard: select it for the user.
        window.getSelection().selectAllChildren(one("#command"));
        told.textContent = "selected: press Ctrl+C";
      }
    });
  }

  if (table) { startTable(); startPicking(); }
  if (data.panels.length) startPictures();
  if (one("#copy")) startCopying();
})();
