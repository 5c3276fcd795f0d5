// The settings of a dub in five groups, the generators among them, and the corner where weights are fetched.
import { button, errorLine, fold, h, hint, language, newId, section, size, t } from "./dom.js";
import { followed, startJob } from "./jobs.js";
import { TEXTS } from "./texts.js";

const IN_THE_FACE_BOX = new Set(["face_at", "start", "end"]);

const choiceOf = (value, text, normal) => h("option", { value, selected: value === normal }, text);

function inputOf({ kind, choices, minimum, maximum, default: normal }, labels, common) {
  if (kind === "bool") return h("input", { ...common, type: "checkbox", checked: normal });
  if (kind === "choice") return h("select", common, choices.map((one) => choiceOf(one, labels?.[one] ?? one, normal)));
  const number = { type: "number", min: minimum, max: maximum, step: kind === "int" ? 1 : "any" };
  const own = kind === "text" ? { type: "text" } : number;
  return h("input", { ...common, ...own, value: normal, placeholder: t("automatic") });
}

/** One setting: {name, element, value(): what was changed, else undefined; problem(), error(text), focus()}. */
function settingField(setting, labels) {
  const { name, kind, minimum, maximum } = setting;
  const key = `set_${name}`;
  const about = hint((language === "zh" && TEXTS[key]?.[2]) || setting.help);
  about.id = newId();
  const field = inputOf(setting, labels, { id: newId(), "aria-describedby": about.id });
  const caption = h("label", { for: field.id }, t(key, {}, name.replaceAll("_", " ")), " ", h("code", {}, `--${name}`));
  const [line, error] = errorLine(field);
  const before = kind === "bool" ? field.checked : field.value;
  const value = () => {
    const now = kind === "bool" ? field.checked : field.value.trim();
    if (now === before || now === "") return undefined;
    return kind === "int" || kind === "float" ? Number(now) : now;
  };
  const range = maximum !== null ? "number_range" : "number_minimum";
  const problem = () => (field.checkValidity() ? "" : t(range, { minimum, maximum }));
  const parts = kind === "bool" ? [h("div", { class: "tick" }, field, caption), about] : [caption, about, field];
  const element = h("div", { class: "field" }, parts, line);
  return { name, element, value, problem, error, focus: () => field.focus() };
}

/** Where the owner fetches published weights, and accepts their licence by that. */
function fetchCorner(weights) {
  const rows = weights.filter(({ there }) => !there).map(({ name, note, licence, mb }) => {
    const [line, error] = errorLine();
    const place = h("div", {}, button(t("weights_button", { size: size(1e6 * mb) }), async () => {
      const asked = { kind: "fetch", inputs: { weights: name }, settings: {}, consent: true };
      const job = await startJob(asked, (problem) => error(problem.message));
      if (job) place.replaceChildren(followed(job));
    }));
    return h("li", {}, h("strong", {}, name), `: ${note}. ${t("licence", { licence })}`, place, line);
  });
  return fold(t("weights_box"), { id: "weights" }, rows.length ? h("ul", {}, rows) : hint(t("weights_all")));
}

/** data: what /api/settings says. Returns {element, values(), checks() for refused(), error(name, text)}. */
export function settingsForm({ groups, generators, weights }) {
  const fields = [];
  const labels = Object.fromEntries(generators.map(({ id, name, licence }) =>
    [id, licence ? `${name} (${licence})` : t(`generator_${id}`, {}, name)]));
  const parts = groups.map(({ id, settings }) => {
    const own = settings.filter(({ name }) => !IN_THE_FACE_BOX.has(name))
      .map((setting) => settingField(setting, setting.name === "checkpoint_path" ? labels : null));
    const corner = id === "networks" && weights?.length ? fetchCorner(weights) : null;
    const group = fold(t(`group_${id}`), { id: `group_${id}` }, own.map((one) => one.element), corner);
    fields.push(...own.map((one) => ({ ...one, focus: () => {
      group.open = true;
      one.focus();
    } })));
    return group;
  });
  const clear = () => fields.forEach((one) => one.error());
  const form = h("form", { onsubmit: (event) => event.preventDefault(), onreset: clear }, parts,
    h("button", { type: "reset", class: "quiet" }, t("reset")));
  const element = section(t("settings_box"), { id: "settings" }, hint(t("settings_hint")), form);
  const given = () => fields.map((one) => [one.name, one.value()]).filter(([, value]) => value !== undefined);
  return {
    element, values: () => Object.fromEntries(given()), checks: () => fields.map((one) => [one, one.problem()]),
    field: (name) => fields.find((one) => one.name === name),
  };
}
