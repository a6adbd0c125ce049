// The view in 3D: NiiVue as the ipyniivue package brings it, driven through its widget interface.
import { casePath, getBytes } from "/api.js";

/** As much of a widget's model as NiiVue's widget asks for. */
class Model {
  constructor(values, manager) {
    this.values = values;
    this.handlers = new Map();
    this.widget_manager = manager;
    this._comm_live = false; // nothing is sent back
  }
  get(key) { return this.values[key]; }
  set(key, value) { this.values[key] = value; }
  on(name, handler) { this.handlers.set(name, [...(this.handlers.get(name) || []), handler]); }
  off(name) { this.handlers.delete(name); }
  save_changes() {}
  send() {}
  send_sync_message() {}
  change(key, value) {
    this.set(key, value);
    for (const handler of this.handlers.get(`change:${key}`) || []) handler();
  }
}

export function hasWebgl2() {
  return Boolean(document.createElement("canvas").getContext("webgl2"));
}

export class Solid {
  constructor(box, labels) {
    this.box = box;
    this.labels = labels;
    this.models = new Map();
    this.manager = { get_model: async id => this.models.get(id) };
    this.count = 0;
  }

  async start() {
    const { default: widget } = await import("/niivue.js");
    this.main = new Model({
      opts: { backColor: [0, 0, 0, 1], show3Dcrosshair: false, isColorbar: false, sliceType: 4, isOrientCube: true },
      volumes: [], meshes: [], height: 300, scene: { renderAzimuth: 120, renderElevation: 15 }, graph: {},
      background_masks_overlays: 0, draw_lut: null, draw_opacity: 0.8, draw_fill_overwrites: true,
      overlay_outline_width: 0, overlay_alpha_shader: 1,
    }, this.manager);
    await widget.initialize({ model: this.main });
    await widget.render({ model: this.main, el: this.box });
  }

  /** Show a case: the box around its mask, thinned; the scan is faint behind the labels. */
  async show(loaded) {
    if (!this.main) await this.start();
    const names = [...(loaded.facts.scan ? ["scan"] : []), "mask"];
    const ids = [];
    for (const layer of names) {
      const { buffer } = await getBytes(`${casePath(loaded.name)}/small/${layer}.nii`);
      const id = `volume${++this.count}`;
      this.models.set(id, new Model({ ...this.shared(id, buffer), ...this.ways(layer, loaded) }, this.manager));
      ids.push(`IPY_MODEL_${id}`);
    }
    this.main.change("volumes", ids);
  }

  shared(id, buffer) {
    return {
      id, name: `${id}.nii`, path: { name: `${id}.nii`, data: new DataView(buffer) },
      url: "", data: null, paired_img_path: {}, paired_img_url: "", paired_img_data: null,
      colormap_negative: "", frame_4d: 0, cal_min_neg: null, cal_max_neg: null,
      colorbar_visible: false, colormap_type: 0, colormap_invert: false, modulation_image: null,
      modulate_alpha: 0, colormap_label: null,
    };
  }

  ways(layer, loaded) {
    if (layer === "scan") {
      const { slope, intercept } = loaded.facts.scan, [low, high] = loaded.window;
      return { colormap: "gray", opacity: 0.15, cal_min: (low - intercept) / slope, cal_max: (high - intercept) / slope };
    }
    return { colormap: "gray", opacity: 1, cal_min: 0, cal_max: this.most(), colormap_label: this.table() };
  }

  most() { return Math.max(...this.labels.map(one => one.value)); }

  /** Colours of the labels as NiiVue keeps them: RGBA of every value from 0. */
  table() {
    const most = this.most(), lut = new Array(4 * (most + 1)).fill(0);
    for (const { value, colour } of this.labels) {
      [1, 3, 5].forEach((k, at) => { lut[4 * value + at] = parseInt(colour.slice(k, k + 2), 16); });
      lut[4 * value + 3] = 255;
    }
    return { lut, min: 0, max: most, labels: [] };
  }
}
