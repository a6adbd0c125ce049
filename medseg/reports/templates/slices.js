// One case slice by slice: a grey column of slices, and columns whose shades are the labels'
// places, painted by a filter: scripts of a local page may show its pictures, not read them.
"use strict";
const showSlices = (() => {
  const at = id => document.getElementById(id);
  const [viewer, frame, slice, toggles, choices] = ["viewer", "frame", "slice", "toggles", "layers"].map(at);
  const grey = at("grey");
  const opposite = { R: "L", A: "P", S: "I" };
  let number = 1, shown = [], layers = [];

  function turn() {
    for (const image of [grey, ...layers.map(layer => layer.firstElementChild)])
      image.style.top = `${-100 * (slice.value - 1)}%`;
    at("number").textContent = `${slice.value} of ${number}`;
    grey.alt = `Slice ${slice.value} of ${number}`;
  }

  function colour(labels) {
    const part = (hex, from) => parseInt(hex.slice(from, from + 2), 16) / 255;
    const table = value => {
      const values = Array(256).fill(0);
      labels.slice(0, 255).forEach((label, i) => { values[i + 1] = value(label, i); });
      return values.join(" ");
    };
    const functions = document.querySelectorAll("#palette feComponentTransfer:first-of-type > *");
    [1, 3, 5].forEach((from, i) => functions[i].setAttribute("tableValues", table(label => part(label.colour, from).toFixed(4))));
    at("seen").setAttribute("tableValues", table((label, i) => +shown[i]));
  }

  function checkbox(text, checked, change, swatch) {
    const box = document.createElement("label"), input = document.createElement("input"), key = document.createElement("span");
    Object.assign(input, { type: "checkbox", checked });
    input.addEventListener("change", () => change(input.checked));
    key.className = "key";
    if (swatch) {
      const square = document.createElement("i");
      square.style.background = swatch;
      key.append(square);
    }
    key.append(text);
    box.append(input, key);
    return box;
  }

  function paint({ source, is_line: isLine }) {
    const layer = document.createElement("div"), image = document.createElement("img");
    layer.className = isLine ? "paint line" : "paint";
    Object.assign(image, { src: source, alt: "" });
    layer.append(image);
    return layer;
  }

  function fade() {
    for (const layer of layers)
      if (!layer.classList.contains("line")) layer.style.opacity = at("opacity").value / 100;
  }

  slice.addEventListener("input", turn);
  at("opacity").addEventListener("input", fade);
  at("close").addEventListener("click", () => viewer.close());
  frame.addEventListener("wheel", event => {
    event.preventDefault();
    slice.value = +slice.value + Math.sign(event.deltaY);
    turn();
  }, { passive: false });
  grey.addEventListener("load", () => {
    const [wide, high] = [grey.naturalWidth, grey.naturalHeight / number];
    frame.style.aspectRatio = `${wide} / ${high}`;
    frame.style.width = `min(100%, ${0.68 * wide / high * innerHeight}px)`;
  });

  /** Names of a case, its `slices` (scan, layers, number, edges), every label, and the numbers of those in it. */
  return (name, slices, labels, present) => {
    number = slices.number;
    if (shown.length !== labels.length) shown = labels.map(() => true);
    at("viewed").textContent = name;
    Object.assign(slice, { max: number, value: Math.ceil(number / 2) });
    const [left, top] = slices.edges;
    [left, opposite[left], top, opposite[top]].forEach((letter, i) => { frame.querySelectorAll(".edge")[i].textContent = letter ?? ""; });
    for (const layer of layers) layer.remove();
    layers = slices.layers.map(paint);
    frame.append(...layers);
    for (const image of frame.querySelectorAll("img")) image.style.height = `${100 * number}%`;
    choices.replaceChildren(...(layers.length < 2 ? [] : slices.layers.map((layer, i) =>
      checkbox(layer.name, true, seen => { layers[i].hidden = !seen; }))));
    toggles.replaceChildren(...present.map(i =>
      checkbox(labels[i].name, shown[i], seen => { shown[i] = seen; colour(labels); }, labels[i].colour)));
    grey.src = slices.scan;
    colour(labels);
    fade();
    turn();
    viewer.showModal();
    slice.focus();
  };
})();
