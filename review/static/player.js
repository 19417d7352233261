// A clip with the machine's boxes drawn over it, for each package of the case. Times are seconds of
// the original footage; a clip begins at `clip_start_s` of it.
import { isTyping } from "./page.js";

const words = JSON.parse(document.getElementById("words").textContent);

const COLOURS = { person: "#ffb000", static_object: "#ff8a3d", default: "#35c2ff" };
const REACH_S = 0.6; // A track's box is shown no longer than this away from its points.
const SEARCH_S = 0.02; // Stepping looks for the next frame in such steps until it knows better.
const SAME_FRAME_S = 0.001;

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

function plate(pen, text, x, y, colour) {
  pen.font = "600 12px system-ui, sans-serif";
  const width = pen.measureText(text).width + 10;
  const top = Math.min(Math.max(0, y - 18), pen.canvas.clientHeight - 18);
  pen.fillStyle = colour;
  pen.fillRect(x - 1, top, width, 18);
  pen.fillStyle = "#0b1014";
  pen.fillText(text, x + 4, top + 13);
}

function drawZone(pen, zone, { left, top, w, h }) {
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
  plate(pen, zone.title, left + corner[0] * w + 2, top + corner[1] * h, "rgb(255 205 200 / 88%)");
}

function drawBox(pen, box, text, colour, { left, top, w, h }, width, below = false) {
  const [x, y] = [left + box[0] * w, top + box[1] * h];
  pen.lineWidth = width + 2;
  pen.strokeStyle = "rgb(0 0 0 / 55%)";
  pen.strokeRect(x, y, (box[2] - box[0]) * w, (box[3] - box[1]) * h);
  pen.lineWidth = width;
  pen.strokeStyle = colour;
  pen.strokeRect(x, y, (box[2] - box[0]) * w, (box[3] - box[1]) * h);
  plate(pen, text, x, below ? top + box[3] * h + 18 : y, colour);
}

/** One clip with its controls: all that it needs lies inside its section of the page. */
class Player {
  overlay = null;
  frame_s = Infinity; // The smallest distance of two frames that stepping met.
  shown_s = null; // Media time of the frame on screen, where the browser tells it.
  stepping = false;
  begun = false;
  failures = 0;

  constructor(section) {
    this.section = section;
    const part = (selector) => section.querySelector(selector);
    this.video = part("video");
    this.pen = part("canvas").getContext("2d");
    this.marks = part(".marks");
    this.seek = part(".seek");
    this.play = part(".play");
    this.clock = part(".clock");
    this.boxes = part(".show-boxes");
    this.zones = part(".show-zones");
    this.followVideo();
    this.play.addEventListener("click", () => this.toggle());
    this.video.addEventListener("click", () => this.toggle());
    part(".back").addEventListener("click", () => this.stepFrame(-1));
    part(".forward").addEventListener("click", () => this.stepFrame(1));
    part(".to-alarm").addEventListener("click", () => this.toAlarm());
    for (const choice of [this.boxes, this.zones]) choice.addEventListener("change", () => this.draw());
    const speed = part(".speed select");
    speed.addEventListener("change", () => {
      this.video.playbackRate = Number(speed.value);
      speed.blur();
    });
    this.seek.addEventListener("input", () => {
      this.video.currentTime = (this.seek.value / 1000) * (this.video.duration || 0);
    });
    this.seek.addEventListener("change", () => this.seek.blur());
    new ResizeObserver(() => this.draw()).observe(section);
  }

  followVideo() {
    const { video } = this;
    if ("requestVideoFrameCallback" in video) {
      const onFrame = (_, { mediaTime }) => {
        this.shown_s = mediaTime;
        this.draw();
        video.requestVideoFrameCallback(onFrame);
      };
      video.requestVideoFrameCallback(onFrame);
    }
    for (const name of ["seeked", "loadeddata", "timeupdate"]) {
      video.addEventListener(name, () => this.draw());
    }
    video.addEventListener("loadedmetadata", () => this.begin());
    video.addEventListener("play", () => this.play.setAttribute("aria-pressed", "true"));
    video.addEventListener("pause", () => this.play.setAttribute("aria-pressed", "false"));
    video.addEventListener("error", () => this.failed());
    if (video.error) this.failed();
  }

