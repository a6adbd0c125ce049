// The table of cases: figures of any label, filters, and one case with all of its labels.
(() => {
  const table = document.getElementById("cases");
  const rows = [...table.tBodies[0].rows];
  const columns = [...table.tHead.rows[0].cells].map(cell => cell.textContent.trim());
  const first = columns.indexOf(known.metrics[0]);
  const [label, show, find] = ["label", "show", "find"].map(id => document.getElementById(id));
  const panel = document.getElementById("case");

  const nameOf = row => row.cells[0].textContent;
  const statusOf = row => row.cells[columns.indexOf("status")].textContent;
  const noteOf = row => row.cells[columns.length - 1].textContent;

  function text(value, metric) {
    if (value === null) return "–";
    const decimals = metric.includes("[mm]") ? 2 : Math.abs(value) >= 100 ? 1 : 3;
    return value.toFixed(decimals).replace("-", "−");
  }

  function element(tag, content, attributes = {}) {
    const node = document.createElement(tag);
    if (content !== undefined) node.textContent = content;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }

  function fill() {
    const place = +label.value;
    for (const row of rows) {
      const values = known.cases[nameOf(row)];
      known.metrics.forEach((metric, k) => {
        const cell = row.cells[first + k];
        const value = values[k][place];
        cell.textContent = text(value, metric);
        cell.dataset.value = value === null ? "" : value;
      });
    }
  }

  function filter() {
    const wanted = find.value.toLowerCase();
    const keep = {
      all: () => true,
      faults: row => statusOf(row) !== "scored",
      notes: row => noteOf(row) !== "",
    }[show.value];
    let count = 0;
    for (const row of rows) {
      row.hidden = !(keep(row) && nameOf(row).toLowerCase().includes(wanted));
      count += !row.hidden;
    }
    document.getElementById("shown").textContent = `${count} of ${rows.length}`;
  }

  function open(row) {
    const name = nameOf(row);
    const note = noteOf(row);
    const close = element("button", "close", { type: "button" });
    close.addEventListener("click", () => { panel.hidden = true; row.querySelector("a").focus(); });
    const head = element("h3", name);
    head.append(" ", close);
    const body = element("tbody");
    known.labels.forEach((labelName, place) => {
      const line = element("tr");
      line.append(element("td", labelName, { class: "text" }));
      known.metrics.forEach((metric, k) => {
        line.append(element("td", text(known.cases[name][k][place], metric), { class: "num" }));
      });
      body.append(line);
    });
    const titles = element("tr");
    titles.append(...["label", ...known.metrics].map(title => element("th", title)));
    const top = element("thead");
    top.append(titles);
    const figures = element("table");
    figures.append(top, body);
    const scroll = element("div", undefined, { class: "scroll" });
    scroll.append(figures);
    panel.replaceChildren(head, element("p", [statusOf(row), note].filter(Boolean).join(": ")), scroll);
    panel.hidden = false;
    panel.scrollIntoView({ block: "nearest" });
  }

  known.labels.forEach((name, place) => label.append(element("option", name, { value: place })));
  label.value = known.labels.length - 1;
  for (const row of rows) {
    const link = element("a", nameOf(row), { href: "#case" });
    link.addEventListener("click", event => { event.preventDefault(); open(row); });
    row.cells[0].replaceChildren(link);
  }
  document.getElementById("controls").addEventListener("submit", event => event.preventDefault());
  label.addEventListener("change", fill);
  show.addEventListener("change", filter);
  find.addEventListener("input", filter);
  filter();
})();
