// Three planes of one case on plain canvases: slices on demand, window, zoom, contours.
import { casePath, getBytes, getJson } from "/api.js";

const PLANES = ["axial", "coronal", "sagittal"];
/** Layers that say how uncertain each voxel is, 0 to 255. */
export const MAPS = ["uncertainty", "entropy", "disagreement"];
/** Bytes of slices kept of one case; the whole scan is never asked for. */
const KEPT_BYTES = 64e6;

/** One case as the browser knows it: facts, a coarse preview, and the slices seen lately. */
export class Loaded {
  constructor(name) {
    this.name = name;
    this.slices = new Map();
    this.waiting = new Map();
    this.bytes = 0;
    this.changes = 0;
    this.preview = null;
  }

  async open() {
    this.facts = await getJson(casePath(this.name));
    this.has = this.facts.has;
    this.position = [...this.facts.focus];
    if (this.facts.scan) this.fetchPreview();
    return this;
  }

  async fetchPreview() {
    const { buffer, headers } = await getBytes(`${casePath(this.name)}/preview`);
    this.preview = { data: new Int16Array(buffer), shape: headers.get("X-Shape").split(",").map(Number) };
    this.onArrival?.();
  }

  size(plane) {
    const { across, up } = this.facts.planes[plane];
    return [this.facts.shape[across], this.facts.shape[up]];
  }

  spacing(plane) {
    const { across, up } = this.facts.planes[plane];
    return [this.facts.spacing[across], this.facts.spacing[up]];
  }

  key(layer, plane, position) {
    return `${layer}/${plane}/${position}` + (layer === "mask" ? `?v=${this.changes}` : "");
  }

  /** The pixels of a slice, or null while they are on their way. */
  slice(layer, plane, position) {
    const key = this.key(layer, plane, position);
    const known = this.slices.get(key);
    if (known) {
      this.slices.delete(key);
      this.slices.set(key, known);
      return known;
    }
    this.fetch(layer, plane, position);
    return null;
  }

  fetch(layer, plane, position) {
    if (position < 0 || position >= this.facts.shape[this.facts.planes[plane].cut]) return null;
    const key = this.key(layer, plane, position);
    if (this.slices.has(key)) return null;
    if (!this.waiting.has(key)) {
      const arriving = getBytes(`${casePath(this.name)}/${key}`).then(({ buffer }) => {
        this.keep(key, this.typed(layer, buffer));
        this.onArrival?.();
      }).catch(error => this.onTrouble?.(error)).finally(() => this.waiting.delete(key));
      this.waiting.set(key, arriving);
    }
    return this.waiting.get(key);
  }

  typed(layer, buffer) {
    if (layer === "scan") return new Int16Array(buffer);
    if (MAPS.includes(layer)) return new Uint8Array(buffer);
    return this.facts.bits === 8 ? new Uint8Array(buffer) : new Uint16Array(buffer);
  }

  keep(key, data) {
    this.forget(key);
    this.slices.set(key, data);
    this.bytes += data.byteLength;
    for (const old of this.slices.keys()) {
      if (this.bytes <= KEPT_BYTES) break;
      this.forget(old);
    }
  }

  forget(key) {
    this.bytes -= this.slices.get(key)?.byteLength || 0;
    this.slices.delete(key);
  }

  /** The mask is another one now: of its slices only one that shows the change already counts. */
  renew(state, painted) {
    const shown = painted?.changes === this.changes;
    this.has = state;
    this.changes += 1;
    for (const key of [...this.slices.keys()]) if (key.startsWith("mask/")) this.forget(key);
    if (shown) this.keep(this.key("mask", painted.plane, painted.at), painted.mask);
  }

  /** The slices that are seen first, so that the case appears at once when it is chosen. */
  async warm() {
    const first = PLANES.flatMap(plane => {
      const at = this.position[this.facts.planes[plane].cut];
      const layers = ["mask", ...(this.facts.scan ? ["scan"] : [])];
      return layers.map(layer => this.fetch(layer, plane, at));
    });
    await Promise.all(first);
  }
}

export class Viewer {
  constructor(labels, onMove) {
    this.labels = labels;
    this.onMove = onMove;
    this.hidden = new Set();
    this.look = { contour: true, filled: false, opacity: 0.35, truth: true, prediction: false, uncertainty: false, map: "", heat: 0.5 };
    this.view = Object.fromEntries(PLANES.map(plane => [plane, { zoom: 1, x: 0, y: 0 }]));
    this.active = "axial";
    this.canvases = {};
    this.loaded = null;
    this.tool = null;
    for (const plane of PLANES) this.canvases[plane] = document.querySelector(`[data-plane=${plane}] canvas`);
    new ResizeObserver(() => this.draw()).observe(document.getElementById("planes"));
    for (const plane of PLANES) this.listen(plane);
  }