  /** Fetch what the machine saw, and draw it from then on. */
  async load() {
    const answer = await fetch(this.section.dataset.overlay);
    if (answer.ok) this.overlay = await answer.json();
    this.begin();
    this.draw();
  }

  /** Once the clip and the overlay are here: the marks, and the moment before the onset. */
  begin() {
    if (this.begun || !this.overlay || !this.video.duration) return;
    this.begun = true;
    this.placeMarks();
    this.video.currentTime = Math.max(0, this.overlay.onset_s - this.overlay.clip_start_s - 1);
  }

  /** The store may have been busy: ask again twice before saying so. */
  failed() {
    this.failures += 1;
    if (this.failures <= 2) setTimeout(() => this.video.load(), 700 * this.failures);
    else this.section.querySelector(".stage-problem").hidden = false;
  }

  inOriginal() {
    return (this.shown_s ?? this.video.currentTime) + (this.overlay?.clip_start_s ?? 0);
  }

  /** A moment as people read it: seconds of the footage, or the time of day beside a sensor's lead. */
  told(t) {
    const since = this.overlay?.received_at;
    if (since) return new Date(Date.parse(since) + t * 1000).toLocaleTimeString();
    return `${t.toFixed(2)} s`;
  }

  /** Where the picture lies inside the video element, in CSS pixels: it may have bars. */
  picture() {
    const { clientWidth: width, clientHeight: height, offsetLeft, offsetTop } = this.video;
    const scale = Math.min(width / (this.video.videoWidth || 16), height / (this.video.videoHeight || 9));
    const w = (this.video.videoWidth || 16) * scale, h = (this.video.videoHeight || 9) * scale;
    return { left: offsetLeft + (width - w) / 2, top: offsetTop + (height - h) / 2, w, h };
  }

