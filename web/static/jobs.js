// The visitor's jobs: polled from the server, started, and shown as cards that follow them, in a list or one by one.
import { call, token } from "./api.js";
import { announce, button, errorLine, fold, h, hint, inWords, link, media, moment, section, t } from "./dom.js";

const [POLL, IDLE_POLL, SAY] = [1000, 10000, 10000]; // milliseconds; SAY: between two spoken lines on one job

let jobs = [];
let listed = false; // whether the server has answered once
let timer = null;
let asked = 0; // counts the polls: only the last one's answer is taken, since an earlier one may lack a new job
let reachable = true;
let starting = false;
const followers = new Set(); // functions that are called after every answer
const spoken = new Map(); // job's id -> its state and when something was last said of it

const isGoing = ({ state }) => ["waiting", "running", "stopping"].includes(state);
export const findJob = (fits) => jobs.find(fits);
export const followJobs = (update) => followers.add(update);

// The title of the tab

let [viewTitle, notice] = ["", ""];

export function setTitle(text) {
  [viewTitle, notice] = [text, ""];
  showTitle();
}

function showTitle() {
  const running = jobs.find((job) => job.state === "running" && job.progress?.total);
  const percent = running && `${percentOf(running.progress)} %`;
  document.title = [notice, percent, viewTitle, t("title")].filter(Boolean).join(" · ");
}

document.addEventListener("visibilitychange", () => document.hidden || setTitle(viewTitle));

/** Show the view of another address of the page. */
const goTo = (path) => document.dispatchEvent(new CustomEvent("address", { detail: path }));

// What a job does, in words

const percentOf = ({ done, total }) => Math.min(100, Math.floor((100 * done) / total));

function titleOf({ kind, inputs, title }) {
  const names = Object.values(inputs).map((input) => input?.name).filter(Boolean).join(" + ");
  return [t(`kind_${kind}`), names || title].filter(Boolean).join(": ");
}

function progressText({ state, place, progress }) {
  if (state === "waiting") return t("place", { place: place ?? 1 });
  const what = (key) => t(`what_${key}`, {}, key);
  if (state === "stopping" || !progress) return t("working", { what: what(progress ? "stopping" : "starting") });
  const { total, remaining_s: seconds } = progress;
  const values = { what: what(progress.what || "working"), percent: total && percentOf(progress) };
  if (!total) return t("working", values);
  return t("progress", values) + (Number.isFinite(seconds) ? t("left", { time: inWords(seconds) }) : "");
}

function say(job) {
  const before = spoken.get(job.id);
  const changed = before && before.state !== job.state;
  const due = job.state === "running" && before && Date.now() - before.at > SAY;
  if (changed && t(`title_${job.state}`, {}, "")) notice = t(`title_${job.state}`, { kind: t(`kind_${job.kind}`) });
  if (changed || due) announce(`${titleOf(job)}: ${isGoing(job) ? progressText(job) : t(`state_${job.state}`)}`);
  if (!before || changed || due) spoken.set(job.id, { state: job.state, at: Date.now() });
}

// Polling and starting

export async function poll() {
  const mine = ++asked;
  clearTimeout(timer);
  try {
    const found = await call("GET", "/api/jobs");
    if (mine !== asked) return;
    jobs = found;
    if (!reachable) announce("");
    [listed, reachable] = [true, true];
    jobs.forEach(say);
    for (const follow of followers) follow();
    showTitle();
  } catch (problem) {
    if (problem.status === 401) location.reload(); // the session has ended
    if (reachable) announce(problem.message);
    reachable = false;
  }
  if (mine === asked) timer = setTimeout(poll, jobs.some(isGoing) ? POLL : IDLE_POLL);
}

/** Start a job; a second press within a second does nothing. Returns the job, or null. */
export async function startJob(asked, onerror) {
  if (starting) return null;
  starting = true;
  setTimeout(() => (starting = false), POLL);
  try {
    const job = await call("POST", "/api/jobs", { ...asked, token: token() });
    jobs = [job, ...jobs.filter(({ id }) => id !== job.id)];
    spoken.set(job.id, { state: job.state, at: Date.now() });
    announce(`${titleOf(job)}: ${progressText(job)}`);
    poll();
    return job;
  } catch (problem) {
    onerror(problem);
    return null;
  }
}

