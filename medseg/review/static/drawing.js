// Mending a mask by hand: strokes are shown at once and sent when the pointer lifts.
import { casePath, post } from "/api.js";

export class Drawing {
  constructor(viewer, report) {
    this.viewer = viewer;
    this.report = report; // (state, text) after every change, (null, text) after a refusal
    this.kind = null;
    this.label = 0;
    this.radiusMm = 3;
    this.protect = true;
    viewer.hover = (plane, event) => this.ring(plane, event);
  }

  use(kind) {
    this.kind = kind;
    this.viewer.tool = kind ? (plane, event) => this.begin(plane, event) : null;
    document.getElementById("planes").dataset.tool = kind || "";
  }

  begin(plane, start) {
    const at = this.viewer.at(plane);
    if (this.kind === "island") {
      const [column, row] = this.viewer.pixel(plane, start).map(Math.floor);
      const [w, h] = this.viewer.loaded.size(plane);
      if (column >= 0 && row >= 0 && column < w && row < h)
        this.send({ tool: "island", plane, position: at, pixel: row * w + column });
      return () => undefined;
    }
    return this.stroke(plane, at);
  }

  /** The tool at the crosshair, for those who have no pointer. */
  atCross() {
    const plane = this.viewer.active;
    if (!this.kind || !this.viewer.loaded) return;
    const place = this.viewer.crossed(plane);
    this.begin(plane, place)(place, true);
  }

  /** A gesture that gathers pixels along the pointer's way and paints them locally. */
  stroke(plane, at) {
    const { viewer } = this, { loaded } = viewer;
    const mask = loaded.slice("mask", plane, at);
    if (!mask) return () => undefined;
    const [w, h] = loaded.size(plane), [dx, dy] = loaded.spacing(plane);
    const value = this.kind === "eraser" ? 0 : this.label, touched = new Set(), { changes } = loaded;
    const rx = this.radiusMm / dx, ry = this.radiusMm / dy;
    const changeable = old => old !== value && (!this.protect || (value ? old === 0 : old === this.label));
    const dab = (cx, cy) => {
      const own = Math.floor(cy) * w + Math.floor(cx);
      for (let y = Math.max(0, Math.floor(cy - ry)); y <= Math.min(h - 1, Math.floor(cy + ry)); y++)
        for (let x = Math.max(0, Math.floor(cx - rx)); x <= Math.min(w - 1, Math.floor(cx + rx)); x++) {
          const u = (x + 0.5 - cx) / rx, v = (y + 0.5 - cy) / ry, k = y * w + x;
          if ((u * u + v * v <= 1 || k === own) && changeable(mask[k])) { mask[k] = value; touched.add(k); }
        }
    };
    let before = null;
    return (event, last) => {
      const [column, row] = viewer.pixel(plane, event);
      const [fromX, fromY] = before || [column, row];
      const steps = Math.max(1, Math.ceil(2 * Math.max(Math.abs(column - fromX) / rx, Math.abs(row - fromY) / ry)));
      for (let s = 1; s <= steps; s++)
        dab(fromX + (column - fromX) * s / steps, fromY + (row - fromY) * s / steps);
      before = [column, row];
      viewer.draw();
      if (last && touched.size)
        this.send({ tool: "paint", plane, position: at, label: value, runs: runsOf(touched) }, { plane, at, mask, changes });
    };
  }

  /** Send a change; `painted` is a slice that shows it already. */
  async send(order, painted) {
    const { loaded } = this.viewer;
    try {
      const state = await post(`${casePath(loaded.name)}/edit`, order);
      loaded.renew(state, painted);
      this.report(loaded, state, order.tool === "paint" ? "" : `${state.voxels} voxels changed`);
    } catch (error) {
      loaded.renew(loaded.has);
      this.report(loaded, null, error.message);
    }
    this.viewer.draw();
  }

  async command(name) {
    const { loaded } = this.viewer;
    try {
      const state = await post(`${casePath(loaded.name)}/${name}`);
      loaded.renew(state);
      const text = name === "save" ? `saved ${state.name}: ${state.voxels_changed} voxels changed`
        : state.voxels ? `undone: ${state.voxels} voxels` : "nothing to undo";
      this.report(loaded, state, text);
    } catch (error) {
      this.report(loaded, null, error.message);
    }
    this.viewer.draw();
  }

  /** The brush as a circle under the pointer. */
  ring(plane, event) {
    const { viewer } = this;
    if (!viewer.loaded || (this.kind !== "brush" && this.kind !== "eraser") || !event) {
      if (this.ringed) { this.ringed = false; viewer.draw(); }
      return;
    }
    this.ringed = true;
    viewer.draw();
    requestAnimationFrame(() => {
      const f = viewer.frame(plane), [column, row] = viewer.pixel(plane, event);
      const pen = viewer.canvases[plane].getContext("2d");
      pen.strokeStyle = this.kind === "eraser" ? "#fff" : this.colour || "#fff";
      pen.lineWidth = 1.5;
      pen.beginPath();
      pen.arc(f.left + column * f.sx, f.top + row * f.sy, this.radiusMm * f.scale, 0, 2 * Math.PI);
      pen.stroke();
    });
  }
}

/** start, length, start, length … of ascending numbers. */
export function runsOf(numbers) {
  const runs = [];
  let next = -1;
  for (const k of [...numbers].sort((a, b) => a - b)) {
    if (k === next) runs[runs.length - 1] += 1;
    else runs.push(k, 1);
    next = k + 1;
  }
  return runs;
}
