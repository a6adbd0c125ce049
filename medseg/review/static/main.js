// The page as a whole: the chosen case, the keyboard, verdicts and controls.
import { casePath, getJson, post, settled } from "/api.js";
import { CaseList, options, part } from "/list.js";
import { Loaded, MAPS, Viewer } from "/viewer.js";
import { Drawing } from "/drawing.js";
import { Solid, hasWebgl2 } from "/solid.js";

const el = id => document.getElementById(id);
/** Cases kept in the browser: this one, the next and the one before. */
const KEPT = 3;

class Review {
  async start() {
    this.overview = await getJson("/api/list");
    const { labels, title, rater, blind } = this.overview;
    this.labels = labels;
    el("title").textContent = title;
    el("rater").textContent = rater + (blind ? ", blinded" : "");
    el("show-raters").hidden = blind;
    document.title = `${title} · medseg review`;
    this.held = new Map();
    this.viewer = new Viewer(labels, () => this.probe());
    this.drawing = new Drawing(this.viewer, (loaded, state, text) => this.drawn(loaded, state, text));
    this.list = new CaseList(this.overview, name => this.choose(name));
    this.controls();
    this.pickLabel(labels[0].value);
    document.addEventListener("keydown", event => this.key(event));
    window.addEventListener("hashchange", () => this.follow());
    setInterval(() => this.refresh(), 15000);
    setTimeout(() => this.refresh(), 2000);
    if (!this.follow()) {
      const open = this.list.visible.find(name => !this.list.row(name).verdict);
      await this.choose(open || this.list.visible[0]);
    }
  }

  // ---- cases

  follow() {
    let name = "";
    try { name = decodeURIComponent(location.hash.slice(1)); } catch { /* no case's address */ }
    if (!name || name === this.name || !this.list.row(name)) return Boolean(name && name === this.name);
    this.choose(name);
    return true;
  }

  load(name) {
    if (!this.held.has(name)) {
      const loaded = new Loaded(name);
      loaded.onTrouble = error => this.say(error.message);
      this.held.set(name, loaded.open().then(async one => { await one.warm(); return one; }));
      this.held.get(name).catch(() => this.held.delete(name));
    }
    const promise = this.held.get(name);
    this.held.delete(name);
    this.held.set(name, promise);
    for (const old of this.held.keys()) if (this.held.size > KEPT && old !== this.name) this.held.delete(old);
    return promise;
  }

  async choose(name) {
    if (!name) return;
    const began = performance.now();
    this.name = name;
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
    this.list.select(name);
    document.body.classList.remove("listing");
    el("show-list").setAttribute("aria-expanded", "false");
    const row = this.list.row(name);
    el("case").textContent = name;
    el("flags").replaceChildren(...(row.flags || []).map(flag => part("li", flag[2])));
    el("note").value = row.note;
    this.showVerdict(row.verdict);
    document.body.classList.add("loading");
    try {
      const loaded = await this.load(name);
      if (this.name !== name) return;
      this.show(loaded);
      requestAnimationFrame(() => requestAnimationFrame(() => {
        document.body.dataset.shown = name;
        document.body.dataset.milliseconds = Math.round(performance.now() - began);
      }));
      const next = this.list.neighbour(1);
      if (next) this.load(next).catch(() => undefined);
    } catch (error) {
      if (this.name === name) this.cannotShow(error);
    } finally {
      if (this.name === name) document.body.classList.remove("loading");
    }
  }

  show(loaded) {
    document.body.classList.remove("unreadable");
    this.loaded = loaded;
    this.viewer.show(loaded);
    const { layers, before, notes, scan } = loaded.facts;
    for (const box of document.querySelectorAll("[data-layer]"))
      box.hidden = !layers.includes(box.dataset.layer);
    this.mapOptions(layers.filter(name => MAPS.includes(name)));
    el("before").hidden = !before;
    el("notes").replaceChildren(...notes.map(text => part("li", text)));
    this.windowOptions(scan);
    this.showLabels();
    this.editState();
    if (!el("tools").hidden && !this.list.row(loaded.name).unsaved) this.edit(false);
    if (this.list.row(loaded.name).unsaved) this.edit(true);
    if (this.solid) this.showSolid();
  }

  cannotShow(error) {
    document.body.classList.add("unreadable");
    this.loaded = this.viewer.loaded = null;
    el("notes").replaceChildren(part("li", error.message));
    this.say(`${this.name}: ${error.message}`);
  }

