// The page: who visits, which view an address shows, and the language.
import { call } from "./api.js";
import { announce, button, errorLine, h, labelled, language, link, t } from "./dom.js";
import { dubView } from "./dub.js";
import { jobsView, poll, setTitle } from "./jobs.js";
import { scoreView, trainView } from "./tabs.js";

const ADDRESSES = { dub: "/", jobs: "/jobs", train: "/train", score: "/score" };
const [main, nav, corner] = ["main", "nav", "#corner"].map((which) => document.querySelector(which));
const views = {}; // made when they are first shown

/** Show the view of the address; makers: functions by the views' names. */
function show(makers, focus) {
  const [, id] = location.pathname.match(/^\/jobs\/(.+)$/) || [];
  const name = id ? "jobs" : Object.keys(ADDRESSES).find((one) => ADDRESSES[one] === location.pathname) || "dub";
  for (const item of nav.querySelectorAll("a")) {
    if (item.dataset.view === name) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  for (const view of Object.values(views)) view.section.hidden = true;
  if (!views[name]) {
    const { element, open } = makers[name]();
    const heading = h("h1", { tabindex: -1 }, t(name));
    views[name] = { open, heading, section: h("section", { id: `view_${name}` }, heading, element) };
    main.append(views[name].section);
  }
  const { section, heading, open } = views[name];
  section.hidden = false;
  open(id);
  setTitle(t(name));
  if (!focus) return;
  announce("");
  heading.focus();
  scrollTo(0, 0);
}

function loginForm() {
  const user = h("input", { autocomplete: "username", required: true });
  const password = h("input", { type: "password", autocomplete: "current-password", required: true });
  const [line, error] = errorLine(password);
  const enter = async (event) => {
    event.preventDefault();
    const given = { user: user.value, password: password.value };
    await call("POST", "/api/login", given).then(() => location.reload(), (problem) => error(problem.message));
  };
  return h("form", { class: "box narrow", onsubmit: enter }, h("h1", {}, t("login")), labelled(t("user"), user),
    labelled(t("password"), password), line, h("button", { class: "main" }, t("login")));
}

function languageButton() {
  const other = language === "zh" ? "en" : "zh";
  const press = button(t("language"), () => {
    localStorage.setItem("language", other);
    location.reload();
  }, "quiet");
  press.lang = other;
  return press;
}

function logoutButton({ user }) {
  const leave = () => call("POST", "/api/logout").then(() => location.assign("/"));
  return button(t("logout", { user }), leave, "quiet");
}

async function begin() {
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  corner.append(languageButton());
  const session = await call("GET", "/api/session");
  if (session.auth && !session.user) {
    main.append(loginForm());
    setTitle(t("login"));
    return;
  }
  if (session.auth) corner.prepend(logoutButton(session));
  nav.setAttribute("aria-label", t("views"));
  nav.append(...Object.entries(ADDRESSES).map(([name, address]) => {
    const item = link(t(name), address);
    item.dataset.view = name;
    return item;
  }));
  const [settings] = await Promise.all([call("GET", "/api/settings"), poll()]);
  const makers = {
    dub: () => dubView(session, settings), jobs: jobsView,
    train: () => trainView(session), score: () => scoreView(session),
  };
  const goTo = (path) => {
    history.pushState(null, "", path);
    show(makers, true);
  };
  document.addEventListener("address", ({ detail }) => goTo(detail));
  document.addEventListener("click", (event) => {
    const inside = event.target.closest("a[data-inside]");
    if (!inside || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    goTo(inside.href);
  });
  addEventListener("popstate", () => show(makers, true));
  show(makers, false);
}

begin().catch((problem) => main.append(h("p", { class: "error", role: "alert" }, problem.message)));