  draw() {
    const { pen } = this;
    const ratio = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = pen.canvas;
    if (pen.canvas.width !== Math.round(width * ratio) || pen.canvas.height !== Math.round(height * ratio)) {
      pen.canvas.width = Math.round(width * ratio);
      pen.canvas.height = Math.round(height * ratio);
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const t = this.inOriginal();
    if (this.overlay) this.drawOverlay(t);
    this.clock.textContent = this.told(t);
    if (this.video.duration && document.activeElement !== this.seek) {
      this.seek.value = Math.round((this.video.currentTime / this.video.duration) * 1000);
    }
  }

  drawOverlay(t) {
    const { pen, overlay } = this;
    const where = this.picture();
    if (this.zones.checked) overlay.zones.forEach((zone) => drawZone(pen, zone, where));
    if (!this.boxes.checked) return;
    for (const track of overlay.tracks) {
      const box = boxAt(track.points, t);
      const colour = COLOURS[track.label] ?? COLOURS.default;
      if (box) drawBox(pen, box, words.things[track.label] ?? track.label, colour, where, 2);
    }
    const until = overlay.end_s ?? Infinity;
    if (overlay.finding_box && t >= overlay.alarm_at_s - REACH_S / 10 && t <= until) {
      drawBox(pen, overlay.finding_box, words.finding, "#ff5a4d", where, 3, true);
    }
  }

  mark(kind, from_s, to_s, title) {
    const from = (from_s - this.overlay.clip_start_s) / this.video.duration;
    const to = (to_s - this.overlay.clip_start_s) / this.video.duration;
    if (!(to >= 0 && from <= 1)) return;
    const line = document.createElement("i");
    line.className = kind;
    line.title = title;
    // The thumb of a range input stays inside its ends by half its width (8 px).
    const at = (share) => `calc(8px + (100% - 16px) * ${Math.min(1, Math.max(0, share))})`;
    line.style.left = at(from);
    if (kind === "span") line.style.width = `calc((100% - 16px) * ${Math.min(1, to) - Math.max(0, from)})`;
    this.marks.append(line);
  }

  placeMarks() {
    const { onset_s, alarm_at_s, end_s, clip_start_s } = this.overlay;
    const end = end_s ?? clip_start_s + this.video.duration;
    this.mark("span", onset_s, Math.max(end, alarm_at_s), "");
    this.mark("onset", onset_s, onset_s, words.onset);
    this.mark("alarm", alarm_at_s, alarm_at_s, words.alarm);
  }

  /** Pause, and show a moment of the clip. */
  showAt(clip_s) {
    this.video.pause();
    this.video.currentTime = Math.min(this.video.duration || 0, Math.max(0, clip_s));
  }

  goTo(original_s) {
    this.showAt(original_s - (this.overlay?.clip_start_s ?? 0));
  }

  toAlarm() {
    if (this.overlay) this.goTo(this.overlay.alarm_at_s);
  }

  toggle() {
    if (this.video.paused) this.video.play();
    else this.video.pause();
  }

  step(seconds) {
    this.showAt((this.shown_s ?? this.video.currentTime) + seconds);
  }

  /** Seek and wait until the frame there is on screen. */
  arriveAt(seconds) {
    return new Promise((resolve) => {
      const presented = () => {
        setTimeout(resolve, 120); // The same frame again may not be announced.
        this.video.requestVideoFrameCallback?.(() => setTimeout(resolve));
      };
      this.video.addEventListener("seeked", presented, { once: true });
      this.video.currentTime = seconds;
    });
  }

  /** One frame on or back. No browser tells a film's frame rate: the neighbour is looked for. */
  async stepFrame(direction) {
    if (this.stepping || !this.video.duration) return;
    this.stepping = true;
    this.video.pause();
    const start = this.shown_s ?? this.video.currentTime;
    const stride = Number.isFinite(this.frame_s) ? this.frame_s * 1.04 : SEARCH_S;
    for (let n = 1; n <= 50; n += 1) {
      const target = direction > 0 ? start + n * stride : start - 0.004 * n;
      if (target < 0 || target > this.video.duration) break;
      await this.arriveAt(target);
      const moved = Math.abs((this.shown_s ?? target) - start);
      if (moved > SAME_FRAME_S) {
        this.frame_s = Math.min(this.frame_s, moved);
        break;
      }
    }
    this.stepping = false;
  }
}

const players = [...document.querySelectorAll(".player")].map((section) => new Player(section));
let current = players[0]; // The keys are for the player that was last used.

function use(player) {
  current = player;
  if (players.length < 2) return;
  for (const one of players) one.section.setAttribute("aria-current", one === current);
}
use(current);

for (const player of players) {
  for (const name of ["pointerdown", "focusin"]) player.section.addEventListener(name, () => use(player));
  player.video.addEventListener("play", () => use(player));
  for (const link of document.querySelectorAll(`[data-clip="${player.video.id}"]`)) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      use(player);
      player.goTo(Number(link.dataset.seek));
    });
  }
}

const KEYS = {
  " ": (player) => player.toggle(),
  ",": (player) => player.stepFrame(-1),
  ".": (player) => player.stepFrame(1),
  ArrowLeft: (player) => player.step(-1),
  ArrowRight: (player) => player.step(1),
  m: (player) => player.toAlarm(),
  b: (player) => player.boxes.click(),
  n: (player) => player.zones.click(),
};
document.addEventListener("keydown", (event) => {
  const inRadios = event.target.matches?.("input[type=radio]") && event.key.startsWith("Arrow");
  const onButton = event.key === " " && event.target.closest?.("button, summary, a, input");
  if (isTyping(event) || inRadios || onButton || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key](current);
});

await Promise.all(players.map((player) => player.load()));
