// A box for one input: upload a file or record one, or choose an earlier upload, and play it.
import { call, upload as send } from "./api.js";
import { button, errorLine, h, hint, labelled, media, newId, section, size, t, tick } from "./dom.js";

const boxes = [];
let uploads = []; // the visitor's, newest first
let limits = {};

export const uploadsThat = (fits) => uploads.filter(fits);
export const isVideo = (upload) => upload.kind === "video";
export const isVisible = (upload) => upload.kind !== "sound";
export const isAudible = (upload) => upload.kind === "sound" || upload.has_sound;

export async function loadUploads(sessionLimits = limits) {
  limits = sessionLimits;
  uploads = await call("GET", "/api/uploads");
  for (const box of boxes) box.refresh();
}

function player({ id, kind, name }) {
  if (kind === "picture") return null;
  return media(kind === "video" ? "video" : "audio", `/uploads/${id}/media`, t("player", { name }));
}

/** A button that records with the microphone and hands the recording to onrecorded(blob). */
function recorder(onrecorded, onerror) {
  let running = null;
  const press = button(t("record"), async () => {
    if (running) return running.stop();
    const stream = await navigator.mediaDevices?.getUserMedia({ audio: true }).catch(() => null);
    if (!stream) return onerror(t("record_denied"));
    const parts = [];
    const began = Date.now();
    const show = () => (press.textContent = t("record_stop", { seconds: Math.round((Date.now() - began) / 1000) }));
    const timer = setInterval(show, 1000);
    running = new MediaRecorder(stream);
    running.ondataavailable = (event) => parts.push(event.data);
    running.onstop = () => {
      clearInterval(timer);
      for (const track of stream.getTracks()) track.stop();
      press.textContent = t("record");
      onrecorded(new Blob(parts, { type: running.mimeType }));
      running = null;
    };
    running.start();
    return show();
  });
  return press;
}

/** name: what the form calls it; fits(upload): whether an upload can be used here; onchange(upload, its player);
 * microphone: also record; several: take several files; onrefresh: after the list of uploads has changed.
 * Returns {element, extra (a place below the player), upload(), choose(id), error(text), problem(missing), …}. */
export function uploadBox({ name, title, about, accept, fits, onchange = () => {}, onrefresh = () => {}, ...more }) {
  const given = { file: null, recording: null };
  let asked = null; // which of both, once somebody has said it
  let abort = null; // of the upload that is being sent

  const label = h("label", { id: newId(), for: newId() }, t("file"));
  const file = h("input", { type: "file", id: label.htmlFor, accept, multiple: more.several, onchange: takeAll });
  const [line, error] = errorLine(file);
  const earlier = h("select", { onchange: () => choose(earlier.value) });
  const earlierField = labelled(t("earlier"), earlier);
  const bar = h("progress", { max: 1, "aria-label": title });
  const barText = h("p", { class: "small" });
  const sending = h("div", { hidden: true }, bar, barText, button(t("upload_cancel"), () => abort()));
  const [question, shown, extra] = [h("div"), h("div", { class: "shown" }), h("div")];
  const record = more.microphone ? recorder((blob) => take(blob, "recording.webm", "recording"), error) : null;
  const element = section(title, { id: `${name}_box` }, hint(about),
    h("div", { class: "drop" }, label, file, record), line, sending, earlierField, question, shown, extra);
  file.setAttribute("aria-labelledby", `${element.getAttribute("aria-labelledby")} ${label.id}`);

  async function takeAll() {
    for (const one of [...file.files]) await take(one, one.name, "file");
    file.value = "";
  }

  async function take(blob, fileName, source) {
    const limit = (limits.upload_mb || Infinity) * 1e6;
    if (blob.size > limit) return error(t("too_large", { name: fileName, limit: size(limit) }));
    error();
    abort?.();
    const show = (share) => {
      bar.value = share;
      const percent = Math.floor(100 * share);
      barText.textContent = t(percent < 100 ? "uploading" : "storing", { name: fileName, percent });
    };
    show(0);
    sending.hidden = false;
    const [done, stop] = send(blob, fileName, show);
    abort = stop;
    try {
      const upload = await done;
      uploads.unshift(upload);
      if (!fits(upload)) throw new Error(t("wrong_kind", { name: fileName, hint: about }));
      set(source, upload);
    } catch (problem) {
      error(problem.message);
    }
    if (abort === stop) {
      abort = null;
      sending.hidden = true;
    }
    for (const box of boxes) box.refresh();
  }

  function set(source, upload) {
    given[source] = upload;
    asked = null;
    question.replaceChildren(...(given.file && given.recording ? [ask()] : []));
    changed();
  }

  function ask() {
    const choices = Object.entries(given).map(([source, upload]) => tick(upload.name, {
      type: "radio", name: `${name}_source`, onchange: () => {
        asked = source;
        error();
        changed();
      },
    })[1]);
    return h("fieldset", {}, h("legend", {}, t("which_speech")), choices);
  }

  const upload = () => (given.file && given.recording ? given[asked] : given.file || given.recording);

  function changed() {
    const now = upload();
    const playing = now && player(now);
    shown.replaceChildren();
    if (now) {
      const facts = [now.name, size(now.bytes), now.seconds && `${now.seconds.toFixed(1)} s`].filter(Boolean);
      const remove = button(t("upload_delete"), () => discard(now), "quiet");
      shown.append(h("p", { class: "small" }, facts.join(" · ")), playing || "", remove);
    }
    earlier.value = now?.id || "";
    onchange(now, playing);
  }

  const discard = ({ id }) => call("DELETE", `/api/uploads/${id}`).then(() => loadUploads())
    .catch((problem) => error(problem.message));

  function choose(id) {
    error();
    given.recording = null;
    set("file", uploads.find((one) => one.id === id && fits(one)) || null);
  }

  function refresh() {
    const there = uploads.filter(fits);
    earlier.replaceChildren(h("option", { value: "" }, t("none")),
      ...there.map((one) => h("option", { value: one.id }, one.name)));
    earlierField.hidden = more.several || !there.length;
    earlier.value = upload()?.id || "";
    for (const source of Object.keys(given)) {
      if (given[source] && !uploads.some(({ id }) => id === given[source].id)) set(source, null);
    }
    onrefresh();
  }

  /** Why the box cannot be used as it is; missing: what is said where nothing is chosen. */
  function problem(missing) {
    if (abort) return t("wait_upload");
    if (given.file && given.recording && !asked) return t("which_speech_error");
    return upload() ? "" : missing;
  }

  const box = { element, extra, upload, choose, error, problem, refresh, focus: () => file.focus() };
  boxes.push(box);
  refresh();
  return box;
}