  show(loaded) {
    if (this.loaded) this.loaded.onArrival = null;
    this.loaded = loaded;
    loaded.onArrival = () => this.draw();
    if (loaded.facts.scan && !loaded.window) loaded.window = [...loaded.facts.scan.window];
    for (const plane of PLANES) Object.assign(this.view[plane], { zoom: 1, x: 0, y: 0 });
    this.draw();
  }

  // ---- geometry of the picture

  /** Canvas pixels a millimetre, and where the picture's first pixel begins. */
  frame(plane) {
    const canvas = this.canvases[plane];
    const [w, h] = this.loaded.size(plane), [dx, dy] = this.loaded.spacing(plane);
    const { zoom, x, y } = this.view[plane];
    const scale = Math.min(canvas.width / (w * dx), canvas.height / (h * dy)) * zoom;
    return {
      w, h, sx: dx * scale, sy: dy * scale, scale,
      left: canvas.width / 2 - (w * dx / 2 - x) * scale,
      top: canvas.height / 2 - (h * dy / 2 - y) * scale,
    };
  }

  /** Fractional column and row under a pointer. */
  pixel(plane, event) {
    const canvas = this.canvases[plane], box = canvas.getBoundingClientRect();
    const ratio = canvas.width / box.width, f = this.frame(plane);
    return [((event.clientX - box.left) * ratio - f.left) / f.sx,
            ((event.clientY - box.top) * ratio - f.top) / f.sy];
  }

  /** Where a pointer would be over the voxel of the crosshair. */
  crossed(plane) {
    const canvas = this.canvases[plane], box = canvas.getBoundingClientRect();
    const ratio = canvas.width / box.width, f = this.frame(plane);
    const { across, up } = this.loaded.facts.planes[plane], { position } = this.loaded;
    return {
      clientX: box.left + (f.left + (f.w - 0.5 - position[across]) * f.sx) / ratio,
      clientY: box.top + (f.top + (f.h - 0.5 - position[up]) * f.sy) / ratio,
    };
  }

  slider(plane) { return this.canvases[plane].parentElement.querySelector(".slices"); }

  at(plane) { return this.loaded.position[this.loaded.facts.planes[plane].cut]; }

  /** Move the crosshair to a pixel of a plane. */
  moveTo(plane, [column, row]) {
    const { across, up } = this.loaded.facts.planes[plane], [w, h] = this.loaded.size(plane);
    const held = (value, size) => Math.max(0, Math.min(size - 1, value));
    this.loaded.position[across] = held(w - 1 - Math.floor(column), w);
    this.loaded.position[up] = held(h - 1 - Math.floor(row), h);
    this.draw();
  }

  scroll(plane, step) {
    const { cut } = this.loaded.facts.planes[plane], size = this.loaded.facts.shape[cut];
    this.loaded.position[cut] = Math.max(0, Math.min(size - 1, this.loaded.position[cut] + step));
    this.draw();
    for (const ahead of [1, 2]) {
      const next = this.loaded.position[cut] + Math.sign(step) * ahead;
      if (this.loaded.facts.scan) this.loaded.fetch("scan", plane, next);
      this.loaded.fetch("mask", plane, next);
    }
  }

  zoom(plane, factor, event) {
    const view = this.view[plane], before = event ? this.pixel(plane, event) : null;
    view.zoom = Math.max(1, Math.min(24, view.zoom * factor));
    if (view.zoom === 1) Object.assign(view, { x: 0, y: 0 });
    else if (before) {
      const [dx, dy] = this.loaded.spacing(plane), after = this.pixel(plane, event);
      view.x += (after[0] - before[0]) * dx;
      view.y += (after[1] - before[1]) * dy;
    }
    this.draw();
  }

  // ---- pointers

  listen(plane) {
    const canvas = this.canvases[plane];
    canvas.addEventListener("contextmenu", event => event.preventDefault());
    canvas.addEventListener("focus", () => { this.active = plane; });
    canvas.addEventListener("wheel", event => {
      if (!this.loaded) return;
      event.preventDefault();
      this.active = plane;
      if (event.ctrlKey || event.metaKey) this.zoom(plane, event.deltaY < 0 ? 1.2 : 1 / 1.2, event);
      else this.scroll(plane, (event.deltaY < 0 ? 1 : -1) * (event.shiftKey ? 10 : 1));
    }, { passive: false });
    canvas.addEventListener("pointerdown", event => this.press(plane, event));
    this.slider(plane).addEventListener("input", event => {
      if (!this.loaded) return;
      this.active = plane;
      this.scroll(plane, Number(event.target.value) - this.at(plane));
    });
    canvas.addEventListener("pointermove", event => { if (this.loaded) this.hover?.(plane, event); });
    canvas.addEventListener("pointerleave", () => this.hover?.(plane, null));
  }

