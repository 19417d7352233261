// The clip with the machine's boxes drawn over it. Times are seconds of the original footage;
// the clip begins at `clip_start_s` of it.
import { isTyping } from "./page.js";

const words = JSON.parse(document.getElementById("words").textContent);
const player = document.getElementById("player");
const video = document.getElementById("clip");
const canvas = document.getElementById("overlay");
const pen = canvas.getContext("2d");
const seek = document.getElementById("seek");
const clock = document.getElementById("clock");
const play = document.getElementById("play");
const boxes = document.getElementById("show-boxes");
const zones = document.getElementById("show-zones");
const speed = document.getElementById("speed");

const COLOURS = { person: "#ffb000", static_object: "#ff8a3d", default: "#35c2ff" };
const REACH_S = 0.6; // A track's box is shown no longer than this away from its points.
const SEARCH_S = 0.02; // Stepping looks for the next frame in such steps until it knows better.
const SAME_FRAME_S = 0.001;

let overlay = null;
let frame_s = Infinity; // The smallest distance of two frames that stepping met.
let shown_s = null; // Media time of the frame on screen, where the browser tells it.

/** A moment as people read it: seconds of the footage, or the time of day beside a sensor's lead. */
const told = (t) =>
  overlay?.received_at
    ? new Date(Date.parse(overlay.received_at) + t * 1000).toLocaleTimeString()
    : `${t.toFixed(2)} s`;

const inOriginal = () => (shown_s ?? video.currentTime) + (overlay?.clip_start_s ?? 0);

/** Where the picture lies inside the video element, in CSS pixels: it may have bars. */
function picture() {
  const width = video.clientWidth, height = video.clientHeight;
  const scale = Math.min(width / (video.videoWidth || 16), height / (video.videoHeight || 9));
  const w = (video.videoWidth || 16) * scale, h = (video.videoHeight || 9) * scale;
  return { left: video.offsetLeft + (width - w) / 2, top: video.offsetTop + (height - h) / 2, w, h };
}

/** The box of a track at a moment, between its two neighbouring points; null if it is not there. */
function boxAt(points, t) {
  let low = 0, high = points.length - 1;
  if (t < points[0][0] - 0.1 || t > points[high][0] + 0.1) return null;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] <= t) low = middle;
    else high = middle;
  }
  const [a, b] = [points[low], points[high]];
  const gap = b[0] - a[0];
  if (gap <= 0) return a.slice(1);
  if (gap > 2 * REACH_S && t - a[0] > REACH_S && b[0] - t > REACH_S) return null;
  const share = Math.min(1, Math.max(0, (t - a[0]) / gap));
  return a.slice(1).map((value, i) => value + (b[i + 1] - value) * share);
}

function plate(text, x, y, colour) {
  pen.font = "600 12px system-ui, sans-serif";
  const width = pen.measureText(text).width + 10;
  const top = Math.min(Math.max(0, y - 18), canvas.clientHeight - 18);
  pen.fillStyle = colour;
  pen.fillRect(x - 1, top, width, 18);
  pen.fillStyle = "#0b1014";
  pen.fillText(text, x + 4, top + 13);
}

function drawZone(zone, { left, top, w, h }) {
  pen.beginPath();
  zone.polygon.forEach(([x, y], i) => pen[i ? "lineTo" : "moveTo"](left + x * w, top + y * h));
  pen.closePath();
  pen.fillStyle = zone.concerned ? "rgb(255 92 92 / 14%)" : "rgb(255 255 255 / 6%)";
  pen.strokeStyle = zone.concerned ? "rgb(255 120 110 / 95%)" : "rgb(255 255 255 / 45%)";
  pen.setLineDash([7, 5]);
  pen.lineWidth = 1.5;
  pen.fill();
  pen.stroke();
  pen.setLineDash([]);
  const corner = zone.polygon.reduce((best, one) => (one[1] < best[1] ? one : best));
  plate(zone.title, left + corner[0] * w + 2, top + corner[1] * h, "rgb(255 205 200 / 88%)");
}

function drawBox(box, text, colour, { left, top, w, h }, width, below = false) {
  const [x, y] = [left + box[0] * w, top + box[1] * h];
  pen.lineWidth = width + 2;
  pen.strokeStyle = "rgb(0 0 0 / 55%)";
  pen.strokeRect(x, y, (box[2] - box[0]) * w, (box[3] - box[1]) * h);
  pen.lineWidth = width;
  pen.strokeStyle = colour;
  pen.strokeRect(x, y, (box[2] - box[0]) * w, (box[3] - box[1]) * h);
  plate(text, x, below ? top + box[3] * h + 18 : y, colour);
}

function draw() {
  const ratio = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const t = inOriginal();
  if (overlay) {
    const where = picture();
    if (zones.checked) overlay.zones.forEach((zone) => drawZone(zone, where));
    if (boxes.checked) {
      for (const track of overlay.tracks) {
        const box = boxAt(track.points, t);
        const colour = COLOURS[track.label] ?? COLOURS.default;
        if (box) drawBox(box, words.things[track.label] ?? track.label, colour, where, 2);
      }
      const until = overlay.end_s ?? Infinity;
      if (overlay.finding_box && t >= overlay.alarm_at_s - REACH_S / 10 && t <= until) {
        drawBox(overlay.finding_box, words.finding, "#ff5a4d", where, 3, true);
      }
    }
  }
  clock.textContent = told(t);
  if (video.duration && document.activeElement !== seek) {
    seek.value = Math.round((video.currentTime / video.duration) * 1000);
  }
}

