// The view that checks footage, previews and dubs.
import { call } from "./api.js";
import { isAudible, loadUploads, uploadBox } from "./box.js";
import { button, consentTick, errorLine, fold, h, hint, inWords, media, refused, section, t } from "./dom.js";
import { faceBox } from "./face.js";
import { findJob, followJobs, resultBox, startJob } from "./jobs.js";
import { settingsForm } from "./settings.js";

const KINDS = ["check", "preview", "dub"];

export function dubView(session, settingsData) {
  const face = faceBox(() => changed());
  const speech = uploadBox({
    name: "speech", title: t("speech_box"), about: t("speech_hint"), accept: "audio/*,video/*", fits: isAudible,
    onchange: () => changed(), microphone: true,
  });
  const settings = settingsForm(settingsData);
  const consent = consentTick(t("consent"));
  const [line, error] = errorLine();
  const fail = (problem) => error(problem.message);
  const estimate = h("p", { class: "small", id: "estimate" });
  const buttons = KINDS.map((kind) => {
    const press = button(t(`${kind}_button`), () => start(kind), kind === "dub" ? "main" : null);
    press.id = kind;
    return press;
  });
  const [result, show] = resultBox(...KINDS);
  const examples = h("div");
  const kept = h("p", { class: "small" }, t("kept", { hours: session.limits.hours }));
  const go = section(t("go_box"), { id: "go" }, consent.element, h("div", { class: "actions" }, buttons), line,
    estimate, kept);
  const element = h("div", {}, hint(t("dub_intro")), examples, h("div", { class: "columns" },
    h("div", {}, face.element, speech.element, settings.element), h("div", {}, go, result)));

  /** Keep what is chosen for a reload, and say how long a dub of it takes: by a check of it, else by the last dub. */
  function changed() {
    const [seen, heard] = [face.upload(), speech.upload()];
    sessionStorage.setItem("dub", JSON.stringify({ face: seen?.id, speech: heard?.id }));
    const same = ({ inputs }) => inputs.face?.id === seen?.id && inputs.speech?.id === heard?.id;
    const check = findJob((job) => job.kind === "check" && job.state === "done" && job.estimate_s && same(job));
    const seconds = check?.estimate_s ?? session.pace * heard?.seconds;
    const known = seconds ? t("estimate", { time: inWords(seconds) }) : t("estimate_none");
    estimate.textContent = seen && heard ? known : "";
  }

  async function start(kind) {
    error();
    const checks = [[face, face.problem(t("face_error"))],
      [speech, speech.problem(kind === "check" ? "" : t("speech_error"))], ...settings.checks(),
      [consent, kind === "check" ? "" : consent.problem()]];
    if (refused(checks)) return;
    const asked = {
      kind, inputs: { face: face.upload().id, speech: speech.upload()?.id }, consent: consent.checked(),
      settings: { ...settings.values(), ...face.values() },
    };
    const job = await startJob(asked, ({ field, message }) => {
      const beside = { face, speech, consent, start: face, end: face, face_at: face }[field] || settings.field(field);
      if (beside) refused([[beside, message]]);
      else error(message);
    });
    if (job) show(job);
  }

  async function use(place) {
    const made = await call("POST", `/api/examples/${place}`);
    await loadUploads();
    face.choose(made.face.id);
    speech.choose(made.speech.id);
  }

  async function showExamples() {
    const figures = (await call("GET", "/api/examples")).map(({ face: source, result: dubbed }, place) => {
      const number = place + 1;
      const videos = [media("video", source.url, t("example_source", { number })),
        media("video", dubbed, t("example_result", { number }))];
      const press = button(t("example_use", { number }), () => use(place).then(() => (box.open = false), fail));
      return h("div", { class: "example" }, h("div", { class: "pair" }, videos), press);
    });
    const box = fold(t("example_box"), { class: "box", id: "examples", open: !(face.upload() || speech.upload()) },
      hint(t("example_hint")), h("div", { class: "pair" }, figures));
    examples.append(box);
  }

  async function restore() {
    const before = JSON.parse(sessionStorage.getItem("dub") || "{}");
    await loadUploads(session.limits);
    if (before.face) face.choose(before.face);
    if (before.speech) speech.choose(before.speech);
    await showExamples();
  }

  followJobs(changed); // a check that has ended knows how long the dub takes
  restore().catch(fail);
  return { element, open: changed };
}
