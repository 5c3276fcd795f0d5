"use strict";
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const dub = byId("dub"), source = byId("source"), seek = byId("seek"), play = byId("play");
const isStill = source.tagName === "IMG", FRAME = 1 / 25;
const MOUTH = { x: 0.5, y: 0.76, width: 0.85, ratio: 400 / 640 };  // middle and width, in parts of the face's box
let lastDraw = -1;

const minutes = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;

// The entry [time, time in the source, left, top, width, height] at that time, between the two nearest
function at(time) {
  const boxes = data.boxes;
  if (!boxes.length) return null;
  let low = 0, high = boxes.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (boxes[middle][0] <= time) low = middle; else high = middle - 1;
  }
  const one = boxes[low], next = boxes[low + 1];
  const part = next ? Math.min(1, Math.max(0, (time - one[0]) / (next[0] - one[0]))) : 0;
  const jumps = next && Math.abs(next[1] - one[1] - (next[0] - one[0])) > 0.1;  // the source starts over
  const mixed = one.map((value, i) => next && !jumps ? value + part * (next[i] - value) : value);
  if (jumps || !next) mixed[1] = one[1] + (time - one[0]);
  return mixed;
}

// Draws the mouth; part: where the box's frame lies in the picture; rotate: whether that is turned clockwise first
function draw(canvas, picture, box, part, rotate) {
  const width = picture.videoWidth || picture.naturalWidth, height = picture.videoHeight || picture.naturalHeight;
  if (!width || !box) return;
  const [w, h] = rotate ? [height, width] : [width, height];
  const face = { x: (part[0] + box[2] * part[2]) * w, y: (part[1] + box[3] * part[3]) * h,
    width: box[4] * part[2] * w, height: box[5] * part[3] * h };
  const shown = MOUTH.width * face.width;
  const scale = canvas.width / shown;
  const left = face.x + MOUTH.x * face.width - shown / 2;
  const top = face.y + MOUTH.y * face.height - shown * MOUTH.ratio / 2;
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.setTransform(scale, 0, 0, scale, -left * scale, -top * scale);
  if (rotate) context.transform(0, 1, -1, 0, height, 0);
  context.drawImage(picture, 0, 0, width, height);
}

function refresh() {
  const time = dub.currentTime, box = at(time);
  draw(byId("dub-mouth"), dub, box, [0, 0, 1, 1], false);
  draw(byId("source-mouth"), source, box, data.part, data.rotate);
  seek.value = time;
  byId("time").value = `${minutes(time)} / ${minutes(dub.duration || 0)}`;
  const second = Math.floor(time);
  if (second !== lastDraw) {
    document.querySelectorAll(".seconds .now").forEach((one) => one.classList.remove("now"));
    document.querySelector(`.seconds [data-second="${second}"]`)?.classList.add("now");
    lastDraw = second;
  }
}

// Brings the source to where the dub is; while both play, only where they are apart
function align(tolerance) {
  if (isStill || !source.duration) return;
  const box = at(dub.currentTime), wanted = Math.min(box ? box[1] : dub.currentTime, source.duration - FRAME / 2);
  if (Math.abs(source.currentTime - wanted) > tolerance && !source.seeking) source.currentTime = wanted;
}

function go(time) {
  dub.currentTime = Math.max(0, Math.min(time, (dub.duration || time) - FRAME / 2));
  align(0.01);
}

function toggle() {
  if (!dub.paused) { dub.pause(); return; }
  if (dub.ended) go(0);
  dub.play();
}

function run() {
  align(0.08);
  refresh();
  if (!dub.paused) requestAnimationFrame(run);
}

dub.addEventListener("play", () => { play.textContent = "Pause"; if (!isStill) source.play().catch(() => {}); run(); });
dub.addEventListener("pause", () => { play.textContent = "Play"; if (!isStill) source.pause(); align(0.01); });
for (const one of [dub, source]) {
  const fail = () => { byId(`${one.id}-error`).hidden = false; byId(`${one.id}-mouth`).hidden = one.hidden = true; };
  one.addEventListener("error", fail);
  one.addEventListener("loadedmetadata", () => {
    if (!one.videoWidth) fail();
    if (one === dub) seek.max = dub.duration;
    refresh();
  });
  for (const event of ["loadeddata", "load", "seeked"]) one.addEventListener(event, refresh);
  if (one.error || (isStill && one === source && one.complete && !one.naturalWidth)) fail();
}
play.addEventListener("click", toggle);
seek.addEventListener("input", () => go(Number(seek.value)));
document.querySelectorAll(".seconds button").forEach((button) =>
  button.addEventListener("click", () => go(Number(button.dataset.second))));
document.addEventListener("keydown", (event) => {
  const key = event.key;
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (key === " " && event.target.closest("summary, a, .note")) return;  // these have a use for it
  const moves = { ArrowLeft: -1, ArrowRight: 1, ",": -FRAME, ".": FRAME };
  if (key !== " " && !(key in moves)) return;
  event.preventDefault();
  if (key === " ") toggle(); else go(dub.currentTime + moves[key]);
});
if (dub.readyState) seek.max = dub.duration;
refresh();