function mark(kind, from_s, to_s, title) {
  const from = (from_s - overlay.clip_start_s) / video.duration;
  const to = (to_s - overlay.clip_start_s) / video.duration;
  if (!(to >= 0 && from <= 1)) return;
  const line = document.createElement("i");
  line.className = kind;
  line.title = title;
  // The thumb of a range input stays inside its ends by half its width (8 px).
  const at = (share) => `calc(8px + (100% - 16px) * ${Math.min(1, Math.max(0, share))})`;
  line.style.left = at(from);
  if (kind === "span") line.style.width = `calc((100% - 16px) * ${Math.min(1, to) - Math.max(0, from)})`;
  document.getElementById("marks").append(line);
}

function placeMarks() {
  const marks = document.getElementById("marks");
  if (!overlay || !video.duration || marks.childElementCount) return;
  const end = overlay.end_s ?? overlay.clip_start_s + video.duration;
  mark("span", overlay.onset_s, Math.max(end, overlay.alarm_at_s), "");
  mark("onset", overlay.onset_s, overlay.onset_s, words.onset);
  mark("alarm", overlay.alarm_at_s, overlay.alarm_at_s, words.alarm);
}

const goTo = (original_s) => {
  video.pause();
  video.currentTime = Math.min(video.duration || 0, Math.max(0, original_s - (overlay?.clip_start_s ?? 0)));
};
const toggle = () => (video.paused ? video.play() : video.pause());
const step = (seconds) => {
  video.pause();
  const from = shown_s ?? video.currentTime;
  video.currentTime = Math.min(video.duration || 0, Math.max(0, from + seconds));
};

/** Seek and wait until the frame there is on screen. */
function arriveAt(seconds) {
  return new Promise((resolve) => {
    const presented = () => {
      setTimeout(resolve, 120); // The same frame again may not be announced.
      video.requestVideoFrameCallback?.(() => setTimeout(resolve));
    };
    video.addEventListener("seeked", presented, { once: true });
    video.currentTime = seconds;
  });
}

let stepping = false;

/** One frame on or back. No browser tells a film's frame rate: the neighbour is looked for. */
async function stepFrame(direction) {
  if (stepping || !video.duration) return;
  stepping = true;
  video.pause();
  const start = shown_s ?? video.currentTime;
  const stride = Number.isFinite(frame_s) ? frame_s * 1.04 : SEARCH_S;
  for (let n = 1; n <= 50; n += 1) {
    const target = direction > 0 ? start + n * stride : start - 0.004 * n;
    if (target < 0 || target > video.duration) break;
    await arriveAt(target);
    const moved = Math.abs((shown_s ?? target) - start);
    if (moved > SAME_FRAME_S) {
      frame_s = Math.min(frame_s, moved);
      break;
    }
  }
  stepping = false;
}

if ("requestVideoFrameCallback" in video) {
  const onFrame = (_, { mediaTime }) => {
    shown_s = mediaTime;
    draw();
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
}
for (const name of ["seeked", "loadeddata", "timeupdate"]) video.addEventListener(name, draw);
video.addEventListener("loadedmetadata", placeMarks);
video.addEventListener("play", () => play.setAttribute("aria-pressed", "true"));
video.addEventListener("pause", () => play.setAttribute("aria-pressed", "false"));
let tries = 0;
function failed() {
  // The store may have been busy: ask again twice before saying so.
  tries += 1;
  if (tries <= 2) setTimeout(() => video.load(), 700 * tries);
  else document.getElementById("clip-problem").hidden = false;
}
video.addEventListener("error", failed);
if (video.error) failed();
new ResizeObserver(draw).observe(player);

seek.addEventListener("input", () => (video.currentTime = (seek.value / 1000) * (video.duration || 0)));
seek.addEventListener("change", () => seek.blur());
play.addEventListener("click", toggle);
video.addEventListener("click", toggle);
document.getElementById("back").addEventListener("click", () => stepFrame(-1));
document.getElementById("forward").addEventListener("click", () => stepFrame(1));
document.getElementById("to-alarm").addEventListener("click", () => overlay && goTo(overlay.alarm_at_s));
boxes.addEventListener("change", draw);
zones.addEventListener("change", draw);
speed.addEventListener("change", () => {
  video.playbackRate = Number(speed.value);
  speed.blur();
});
for (const link of document.querySelectorAll("[data-seek]")) {
  link.addEventListener("click", (event) => {
    if (link.dataset.seek === "" || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    goTo(Number(link.dataset.seek));
  });
}

const KEYS = {
  " ": toggle,
  ",": () => stepFrame(-1),
  ".": () => stepFrame(1),
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  m: () => overlay && goTo(overlay.alarm_at_s),
  b: () => boxes.click(),
  n: () => zones.click(),
};
document.addEventListener("keydown", (event) => {
  const inRadios = event.target.matches?.("input[type=radio]") && event.key.startsWith("Arrow");
  const onButton = event.key === " " && event.target.closest?.("button, summary, a, input");
  if (isTyping(event) || inRadios || onButton || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

const answer = await fetch(player.dataset.overlay);
if (answer.ok) overlay = await answer.json();
placeMarks();
if (overlay && video.readyState >= 1) video.currentTime = Math.max(0, overlay.onset_s - overlay.clip_start_s - 1);
else video.addEventListener("loadedmetadata", () => {
  if (overlay) video.currentTime = Math.max(0, overlay.onset_s - overlay.clip_start_s - 1);
}, { once: true });
draw();
