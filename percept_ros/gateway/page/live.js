"use strict";
// The live page: server-sent frames onto a canvas. No library, no build step.
const COLOURS = {
  unknown: "#969696", car: "#3399ff", truck: "#ff8c1a", bus: "#ffcc1a", trailer: "#cc7333",
  motorcycle: "#bf59f2", bicycle: "#59d973", pedestrian: "#f24059",
};
const STAGES = ["#3399ff", "#bf59f2", "#35b27a", "#e0a33a", "#f24059", "#59d9d0", "#969696", "#cc7333"];
const POINT_M = 0.02, CAMERA_MS = 200, KEPT = 150;
const $ = (id) => document.getElementById(id);
const view = $("view"), pen = view.getContext("2d");
const HOME = { x: 14, y: 0, width: 100 };
let at = { ...HOME }, frame = null, points = null, drawn = 0, latencies = [], cameraShown = {};

function connect() {
  const stream = new EventSource("/v1/tracks/stream");
  stream.onopen = () => link("up", "live");
  stream.onerror = () => link("down", "no connection");
  stream.addEventListener("frame", (event) => take(JSON.parse(event.data)));
}

function link(state, text) {
  $("link").dataset.state = state;
  $("link").textContent = text;
}

function take(next) {
  frame = next;
  points = next.points ? unpack(next.points) : null;
  latencies.push(next.latency_ms);
  if (latencies.length > KEPT) latencies.shift();
  $("mode").dataset.mode = next.mode;
  $("mode").textContent = next.mode;
  $("cause").textContent = next.cause;
  $("model").textContent = [next.model, next.group, next.session].filter(Boolean).join(" · ");
  $("latency").textContent = next.latency_ms.toFixed(1) + " ms";
  $("count").textContent = next.tracks.length;
  requestAnimationFrame(() => { draw(); spark(); stages(next.stages_ms); list(next.tracks); });
  cameras(next.cameras);
  document.body.dataset.frames = ++drawn;
}

function unpack(text) {
  const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Int16Array(raw.buffer);
}

// Bird's-eye view: x forward is up, y left is left.
function fit(canvas) {
  const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  const width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  return ratio;
}

function scale() { return view.height / at.width; }
function px(x, y) {
  const s = scale();
  return [view.width / 2 - (y - at.y) * s, view.height / 2 - (x - at.x) * s];
}

function draw() {
  const ratio = fit(view);
  pen.fillStyle = "#12161a";
  pen.fillRect(0, 0, view.width, view.height);
  rings(ratio);
  if (points) cloud(ratio);
  vehicle();
  for (const track of frame ? frame.tracks : []) paint(track, ratio);
}

function rings(ratio) {
  pen.strokeStyle = "#263039";
  pen.fillStyle = "#5a6773";
  pen.font = `${11 * ratio}px system-ui, sans-serif`;
  pen.lineWidth = ratio;
  const [x0, y0] = px(0, 0);
  for (let radius = 10; radius <= 100; radius += 10) {
    pen.beginPath();
    pen.arc(x0, y0, radius * scale(), 0, 2 * Math.PI);
    pen.stroke();
    const [x, y] = px(radius, 0);
    pen.fillText(`${radius} m`, x + 4 * ratio, y - 3 * ratio);
  }
}

function cloud(ratio) {
  const size = Math.max(1, Math.round(1.2 * ratio));
  for (let i = 0; i + 2 < points.length; i += 3) {
    const z = points[i + 2] * POINT_M;
    if (z < -1 || z > 4.5) continue;
    const light = Math.min(1, Math.max(0, (z + 0.2) / 2.2));
    pen.fillStyle = `rgb(${58 + 107 * light},${72 + 142 * light},${92 + 133 * light})`;
    const [x, y] = px(points[i] * POINT_M, points[i + 1] * POINT_M);
    pen.fillRect(x, y, size, size);
  }
}

function vehicle() {
  outline([[2.6, 0], [1.8, 0.9], [-1.8, 0.9], [-1.8, -0.9], [1.8, -0.9]], "#50a046", "#aaebb4", 1);
}

function outline(corners, fill, stroke, width) {
  pen.beginPath();
  corners.forEach(([x, y], i) => { const [u, v] = px(x, y); i ? pen.lineTo(u, v) : pen.moveTo(u, v); });
  pen.closePath();
  if (fill) { pen.fillStyle = fill; pen.fill(); }
  pen.strokeStyle = stroke;
  pen.lineWidth = width;
  pen.stroke();
}

