// The box of the face: which part of the video is used, and whose mouth is dubbed.
import { call } from "./api.js";
import { isVideo, isVisible, uploadBox } from "./box.js";
import { button, fold, h, hint, labelled, t } from "./dom.js";

/** Returns an upload box with values(): the settings start, end and face_at that somebody has chosen. */
export function faceBox(onchange) {
  let media = null;
  let looks = 0; // of several looks only the last one is shown
  let chosen; // "x,y" in pixels of the first frame
  const start = h("input", { type: "number", min: 0, step: "any", onchange: look });
  const end = h("input", { type: "number", min: 0, step: "any", onchange });
  const position = (text, field) => h("div", {}, labelled(text, field), button(t("trim_here"), () => {
    field.value = media.currentTime.toFixed(2);
    field.dispatchEvent(new Event("change"));
  }, "quiet"));
  const trim = fold(t("trim"), { hidden: true },
    h("div", { class: "pair" }, position(t("trim_start"), start), position(t("trim_end"), end)));
  const faces = h("div", { id: "faces" });
  const box = uploadBox({
    name: "face", title: t("face_box"), about: t("face_hint"), accept: "video/*,image/*", fits: isVisible,
    onchange: (upload, player) => {
      media = player;
      start.value = end.value = "";
      trim.hidden = !upload || !isVideo(upload);
      look();
    },
  });
  box.extra.append(trim, faces);

  async function look() {
    const upload = box.upload();
    const mine = ++looks;
    chosen = undefined;
    faces.replaceChildren();
    onchange();
    if (!upload) return;
    faces.append(h("progress", { "aria-label": t("looking") }), h("p", { class: "small" }, t("looking")));
    try {
      const found = await call("POST", `/api/uploads/${upload.id}/look`, { start: Number(start.value) });
      if (mine === looks) show(upload, found);
    } catch (problem) {
      if (mine === looks) faces.replaceChildren();
      if (mine === looks) box.error(problem.message);
    }
  }

  function show({ name }, { picture, width, height, faces: boxes }) {
    const several = boxes.length > 1;
    const note = several ? "face_many" : boxes.length ? "face_one" : "face_none";
    const areas = boxes.map(([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1));
    const largest = areas.indexOf(Math.max(...areas));
    const marks = boxes.map(([x1, y1, x2, y2], number) => {
      const at = `${Math.round((x1 + x2) / 2)},${Math.round((y1 + y2) / 2)}`;
      if (several && number === largest) chosen = at;
      const radio = several ? h("input", { type: "radio", name: "chosen_face", checked: number === largest,
        "aria-label": t("face_number", { number: number + 1 }), onchange: () => (chosen = at) }) : null;
      const mark = h("label", { class: "face" }, radio, h("span", { "aria-hidden": "true" }, number + 1));
      const shares = { left: x1 / width, top: y1 / height, width: (x2 - x1) / width, height: (y2 - y1) / height };
      for (const [side, share] of Object.entries(shares)) mark.style[side] = `${100 * share}%`;
      return mark;
    });
    const image = h("img", { src: picture, alt: t("first_frame", { name }) });
    faces.replaceChildren(h("fieldset", {}, h("legend", {}, t("faces")), hint(t(note)),
      h("div", { class: "frame" }, image, marks)));
  }

  const seconds = (field) => Number(field.value) || undefined;
  const values = () => ({ start: seconds(start), end: seconds(end), face_at: chosen });
  return { ...box, values };
}