// Cards

/** An element that follows a job from now on; full: with all that came out of it. */
export function followed(first, full = true, level = "h3") {
  const title = titleOf(first);
  const heading = h(level, { tabindex: -1 }, full ? title : link(title, `/jobs/${first.id}`));
  const [state, times] = [h("span", { class: "state" }), h("p", { class: "small" })];
  const bar = h("progress", { max: 100, "aria-label": title });
  const barText = h("p", { class: "small" });
  const going = h("div", {}, bar, barText);
  const [actions, body] = [h("div", { class: "actions" }), h("div", { class: "outcome" })];
  const [line, error] = errorLine();
  const element = h("article", { class: "job", "data-job": first.id },
    h("div", { class: "head" }, heading, state), times, going, line, actions, body);
  let seen = "";

  function update() {
    const job = jobs.find(({ id }) => id === first.id);
    if (!job) {
      element.remove();
      followers.delete(update);
      return;
    }
    state.textContent = t(`state_${job.state}`);
    state.dataset.state = job.state;
    const deleted = !isGoing(job) && job.expires ? t("expires", { time: moment(job.expires) }) : "";
    times.textContent = t("started", { time: moment(job.started || job.created) }) + deleted;
    going.hidden = !isGoing(job);
    barText.textContent = progressText(job);
    if (job.state === "running" && job.progress?.total) bar.value = percentOf(job.progress);
    else bar.removeAttribute("value");
    const now = JSON.stringify([job.state, job.message, job.advice, job.results]);
    if (now !== seen) rebuild(job);
    seen = now;
  }

  function rebuild(job) {
    const focused = actions.contains(document.activeElement);
    const message = job.message && h("p", { class: job.state === "failed" ? "error" : "" }, job.message);
    const advice = job.advice.length ? h("ul", {}, job.advice.map((text) => h("li", {}, text))) : null;
    actions.replaceChildren(...actionsOf(job, full, act));
    body.replaceChildren(...[message, advice, ...(full ? outcome(job) : [])].filter(Boolean));
    if (focused) heading.focus();
  }

  async function act(method, path) {
    error();
    try {
      const answer = await call(method, path);
      await poll();
      if (path.endsWith("/again")) goTo(`/jobs/${answer.id}`);
      else if (method === "DELETE" && location.pathname === `/jobs/${first.id}`) goTo("/jobs");
    } catch (problem) {
      error(problem.message);
    }
  }

  followers.add(update);
  update();
  return element;
}

const FILES = ["video", "scores", "side_by_side", "picture", "record"]; // roles, in the order of their buttons

function actionsOf(job, full, act) {
  const path = `/api/jobs/${job.id}`;
  if (job.state === "stopping") return [];
  if (isGoing(job)) return [button(t("cancel"), () => act("POST", `${path}/cancel`))];
  const files = job.results.filter(({ role }) => FILES.includes(role) && job.kind !== "check");
  files.sort((one, other) => FILES.indexOf(one.role) - FILES.indexOf(other.role));
  const downloads = files.map(({ role, url, name }) => {
    const main = role === "video";
    const attributes = { class: main ? "button main" : "button", href: `${url}?download=1`, download: name };
    return (full || main) && h("a", attributes, t(main ? "download" : `download_${role}`));
  });
  return [
    ...downloads, !full && link(t("open"), `/jobs/${job.id}`, "button"),
    button(t("again"), () => act("POST", `${path}/again`)),
    button(t("delete"), () => confirm(t("delete_sure")) && act("DELETE", path), "quiet"),
  ].filter(Boolean);
}

