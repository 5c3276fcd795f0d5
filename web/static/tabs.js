// The views that train on a person and score videos.
import { isAudible, isVideo, loadUploads, uploadBox, uploadsThat } from "./box.js";
import { button, consentTick, errorLine, h, hint, labelled, refused, t, tick } from "./dom.js";
import { resultBox, startJob } from "./jobs.js";

const columns = (intro, left, right) =>
  h("div", {}, hint(intro), h("div", { class: "columns" }, h("div", {}, left), h("div", {}, right)));

/** Show the server's error beside the box of its field, else beside the first. */
const beside = (boxes) => ({ field, message }) => refused([[boxes[field] || Object.values(boxes)[0], message]]);

export function scoreView(session) {
  const box = (name, about, fits, accept) => uploadBox({ name, title: t(`${name}_box`), about, fits, accept });
  const boxes = {
    video: box("video", t("video_hint"), isVideo, "video/*"),
    audio: box("audio", t("optional"), isAudible, "audio/*,video/*"),
    reference: box("reference", t("optional"), isVideo, "video/*"),
  };
  const [result, show] = resultBox("score");
  const press = button(t("score_button"), start, "main");

  async function start() {
    const entries = Object.entries(boxes);
    if (refused(entries.map(([name, one]) => [one, one.problem(name === "video" ? t("video_error") : "")]))) return;
    const inputs = Object.fromEntries(entries.map(([name, one]) => [name, one.upload()?.id]));
    const job = await startJob({ kind: "score", inputs, settings: {}, consent: true }, beside(boxes));
    if (job) show(job);
  }

  const elements = Object.values(boxes).map((one) => one.element);
  const go = h("div", { class: "box" }, h("div", { class: "actions" }, press));
  return { element: columns(t("score_intro"), elements, [go, result]), open: () => loadUploads(session.limits) };
}

export function trainView({ owner, trainable, limits }) {
  if (!owner) return { element: h("p", {}, t("train_owner")), open: () => {} };
  const ticked = new Set(); // ids of uploads
  const checklist = h("fieldset", {}, h("legend", {}, t("uploads")));
  const videos = uploadBox({
    name: "videos", title: t("videos_box"), about: t("videos_hint"), fits: isVideo, accept: "video/*", several: true,
    onchange: (upload) => upload && ticked.add(upload.id), onrefresh: list,
  });
  const names = trainable.map((name) => h("option", { value: name }, name));
  const folder = h("select", { id: "folder" }, h("option", { value: "" }, t("folder_none")), names);
  videos.extra.append(checklist, trainable.length ? labelled(t("folder"), folder) : "");
  const field = h("input", { type: "number", min: 0.1, max: 1440, step: "any", value: 30, required: true });
  const [line, error] = errorLine(field);
  const minutes = { error, focus: () => field.focus() };
  const consent = consentTick(t("consent_train"));
  const [result, show] = resultBox("train");
  const press = button(t("train_button"), start, "main");

  function list() {
    const known = uploadsThat(isVideo);
    const rows = known.map(({ id, name }) => tick(name, {
      checked: ticked.has(id), onchange: (event) => ticked[event.target.checked ? "add" : "delete"](id),
    })[1]);
    for (const id of ticked) if (!known.some((one) => one.id === id)) ticked.delete(id);
    checklist.replaceChildren(checklist.firstChild, ...rows);
    checklist.hidden = !rows.length;
  }

  async function start() {
    const range = field.checkValidity() ? "" : t("number_range", { minimum: field.min, maximum: field.max });
    const missing = folder.value || ticked.size ? "" : t("videos_error");
    if (refused([[videos, videos.problem("") || missing], [minutes, range], [consent, consent.problem()]])) return;
    const asked = { inputs: { videos: folder.value || [...ticked] }, settings: { minutes: Number(field.value) } };
    const job = await startJob({ kind: "train", ...asked, consent: true }, beside({ videos, minutes, consent }));
    if (job) show(job);
  }

  const go = h("div", { class: "box" }, labelled(t("minutes"), field), line, consent.element,
    h("div", { class: "actions" }, press));
  return { element: columns(t("train_intro"), videos.element, [go, result]), open: () => loadUploads(limits) };
}