  press(plane, event) {
    if (!this.loaded) return;
    this.active = plane;
    const canvas = this.canvases[plane];
    canvas.setPointerCapture(event.pointerId);
    const move = this.gesture(plane, event);
    const each = next => move(next, false);
    const end = next => {
      canvas.removeEventListener("pointermove", each);
      canvas.removeEventListener("pointerup", end);
      canvas.removeEventListener("pointercancel", end);
      move(next, true);
    };
    canvas.addEventListener("pointermove", each);
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    move(event, false);
  }

  /** What a press means: draw, pan, window or move the crosshair. */
  gesture(plane, start) {
    const loaded = this.loaded;
    if (start.button === 2 && loaded.window) {
      const [low, high] = loaded.window;
      return event => {
        const step = (high - low) / 300;
        const width = Math.max((high - low) / 1000, high - low + (event.clientX - start.clientX) * step);
        const level = (low + high) / 2 - (event.clientY - start.clientY) * step;
        this.setWindow(level, width);
      };
    }
    if (start.button === 1 || start.shiftKey) {
      start.preventDefault();
      const view = this.view[plane], from = { ...view };
      const canvas = this.canvases[plane], ratio = canvas.width / canvas.getBoundingClientRect().width;
      return event => {
        const { scale } = this.frame(plane);
        view.x = from.x + (event.clientX - start.clientX) * ratio / scale;
        view.y = from.y + (event.clientY - start.clientY) * ratio / scale;
        this.draw();
      };
    }
    if (this.tool) return this.tool(plane, start);
    return event => this.moveTo(plane, this.pixel(plane, event));
  }

  setWindow(level, width) {
    this.loaded.window = [level - width / 2, level + width / 2];
    this.draw();
  }

  // ---- drawing