/** What came out of a job: video, pictures, pages, log, and what there is to say of it. */
function outcome(job) {
  const makers = {
    video: ({ url, name }) => media("video", url, t("result_video", { name })),
    picture: ({ url, name }) => job.kind === "check" && figure(url, t(name.endsWith("faces.png") ? "found" : "tried")),
    scores: ({ url }) => scoreTable(url),
    record: ({ url }) => job.state === "done" && job.kind !== "check" && ownMouths(url),
    page: ({ url, name }) => h("p", {}, h("a", { href: url, target: "_blank" }, t("page_link", { name }))),
    log: ({ url }) => logView(url, job),
  };
  const found = (role) => job.results.filter((one) => one.role === role);
  const parts = Object.entries(makers).flatMap(([role, make]) => found(role).map(make));
  const settings = Object.entries(job.settings).map(([name, value]) => `${name} ${value}`).join(", ");
  return [...parts, settings && h("p", { class: "small" }, t("used_settings", { settings }))];
}

const figure = (src, text) => h("figure", {}, h("img", { src, alt: "" }), h("figcaption", { class: "small" }, text));

function scoreTable(url) {
  const columns = ["scorer", "offset", "lse_c", "lse_d"];
  const body = h("tbody");
  call("GET", url).then(({ videos }) => body.append(...videos.flatMap(({ sync }) => sync).map((row) =>
    h("tr", {}, columns.map((name) => h("td", {}, row[name]))))), () => {});
  return h("table", {}, h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, t(name))))), body);
}

function ownMouths(url) {
  const line = h("p", { class: "small" });
  call("GET", url).then(({ own_pixels: own, dubbed: frames }) => {
    if (frames) line.textContent = own ? t("own_mouths", { used: own.used, frames }) : t("own_mouths_none");
  }, () => line.remove());
  return line;
}

function logView(url, job) {
  const text = h("pre", { tabindex: 0, role: "region", "aria-label": t("log") });
  const view = fold(t("log"), { open: job.kind === "train" && isGoing(job), ontoggle: read }, text);
  async function read() {
    const answer = view.open ? await fetch(url).catch(() => null) : null;
    const atEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 5;
    if (answer?.ok) text.textContent = await answer.text();
    if (answer?.ok && atEnd) text.scrollTop = text.scrollHeight;
  }
  function follow() {
    if (view.open && isGoing(job)) read();
    if (!view.isConnected) followers.delete(follow);
  }
  setTimeout(() => followers.add(follow));
  return view;
}

/** A box for the job that was started in a view, or of these kinds still runs. Returns [element, show(job)]. */
export function resultBox(...kinds) {
  const place = h("div", { class: "result" }, hint(t("result_empty")));
  const element = section(t("result_box"), {}, place);
  const show = (job) => {
    place.replaceChildren(followed(job));
    element.scrollIntoView({ block: "nearest" });
  };
  const going = jobs.find((job) => kinds.includes(job.kind) && isGoing(job));
  if (going) place.replaceChildren(followed(going));
  return [element, show];
}

/** The view of all jobs, and of one. */
export function jobsView() {
  const elements = new Map(); // by job
  const list = h("div", { id: "job_list" });
  const all = h("div", {}, hint(t("jobs_intro")), list);
  const nothing = h("p", {}, t("jobs_empty"), " ", link(t("dub"), "/"));
  const gone = h("p", {}, t("job_gone"));
  const one = h("div", { class: "one" });
  const single = h("div", {}, link(t("all_jobs"), "/jobs"), gone, one);
  let only = null;

  function update() {
    [all.hidden, single.hidden] = [Boolean(only), !only];
    const job = jobs.find(({ id }) => id === only);
    nothing.hidden = Boolean(only) || !listed || jobs.length > 0;
    gone.hidden = !listed || Boolean(job);
    if (one.firstChild?.dataset.job !== only) one.replaceChildren(...(job ? [followed(job, true, "h2")] : []));
    jobs.forEach((each, place) => {
      if (!elements.has(each.id)) elements.set(each.id, followed(each, false, "h2"));
      const element = elements.get(each.id);
      if (list.children[place] !== element) list.insertBefore(element, list.children[place] || null);
    });
  }

  followers.add(update);
  const open = (id) => {
    only = id;
    update();
    poll();
  };
  return { element: h("div", { class: "narrow" }, nothing, all, single), open };
}
