// The list of cases: worst first, filtered, with progress.
const el = id => document.getElementById(id);

const ORDERS = {
  worst: ["worst first", null],
  case: ["name", (a, b) => a.case.localeCompare(b.case, undefined, { numeric: true })],
  confidence: ["confidence", (a, b) => (a.confidence ?? 2) - (b.confidence ?? 2)],
  dice: ["Dice", (a, b) => (a.dice ?? 2) - (b.dice ?? 2)],
};

export class CaseList {
  constructor(overview, choose) {
    this.choose = choose;
    this.blind = overview.blind;
    this.labels = overview.labels;
    this.current = "";
    this.visible = [];
    this.take(overview.cases);
    this.fillOptions();
    for (const control of el("filters").elements) control.addEventListener("input", () => this.draw());
    el("filters").addEventListener("submit", event => event.preventDefault());
    el("cases").addEventListener("click", event => {
      const row = event.target.closest("li");
      if (row) choose(row.dataset.case);
    });
    this.draw();
  }

  take(cases) {
    this.cases = cases;
    this.by = new Map(cases.map(one => [one.case, one]));
  }

  row(name) { return this.by.get(name); }

  fillOptions() {
    const flags = [...new Set(this.cases.flatMap(one => (one.flags || []).map(flag => flag[0])))].sort();
    options(el("by-flag"), [["", "all"], ["any", "any flag"], ...flags.map(kind => [kind, kind])]);
    options(el("by-label"), [["", "all"], ...this.labels.map(one => [one.name, one.name])]);
    const groups = [...new Set(this.cases.map(one => one.group).filter(Boolean))].sort();
    options(el("by-group"), [["", "all"], ...groups.map(name => [name, name])]);
    el("group-box").hidden = groups.length < 2;
    const known = Object.entries(ORDERS).filter(([key]) =>
      !this.blind || key === "case" || key === "worst");
    const volumes = this.labels.map(one => [`ml ${one.name}`, `volume of ${one.name}`]);
    options(el("order"), [...known.map(([key, [text]]) => [key, this.blind && key === "worst" ? "random" : text]), ...volumes]);
    el("by-flag").parentElement.hidden = this.blind;
  }

  wanted(one) {
    const find = el("find").value.trim().toLowerCase();
    const flag = el("by-flag").value, label = el("by-label").value;
    const verdict = el("by-verdict").value, group = el("by-group").value;
    const flags = one.flags || [];
    if (find && !one.case.toLowerCase().includes(find)) return false;
    if (flag === "any" ? !flags.length : flag && !flags.some(f => f[0] === flag)) return false;
    if (label && !((one.volumes[label] ?? 0) > 0 || flags.some(f => f[1] === label))) return false;
    if (group && one.group !== group) return false;
    if (verdict === "open") return !one.verdict;
    if (verdict === "unsaved") return one.unsaved;
    if (verdict === "apart") return one.verdict && Object.values(one.others || {}).some(v => v !== one.verdict);
    return !verdict || one.verdict === verdict;
  }

  draw() {
    const shown = this.cases.filter(one => this.wanted(one) || one.case === this.current);
    const order = el("order").value;
    if (order.startsWith("ml ")) {
      const name = order.slice(3);
      shown.sort((a, b) => (a.volumes[name] ?? Infinity) - (b.volumes[name] ?? Infinity));
    } else if (ORDERS[order]?.[1]) shown.sort(ORDERS[order][1]);
    this.visible = shown.map(one => one.case);
    el("cases").replaceChildren(...shown.map(one => this.item(one)));
    el("shown").textContent = shown.length === this.cases.length ? "" : `${shown.length} shown`;
    this.progress();
    this.mark();
  }

  item(one) {
    const row = document.createElement("li");
    row.dataset.case = one.case;
    const sign = { accept: "✓", edit: "✎", reject: "✗" }[one.verdict] || "·";
    const verdict = part("span", sign, `sign ${one.verdict}`);
    verdict.title = one.verdict || "open";
    const name = part("span", one.case, "name");
    const facts = [];
    if (one.dice !== null && one.dice !== undefined) facts.push(`Dice ${one.dice.toFixed(2)}`);
    else if (one.confidence !== null && one.confidence !== undefined) facts.push(`sure ${one.confidence.toFixed(2)}`);
    if (one.unsaved) facts.push("unsaved");
    const kinds = [...new Set((one.flags || []).map(flag => flag[0]))];
    row.append(verdict, name, part("span", facts.join(" · "), "facts"), part("span", kinds.join(" "), "kinds"));
    const others = Object.entries(one.others || {});
    if (others.length) row.append(part("span", others.map(([who, v]) => `${who}: ${v}`).join(", "), "others"));
    return row;
  }

  /** Draw one row again after something was said of it. */
  update(name, facts) {
    Object.assign(this.by.get(name), facts);
    const old = [...el("cases").children].find(row => row.dataset.case === name);
    if (old) old.replaceWith(this.item(this.by.get(name)));
    this.progress();
    this.mark();
  }

  progress() {
    const done = this.cases.filter(one => one.verdict).length;
    const redo = this.cases.filter(one => one.verdict === "reject").length;
    const mend = this.cases.filter(one => one.verdict === "edit" && !one.corrected).length;
    el("progress").textContent = `${done} of ${this.cases.length}`
      + (redo ? `, ${redo} to redo` : "") + (mend ? `, ${mend} to mend` : "");
  }

  select(name) {
    this.current = name;
    this.mark();
  }

  mark() {
    for (const row of el("cases").children) {
      const here = row.dataset.case === this.current;
      row.classList.toggle("here", here);
      if (here) {
        row.setAttribute("aria-current", "true");
        const box = el("cases");
        const top = row.offsetTop - box.offsetTop;
        if (top < box.scrollTop || top + row.offsetHeight > box.scrollTop + box.clientHeight)
          box.scrollTop = top - box.clientHeight / 3;
      } else row.removeAttribute("aria-current");
    }
  }

  neighbour(step) {
    const at = this.visible.indexOf(this.current);
    return this.visible[at + step] || "";
  }
}

export function part(tag, text, name) {
  const node = document.createElement(tag);
  node.textContent = text;
  if (name) node.className = name;
  return node;
}

export function options(select, pairs) {
  const before = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
  if (pairs.some(([value]) => value === before)) select.value = before;
}