  draw() {
    if (this.pending || !this.loaded) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      for (const plane of PLANES) this.drawPlane(plane);
      this.onMove?.();
    });
  }

  drawPlane(plane) {
    const canvas = this.canvases[plane], box = canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d"), f = this.frame(plane), at = this.at(plane);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, width, height);
    pen.imageSmoothingEnabled = true;
    const picture = this.shades(plane, at);
    if (picture) pen.drawImage(picture, f.left, f.top, f.w * f.sx, f.h * f.sy);
    pen.imageSmoothingEnabled = false;
    this.drawLayers(pen, plane, at, f);
    this.drawCross(pen, plane, f, width, height);
    this.letter(pen, plane, width, height, ratio);
    const facts = this.loaded.facts, count = facts.shape[facts.planes[plane].cut];
    const text = `${plane} ${at + 1} of ${count}`;
    canvas.parentElement.querySelector("figcaption").textContent = text;
    canvas.setAttribute("aria-label", `${this.loaded.name}, ${text}`);
    Object.assign(this.slider(plane), { max: count - 1, value: at });
    canvas.dataset.ready = String(!this.loaded.waiting.size);
  }

  /** The scan's pixels in the window, as a canvas; from the preview while the slice is coming. */
  shades(plane, at) {
    const { facts, window: ends } = this.loaded;
    if (!facts.scan) return null;
    let pixels = this.loaded.slice("scan", plane, at), size = this.loaded.size(plane);
    if (!pixels) [pixels, size] = this.coarse(plane, at);
    if (!pixels) return null;
    const [w, h] = size, image = new ImageData(w, h), out = new Uint32Array(image.data.buffer);
    const { slope, intercept } = facts.scan, [low, high] = ends;
    const gain = 255 * slope / (high - low), offset = 255 * (intercept - low) / (high - low);
    for (let k = 0; k < out.length; k++) {
      const grey = Math.max(0, Math.min(255, pixels[k] * gain + offset)) | 0;
      out[k] = 0xff000000 | grey << 16 | grey << 8 | grey;
    }
    return asCanvas(image);
  }

  coarse(plane, at) {
    const preview = this.loaded.preview;
    if (!preview) return [null, null];
    const { cut, across, up } = this.loaded.facts.planes[plane], [nr, na, ns] = preview.shape;
    const w = preview.shape[across], h = preview.shape[up];
    const near = Math.min(preview.shape[cut] - 1, Math.floor(at * preview.shape[cut] / this.loaded.facts.shape[cut]));
    const steps = [na * ns, ns, 1], out = new Int16Array(w * h);
    for (let y = 0; y < h; y++) for (let x = 0; x < w; x++)
      out[y * w + x] = preview.data[near * steps[cut] + (w - 1 - x) * steps[across] + (h - 1 - y) * steps[up]];
    return nr ? [out, [w, h]] : [null, null];
  }

  drawLayers(pen, plane, at, f) {
    const layers = this.loaded.facts.layers;
    if (this.look.uncertainty && layers.includes(this.look.map)) {
      const pixels = this.loaded.slice(this.look.map, plane, at);
      if (pixels) pen.drawImage(heat(pixels, f.w, f.h, this.look.heat), f.left, f.top, f.w * f.sx, f.h * f.sy);
    }
    const mask = this.loaded.slice("mask", plane, at);
    if (mask && this.look.filled)
      pen.drawImage(this.tinted(mask, f), f.left, f.top, f.w * f.sx, f.h * f.sy);
    if (mask && this.look.contour) this.outline(pen, mask, f, 2);
    if (this.look.prediction && layers.includes("prediction")) {
      const pixels = this.loaded.slice("prediction", plane, at);
      if (pixels) this.outline(pen, pixels, f, 1, "#b9c4cc");
    }
    if (this.look.truth && layers.includes("truth")) {
      const pixels = this.loaded.slice("truth", plane, at);
      if (pixels) this.outline(pen, pixels, f, 1, "#ffffff");
    }
  }

  tinted(mask, f) {
    const image = new ImageData(f.w, f.h), out = new Uint32Array(image.data.buffer);
    const alpha = Math.round(255 * this.look.opacity) << 24;
    const colours = new Map(this.labels.map(one => [one.value, this.hidden.has(one.value) ? 0 : (alpha | bgr(one.colour)) >>> 0]));
    for (let k = 0; k < out.length; k++) if (mask[k]) out[k] = colours.get(mask[k]) ?? 0;
    return asCanvas(image);
  }

  /** Lines between pixels of a label and others, in canvas pixels: sharp at every zoom. */
  outline(pen, mask, f, width, colour) {
    const lines = new Map();
    const line = value => {
      if (!lines.has(value)) lines.set(value, new Path2D());
      return lines.get(value);
    };
    const { w, h, sx, sy, left, top } = f;
    for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
      const k = y * w + x, value = mask[k];
      if (!value || this.hidden.has(value)) continue;
      const x0 = left + x * sx, x1 = x0 + sx, y0 = top + y * sy, y1 = y0 + sy;
      if (x === 0 || mask[k - 1] !== value) { const p = line(value); p.moveTo(x0, y0); p.lineTo(x0, y1); }
      if (x === w - 1 || mask[k + 1] !== value) { const p = line(value); p.moveTo(x1, y0); p.lineTo(x1, y1); }
      if (y === 0 || mask[k - w] !== value) { const p = line(value); p.moveTo(x0, y0); p.lineTo(x1, y0); }
      if (y === h - 1 || mask[k + w] !== value) { const p = line(value); p.moveTo(x0, y1); p.lineTo(x1, y1); }
    }
    pen.lineWidth = width * (window.devicePixelRatio || 1);
    for (const [value, path] of lines) {
      pen.strokeStyle = colour || this.labels.find(one => one.value === value)?.colour || "#ff00ff";
      pen.stroke(path);
    }
  }

  drawCross(pen, plane, f, width, height) {
    const { across, up } = this.loaded.facts.planes[plane], { position } = this.loaded;
    const x = f.left + (f.w - 0.5 - position[across]) * f.sx, y = f.top + (f.h - 0.5 - position[up]) * f.sy;
    pen.strokeStyle = "rgba(120, 200, 255, .55)";
    pen.lineWidth = 1;
    pen.beginPath();
    const gap = 14;
    for (const [a, b, c, d] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
      pen.moveTo(a, b);
      pen.lineTo(c, d);
    }
    pen.stroke();
  }

  letter(pen, plane, width, height, ratio) {
    const [l, r, t, b] = this.loaded.facts.planes[plane].letters;
    pen.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const edge = 11 * ratio;
    for (const [text, x, y] of [[l, edge, height / 2], [r, width - edge, height / 2], [t, width / 2, edge], [b, width / 2, height - 3 * edge]]) {
      pen.lineWidth = 3 * ratio;
      pen.strokeStyle = "#000";
      pen.strokeText(text, x, y);
      pen.fillStyle = "#fff";
      pen.fillText(text, x, y);
    }
  }
}

function asCanvas(image) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: image.width, height: image.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Yellow where a little uncertain, red where very; clear where sure. */
function heat(pixels, w, h, opacity) {
  const image = new ImageData(w, h);
  for (let k = 0; k < pixels.length; k++) {
    const value = pixels[k];
    if (value < 8) continue;
    image.data.set([255, 255 - value, 0, Math.min(255, 2 * opacity * value)], 4 * k);
  }
  return asCanvas(image);
}

/** #rrggbb as the low three bytes of a little-endian RGBA pixel. */
function bgr(colour) {
  const [r, g, b] = [1, 3, 5].map(k => parseInt(colour.slice(k, k + 2), 16));
  return b << 16 | g << 8 | r;
}
