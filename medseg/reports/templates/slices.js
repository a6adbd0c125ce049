// One case slice by slice: a grey column of slices, and a column whose shades are the labels'
// places, painted by a filter: scripts of a local page may show its pictures, not read them.
"use strict";
const showSlices = (() => {
  const at = id => document.getElementById(id);
  const [viewer, frame, slice, toggles] = ["viewer", "frame", "slice", "toggles"].map(at);
  const [grey, paint] = [at("grey"), at("paint").firstElementChild];
  let number = 1, shown = [];

  function turn() {
    for (const image of [grey, paint]) image.style.top = `${-100 * (slice.value - 1)}%`;
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

  function toggle(label, i, labels) {
    const box = document.createElement("label"), input = document.createElement("input"), key = document.createElement("span");
    Object.assign(input, { type: "checkbox", checked: shown[i] });
    input.addEventListener("change", () => { shown[i] = input.checked; colour(labels); });
    key.className = "key";
    const square = document.createElement("i");
    square.style.background = label.colour;
    key.append(square, label.name);
    box.append(input, key);
    return box;
  }

  slice.addEventListener("input", turn);
  at("opacity").addEventListener("input", event => { at("paint").style.opacity = event.target.value / 100; });
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

  return (entry, labels) => {
    number = entry.slices.number;
    if (shown.length !== labels.length) shown = labels.map(() => true);
    at("viewed").textContent = entry.case;
    Object.assign(slice, { max: number, value: Math.ceil(number / 2) });
    for (const image of [grey, paint]) image.style.height = `${100 * number}%`;
    at("paint").style.opacity = at("opacity").value / 100;
    [grey.src, paint.src] = [entry.slices.scan, entry.slices.labels];
    const present = labels.map((label, i) => i).filter(i => entry.volumes[i] !== 0 && entry.volumes[i] !== null);
    toggles.replaceChildren(...present.map(i => toggle(labels[i], i, labels)));
    colour(labels);
    turn();
    viewer.showModal();
    slice.focus();
  };
})();