  async refresh() {
    const { cases } = await getJson("/api/list").catch(() => ({}));
    if (!cases) return this.say("The server does not answer. Is medseg review still running?");
    const news = JSON.stringify(cases);
    if (news === this.news) return undefined;
    this.news = news;
    this.list.take(cases);
    this.list.fillOptions();
    return this.list.draw();
  }

  // ---- verdicts

  showVerdict(verdict) {
    for (const button of document.querySelectorAll("[data-verdict]"))
      button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict));
  }

  async judge(verdict) {
    const { name } = this, row = this.list.row(name);
    if (verdict === "accept" && row.unsaved)
      return this.say("There are changes that were not saved: save them (s), or undo them (z).");
    const again = row.verdict === verdict;
    await this.keep(name, again ? "" : verdict);
    if (verdict === "edit") return this.edit(!again);
    return again ? undefined : this.step(1);
  }

  async keep(name, verdict) {
    try {
      const note = this.name === name ? el("note").value : this.list.row(name).note;
      const said = await post(`${casePath(name)}/verdict`, { verdict, note });
      this.list.update(name, { verdict: said.verdict, note: said.note });
      if (this.name === name) this.showVerdict(said.verdict);
      if (said.remark) this.say(`${name}: ${said.remark}`);
    } catch (error) { this.say(error.message); }
  }

  step(by) {
    const next = this.list.neighbour(by);
    if (next) this.choose(next);
    else this.say(by > 0 ? "That was the last case of the list." : "This is the first case of the list.");
  }

  // ---- mending

  edit(on) {
    el("tools").hidden = !on;
    this.tool(on ? "brush" : null);
  }

  tool(kind) {
    if (kind && el("tools").hidden) el("tools").hidden = false;
    this.drawing.use(kind);
    for (const button of document.querySelectorAll("[data-tool]"))
      button.setAttribute("aria-pressed", String(button.dataset.tool === kind));
  }

  drawn(loaded, state, text) {
    if (text) this.say(text);
    if (!state) return;
    const row = this.list.row(loaded.name);
    const facts = { unsaved: state.unsaved, corrected: Boolean(state.corrected), volumes: state.volumes };
    if (text.startsWith("saved")) facts.verdict = "edit";
    this.list.update(loaded.name, facts);
    if (loaded === this.loaded) {
      this.showVerdict(row.verdict);
      this.showLabels();
      this.editState();
    }
  }

  editState() {
    const { edits, unsaved, corrected } = this.loaded.has;
    const changes = edits ? `${edits} change${edits > 1 ? "s" : ""}` : "changes undone";
    el("edit-state").textContent = unsaved ? `${changes}, kept but not saved as a mask`
      : corrected ? `saved: ${corrected}` : "";
    document.body.dataset.edits = edits;
    document.body.dataset.saved = String(!unsaved && Boolean(corrected));
  }

  pickLabel(value) {
    const one = this.labels.find(label => label.value === value);
    if (!one) return;
    Object.assign(this.drawing, { label: value, colour: one.colour });
    options(el("other"), this.labels.filter(label => label !== one).map(label => [label.value, label.name]));
    if (this.loaded) this.showLabels();
  }

  // ---- display

  showLabels() {
    const { volumes } = this.loaded.has, drawn = this.drawing.label;
    el("labels").replaceChildren(...this.labels.map((one, at) => {
      const row = document.createElement("li"), swatch = part("i", ""), name = part("button", one.name, "pick");
      swatch.style.background = one.colour;
      const box = document.createElement("input");
      Object.assign(box, { type: "checkbox", checked: !this.viewer.hidden.has(one.value) });
      box.setAttribute("aria-label", `show ${one.name}`);
      box.addEventListener("change", () => this.toggle(one.value));
      name.setAttribute("aria-pressed", String(one.value === drawn));
      name.addEventListener("click", () => this.pickLabel(one.value));
      const ml = volumes[one.name];
      row.append(box, swatch, name, part("span", ml ? `${ml} ml` : "–", "ml"));
      if (at < 9) row.append(part("kbd", String(at + 1)));
      row.classList.toggle("absent", !ml);
      return row;
    }));
  }

  toggle(value) {
    const { hidden } = this.viewer;
    if (!hidden.delete(value)) hidden.add(value);
    this.showLabels();
    this.viewer.draw();
  }

  look(name, value) {
    this.viewer.look[name] = value;
    const box = el(name);
    if (box.type === "checkbox") box.checked = value;
    this.viewer.draw();
  }

  /** The maps of uncertainty that this case has; the one shown before stays where it is there. */
  mapOptions(names) {
    el("unsure").hidden = !names.length;
    el("map-box").hidden = names.length < 2;
    options(el("map"), names.map(name => [name, name]));
    this.viewer.look.map = names.includes(this.map) ? this.map : names[0] || "";
    el("map").value = this.viewer.look.map;
  }

  windowOptions(scan) {
    const names = scan?.ct ? Object.keys(this.overview.windows) : [];
    options(el("window"), [["scan", "of the scan"], ...names.map(name => [name, name]), ["own", "own"]]);
    el("window").value = this.windowName();
  }

  windowName() {
    const { window: now, facts } = this.loaded;
    if (!now) return "scan";
    const same = ends => ends.every((end, k) => Math.abs(end - now[k]) < 1e-6);
    const named = facts.scan.ct && Object.entries(this.overview.windows).find(([, ends]) => same(ends));
    return named ? named[0] : same(facts.scan.window) ? "scan" : "own";
  }

  setWindow(name) {
    if (!this.loaded?.facts.scan || name === "own") return;
    const [low, high] = name === "scan" ? this.loaded.facts.scan.window : this.overview.windows[name];
    this.viewer.setWindow((low + high) / 2, high - low);
  }

  /** Where the crosshair is and what lies there; also keeps the window's fields right. */
  probe() {
    const { loaded } = this;
    if (!loaded) return;
    if (loaded.window) {
      const [low, high] = loaded.window;
      for (const [id, value] of [["level", (low + high) / 2], ["width", high - low]])
        if (document.activeElement !== el(id)) el(id).value = Number(value.toPrecision(4));
      el("window").value = this.windowName();
    }
    const plane = this.viewer.active, facts = loaded.facts.planes[plane], [w, h] = loaded.size(plane);
    const k = (h - 1 - loaded.position[facts.up]) * w + (w - 1 - loaded.position[facts.across]);
    const at = this.viewer.at(plane);
    const mask = loaded.slice("mask", plane, at), scan = loaded.facts.scan && loaded.slice("scan", plane, at);
    const label = mask && this.labels.find(one => one.value === mask[k]);
    const value = scan ? scan[k] * loaded.facts.scan.slope + loaded.facts.scan.intercept : null;
    el("probe").textContent = [
      value === null ? "" : `${Number(value.toPrecision(4))}${loaded.facts.scan.ct ? " HU" : ""}`,
      label ? label.name : mask && mask[k] ? `value ${mask[k]}` : "background",
    ].filter(Boolean).join(" · ");
  }

  async showSolid() {
    const note = el("solid-note");
    if (!hasWebgl2()) { note.textContent = "needs WebGL 2, which this browser does not offer"; return; }
    note.textContent = "…";
    try {
      this.solid ??= new Solid(el("solid-box"), this.labels);
      const loaded = this.loaded;
      await settled();
      await this.solid.show(loaded);
      if (loaded === this.loaded) note.textContent = "";
      el("solid").dataset.shown = loaded.name;
      el("show-solid").hidden = true;
    } catch (error) {
      note.textContent = `not available: ${error.message}`;
      this.solid = null;
    }
  }

  async showRaters() {
    const pairs = await getJson("/api/raters");
    const table = document.createElement("table");
    const line = (cells, tag) => {
      const row = document.createElement("tr");
      row.append(...cells.map(text => part(tag, text)));
      return row;
    };
    table.append(line(["Raters", "Cases", "Same verdict", "Cohen's κ", "Edited", "Dice of edits"], "th"));
    const number = value => value === null ? "–" : value.toFixed(2);
    for (const pair of pairs)
      table.append(line([`${pair.one}, ${pair.other}`, `${pair.cases}`, `${pair.same}`, number(pair.kappa), `${pair.edited}`, number(pair.dice)], "td"));
    el("raters-table").replaceChildren(pairs.length ? table : part("p", "Nobody else has judged the same cases yet."));
    el("raters").showModal();
  }

  say(text) {
    const box = el("message");
    box.textContent = text;
    box.hidden = false;
    clearTimeout(this.fading);
    this.fading = setTimeout(() => { box.hidden = true; }, 6000);
  }

  // ---- controls and keyboard

  controls() {
    const on = (id, kind, handler) => el(id).addEventListener(kind, handler);
    for (const button of document.querySelectorAll("[data-verdict]"))
      button.addEventListener("click", () => this.judge(button.dataset.verdict));
    for (const button of document.querySelectorAll("[data-tool]"))
      button.addEventListener("click", () => this.tool(button.getAttribute("aria-pressed") === "true" ? null : button.dataset.tool));
    for (const name of ["contour", "filled", "truth", "prediction", "uncertainty"])
      on(name, "change", event => this.look(name, event.target.checked));
    for (const name of ["opacity", "heat"])
      on(name, "input", event => this.look(name, Number(event.target.value)));
    on("map", "change", event => { this.map = event.target.value; this.look("map", this.map); });
    on("window", "change", event => this.setWindow(event.target.value));
    const own = () => this.viewer.setWindow(Number(el("level").value), Math.max(1e-6, Number(el("width").value)));
    on("level", "change", own);
    on("width", "change", own);
    on("size", "input", () => this.size(Number(el("size").value)));
    on("protect", "change", event => { this.drawing.protect = event.target.checked; });
    on("note", "change", () => this.keep(this.name, this.list.row(this.name).verdict));
    on("fill", "click", () => this.send("fill"));
    on("largest", "click", () => this.send("largest"));
    on("swap", "click", () => this.send("swap"));
    on("undo", "click", () => this.drawing.command("undo"));
    on("save", "click", () => this.drawing.command("save"));
    on("before", "click", () => this.choose(this.loaded.facts.before));
    on("show-solid", "click", () => this.showSolid());
    on("show-raters", "click", () => this.showRaters());
    on("show-help", "click", () => el("help").showModal());
    on("show-list", "click", () => {
      const open = document.body.classList.toggle("listing");
      el("show-list").setAttribute("aria-expanded", String(open));
    });
    this.size(6);
  }

  size(mm) {
    const held = Math.max(0.5, Math.min(40, mm));
    el("size").value = held;
    el("size-mm").textContent = `${held} mm`;
    this.drawing.radiusMm = held / 2;
  }

  send(tool) {
    if (!this.loaded) return;
    const plane = this.viewer.active;
    this.drawing.send({
      tool, plane, position: this.viewer.at(plane), label: this.drawing.label, other: Number(el("other").value),
    });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const typing = event.target.matches("input[type=text], input[type=search], input[type=number], input[type=range], select");
    if (event.key === "Escape") {
      if (typing) event.target.blur();
      else this.edit(false);
      return;
    }
    if (typing) {
      if (event.key === "Enter") event.target.blur();
      if (!event.target.matches("input[type=range]") || event.key.startsWith("Arrow")) return;
    }
    const digit = /^Digit([1-9])$/.exec(event.code);
    const act = digit ? () => this.digit(Number(digit[1]) - 1, event.shiftKey) : this.keys[event.key];
    if (!act || (["Enter", " "].includes(event.key) && event.target.matches("button, input"))) return;
    event.preventDefault();
    act.call(this, event);
  }

  digit(at, shift) {
    const one = this.labels[at];
    if (!one) return;
    if (shift) this.toggle(one.value);
    else this.pickLabel(one.value);
  }

  get keys() {
    const scroll = by => event => this.loaded && this.viewer.scroll(this.viewer.active, by * (event.shiftKey ? 10 : 1));
    const flip = name => () => this.look(name, !this.viewer.look[name]);
    const zoom = factor => () => this.loaded && this.viewer.zoom(this.viewer.active, factor);
    return {
      j: () => this.step(1), k: () => this.step(-1),
      a: () => this.judge("accept"), e: () => this.judge("edit"), r: () => this.judge("reject"),
      n: () => el("note").focus(), " ": flip("contour"), o: flip("filled"), t: flip("truth"),
      p: flip("prediction"), h: flip("uncertainty"),
      ArrowUp: scroll(1), ArrowDown: scroll(-1), PageUp: scroll(10), PageDown: scroll(-10),
      "+": zoom(1.3), "=": zoom(1.3), "-": zoom(1 / 1.3), "0": zoom(0), m: () => this.enlarge(),
      w: () => this.nextWindow(), v: () => this.loaded && this.showSolid(),
      b: () => this.tool("brush"), x: () => this.tool("eraser"), i: () => this.tool("island"),
      ",": () => this.size(2 * this.drawing.radiusMm - 1), ".": () => this.size(2 * this.drawing.radiusMm + 1),
      Enter: () => this.drawing.atCross(), f: () => this.send("fill"), z: () => this.drawing.command("undo"), s: () => this.drawing.command("save"),
      "?": () => el("help").showModal(),
    };
  }

  enlarge() {
    const box = el("planes"), large = box.dataset.large === this.viewer.active ? "" : this.viewer.active;
    box.dataset.large = large;
    this.viewer.draw();
  }

  nextWindow() {
    const select = el("window"), names = [...select.options].map(one => one.value).filter(one => one !== "own");
    this.setWindow(names[(names.indexOf(select.value) + 1) % names.length]);
  }
}

const review = new Review();
globalThis.review = review; // for the browser's console
review.start().catch(error => {
  const box = el("message");
  box.textContent = error.message;
  box.hidden = false;
});
