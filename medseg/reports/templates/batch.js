// Show one page of cases at a time; the address remembers which: #page=2&sort=case&show=flagged
"use strict";
(() => {
  const { cases, labels } = JSON.parse(document.getElementById("data").textContent);
  const perPage = 48;
  const [show, sort, find] = ["show", "sort", "find"].map(id => document.getElementById(id));
  const gallery = document.getElementById("gallery");
  let page = 1;

  for (const key of document.querySelectorAll("[data-colour]")) key.style.background = key.dataset.colour;

  const keep = {
    all: () => true,
    flagged: entry => entry.flags.length > 0,
    bad: entry => entry.state === "refused" || entry.state === "failed",
  };
  for (const option of show.options)
    if (option.value.startsWith("flag ")) keep[option.value] = entry => entry.kinds.includes(option.value.slice(5));

  function value(entry) {
    if (sort.value.startsWith("ml")) return entry.volumes[+sort.value.slice(2)];
    return entry[sort.value];
  }

  function compare(a, b) {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    if (typeof x === "string") return x.localeCompare(y, undefined, { numeric: true });
    return sort.value === "suspicion" || sort.value === "seconds" ? y - x : x - y;
  }

  function element(tag, text, name) {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  }

  function list(texts, name) {
    const items = element("ul", undefined, name);
    items.append(...texts.map(text => element("li", text)));
    return items;
  }

  /** A paragraph; of many parts, one that opens when asked. */
  function folded(parts) {
    const paragraph = element("p", parts.join(" · "));
    if (parts.length <= 12) return paragraph;
    const box = element("details");
    box.append(element("summary", `volumes of ${parts.length} labels`), paragraph);
    return box;
  }

  function present(entry) {
    return labels.map((label, i) => i).filter(i => entry.volumes[i] !== 0 && entry.volumes[i] !== null);
  }

  function card(entry) {
    const box = element("section", undefined, "case");
    if (entry.flags.length) box.classList.add("flagged");
    if (keep.bad(entry)) box.classList.add("bad");
    if (entry.picture) {
      const image = element("img"), link = element("a");
      Object.assign(image, { src: entry.picture, loading: "lazy", alt: "Three planes of " + entry.case });
      Object.assign(link, { href: entry.picture });
      link.append(image);
      box.append(link);
    }
    const head = element("h3", entry.case);
    head.append(element("span", entry.state));
    box.append(head);
    const line = element("p");
    if (entry.slices) {
      const button = element("button", "slices", "slices-of");
      button.addEventListener("click", () => showSlices(entry.case, entry.slices, labels, present(entry)));
      line.append(button, " ");
    }
    if (entry.mask) {
      const link = element("a", "mask");
      link.href = entry.mask;
      line.append(link);
    }
    if (line.hasChildNodes()) box.append(line);
    if (entry.flags.length) box.append(list(entry.flags));
    if (entry.notes.length) box.append(list(entry.notes, "notes"));
    const volumes = labels.map((label, i) => [label.name, entry.volumes[i]]).filter(([, ml]) => ml !== null);
    if (volumes.length) box.append(folded(volumes.map(([name, ml]) => `${name} ${ml} ml`)));
    if (entry.confidence !== null) box.append(element("p", `confidence ${entry.confidence}`));
    return box;
  }

  function draw() {
    const wanted = find.value.toLowerCase();
    const chosen = cases.filter(keep[show.value]).filter(entry => entry.case.toLowerCase().includes(wanted));
    chosen.sort(compare);
    const pages = Math.max(1, Math.ceil(chosen.length / perPage));
    page = Math.min(Math.max(1, page), pages);
    gallery.replaceChildren(...chosen.slice((page - 1) * perPage, page * perPage).map(card));
    document.getElementById("place").textContent = `page ${page} of ${pages}, ${chosen.length} cases`;
    document.getElementById("back").disabled = page === 1;
    document.getElementById("next").disabled = page === pages;
  }

  function remember() {
    const state = new URLSearchParams({ page, sort: sort.value, show: show.value });
    history.replaceState(null, "", "#" + state);
    draw();
  }

  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    page = parseInt(state.get("page") || "1", 10) || 1;
    for (const [control, fallback] of [[sort, "suspicion"], [show, "all"]]) {
      const known = [...control.options].map(option => option.value);
      const asked = state.get(control.id);
      control.value = known.includes(asked) ? asked : fallback;
    }
    draw();
  }

  document.getElementById("controls").addEventListener("submit", event => event.preventDefault());
  for (const control of [show, sort]) control.addEventListener("change", () => { page = 1; remember(); });
  find.addEventListener("input", () => { page = 1; draw(); });
  document.getElementById("back").addEventListener("click", () => { page -= 1; remember(); });
  document.getElementById("next").addEventListener("click", () => { page += 1; remember(); });
  addEventListener("hashchange", recall);
  recall();
})();