function paint(track, ratio) {
  const [x, y, , l, w, , yaw] = track.box, c = Math.cos(yaw), s = Math.sin(yaw);
  const colour = COLOURS[track.class] || COLOURS.unknown;
  const corners = [[l, w], [-l, w], [-l, -w], [l, -w]].map(([a, b]) => [x + (a * c - b * s) / 2, y + (a * s + b * c) / 2]);
  pen.globalAlpha = track.state === "coasting" ? 0.55 : 1;
  outline(corners, colour + "44", colour, (track.state === "confirmed" ? 2 : 1) * ratio);
  pen.beginPath();
  pen.moveTo(...px(x, y));
  pen.lineTo(...px(x + l * c / 2, y + l * s / 2));
  pen.stroke();
  pen.fillStyle = colour;
  for (const [u, v] of track.path) {
    pen.beginPath();
    pen.arc(...px(u, v), 1.6 * ratio, 0, 2 * Math.PI);
    pen.fill();
  }
  pen.fillStyle = "#ebebeb";
  pen.font = `${12 * ratio}px system-ui, sans-serif`;
  const [u, v] = px(x, y);
  pen.fillText(track.n, u + 6 * ratio, v - 6 * ratio);
  pen.globalAlpha = 1;
}

function spark() {
  const canvas = $("spark"), ratio = fit(canvas), brush = canvas.getContext("2d");
  brush.clearRect(0, 0, canvas.width, canvas.height);
  const top = Math.max(20, ...latencies) * 1.1, step = canvas.width / (KEPT - 1);
  brush.strokeStyle = "#3399ff";
  brush.lineWidth = 1.5 * ratio;
  brush.beginPath();
  latencies.forEach((ms, i) => {
    const x = canvas.width - (latencies.length - 1 - i) * step, y = canvas.height * (1 - ms / top);
    i ? brush.lineTo(x, y) : brush.moveTo(x, y);
  });
  brush.stroke();
  brush.fillStyle = "#8b98a5";
  brush.font = `${10 * ratio}px system-ui, sans-serif`;
  brush.fillText(`${top.toFixed(0)} ms`, 2, 10 * ratio);
}

function stages(spent) {
  const total = Object.values(spent).reduce((a, b) => a + b, 0) || 1;
  $("stages").replaceChildren(...Object.entries(spent).map(([name, ms], i) => {
    const bar = document.createElement("span");
    bar.style.width = `${100 * ms / total}%`;
    bar.style.background = STAGES[i % STAGES.length];
    bar.title = `${name}: ${ms} ms`;
    return bar;
  }));
}

function list(tracks) {
  const near = tracks.map((t) => [Math.hypot(t.box[0], t.box[1]), t]).sort((a, b) => a[0] - b[0]).slice(0, 14);
  $("tracks").tBodies[0].replaceChildren(...near.map(([range, t]) => {
    const row = document.createElement("tr"), speed = Math.hypot(...t.velocity);
    for (const text of [t.n, t.class, t.state, range.toFixed(1), speed.toFixed(1), t.existence.toFixed(2)]) {
      row.insertCell().textContent = text;
    }
    row.cells[1].style.color = COLOURS[t.class] || COLOURS.unknown;
    return row;
  }));
}

function cameras(names) {
  if (!names.length) return;
  const now = performance.now(), holder = $("cameras");
  for (const name of names) {
    let shown = cameraShown[name];
    if (!shown) {
      const figure = document.createElement("figure"), image = new Image(), caption = document.createElement("figcaption");
      image.alt = `camera ${name}`;
      caption.textContent = name;
      figure.append(image, caption);
      if (!Object.keys(cameraShown).length) holder.replaceChildren();
      holder.append(figure);
      shown = cameraShown[name] = { image, at: -1e9, busy: false };
      image.onload = image.onerror = () => { shown.busy = false; };
    }
    if (!shown.busy && now - shown.at > CAMERA_MS) {
      shown.busy = true;
      shown.at = now;
      shown.image.src = `/v1/cameras/${encodeURIComponent(name)}.jpg?at=${frame.stamp_ns}`;
    }
  }
}

view.addEventListener("wheel", (event) => {
  event.preventDefault();
  at.width = Math.min(400, Math.max(10, at.width * Math.exp(event.deltaY * 0.001)));
  draw();
}, { passive: false });
view.addEventListener("pointermove", (event) => {
  if (!event.buttons) return;
  const metres = (window.devicePixelRatio || 1) / scale();
  at.y += event.movementX * metres;
  at.x += event.movementY * metres;
  draw();
});
view.addEventListener("dblclick", () => { at = { ...HOME }; draw(); });
window.addEventListener("resize", () => { draw(); spark(); });
draw();
connect();
