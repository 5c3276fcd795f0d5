// Elements, texts and formats. Data becomes text nodes and attributes only, never markup.
import { TEXTS } from "./texts.js";

const CHINESE = (localStorage.getItem("language") || navigator.language).toLowerCase().startsWith("zh");
export const language = CHINESE ? "zh" : "en";
document.documentElement.lang = CHINESE ? "zh-CN" : "en";

/** The text of a key in the page's language, with {name} replaced; otherwise: where there is no such key. */
export function t(key, values = {}, otherwise = key) {
  const text = TEXTS[key]?.[CHINESE ? 1 : 0] ?? otherwise;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

const isSomething = (value) => value !== undefined && value !== null && value !== false;

/** An element: h("button", {class: "main", onclick: f}, "text", child, [more children], null). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (!isSomething(value)) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter(isSomething));
  return element;
}

export const hint = (text) => h("p", { class: "hint" }, text);
export const fold = (title, attributes, ...children) => h("details", attributes, h("summary", {}, title), children);

/** A video or audio player; one that the browser cannot play is left out. */
export function media(tag, src, label) {
  const onerror = (event) => event.target.remove();
  return h(tag, { src, controls: true, preload: "metadata", playsinline: true, "aria-label": label, onerror });
}

export const button = (text, onclick, kind) => h("button", { type: "button", class: kind, onclick }, text);
export const link = (text, href, kind) => h("a", { href, class: kind, "data-inside": true }, text);

let ids = 0;
export const newId = () => `id${++ids}`;

/** A label above its field. */
export function labelled(text, field) {
  field.id ||= newId();
  return h("div", { class: "field" }, h("label", { for: field.id }, text), field);
}

/** A tick box or radio button before its label. */
export function tick(text, attributes = {}) {
  const box = h("input", { type: "checkbox", id: newId(), ...attributes });
  return [box, h("div", { class: "tick" }, box, h("label", { for: box.id }, text))];
}

/** A box with a heading. */
export function section(title, attributes, ...children) {
  const heading = h("h2", { id: newId() }, title);
  return h("section", { class: "box", "aria-labelledby": heading.id, ...attributes }, heading, children);
}

/** A line for an error, beside the field that it concerns, if any: error(text); error() removes it. */
export function errorLine(field) {
  const line = h("p", { class: "error", id: newId(), hidden: true });
  const error = (text = "") => {
    line.hidden = !text;
    line.textContent = text;
    for (const [name, value] of field ? [["aria-invalid", "true"], ["aria-describedby", line.id]] : []) {
      if (text) field.setAttribute(name, value);
      else field.removeAttribute(name);
    }
    if (text) announce(text);
  };
  return [line, error];
}

/** Show the first of [[thing with error() and focus(), text or ""], …] beside it; returns whether there is one. */
export function refused(checks) {
  for (const [thing] of checks) thing.error();
  const [thing, text] = checks.find((check) => check[1]) || [];
  thing?.error(text);
  thing?.focus();
  return Boolean(thing);
}

/** The tick that one has the right to do this. */
export function consentTick(text) {
  const [box, element] = tick(text, { onchange: () => error() });
  const [line, error] = errorLine(box);
  const problem = () => (box.checked ? "" : t("consent_error"));
  return { element: h("div", {}, element, line), error, problem, focus: () => box.focus(), checked: () => box.checked };
}

/** Say a line in the page's one live region. */
export const announce = (text) => (document.getElementById("live").textContent = text);

/** Seconds in words, such as "about 3 minutes". */
export function inWords(seconds) {
  if (seconds < 10) return t("time_few");
  if (seconds < 55) return t("time_seconds", { n: Math.round(seconds / 5) * 5 });
  if (seconds < 90) return t("time_minute");
  if (seconds < 5400) return t("time_minutes", { n: Math.round(seconds / 60) });
  return t("time_hours", { n: Math.round(seconds / 3600) });
}

export const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${Math.round(bytes / 1e6)} MB`);

/** Seconds since 1970 as the reader's local day and time. */
export const moment = (seconds) =>
  new Date(1000 * seconds).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
