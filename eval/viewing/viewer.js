"use strict";
const $ = (id) => document.getElementById(id);
const make = (tag, kind = "", text = "") => Object.assign(document.createElement(tag), { className: kind, textContent: text });
const data = JSON.parse($("data").textContent);
const CURVES = 8, ASSUMED = 20;  // curves of a chart; steps a second where nobody says
const LEFT = 58, RIGHT = 10, TOP = 6, BOTTOM = 22;  // pixels around a plot
const rate = data.rate || ASSUMED;
let episode = null, values = null, times = null, at = 0, playing = 0, since = 0;

// what is drawn: charts of at most CURVES curves each

const charts = [];
let first = 0;
for (const group of data.groups) {
  for (let begin = 0; begin < group.names.length; begin += CURVES) {
    const names = group.names.slice(begin, begin + CURVES);
    const of = group.names.length > CURVES ? `, ${begin} to ${begin + names.length - 1}` : "";
    const last = begin + CURVES >= group.names.length && group.more ? `; ${group.more} more are not on this page` : "";
    charts.push(chart(`${group.title}${of}${group.unit ? ` (${group.unit})` : ""}${last}`, names, first + begin));
  }
  first += group.names.length;
}

function chart(title, names, row) {
  const section = make("section", "chart"), plot = make("div", "plot"), canvas = make("canvas"), cursor = make("div", "cursor");
  const legend = make("div", "legend");
  canvas.setAttribute("role", "img");
  const one = { title, plot, canvas, cursor, curves: names.map((name, index) => curve(name, row + index, index)) };
  for (const { button } of one.curves) legend.append(button);
  for (const { button, index } of one.curves) button.addEventListener("click", () => {
    one.curves[index].shown = !one.curves[index].shown;
    button.setAttribute("aria-pressed", one.curves[index].shown);
    draw(one);
  });
  plot.append(canvas, cursor);
  section.append(make("h3", "", title), plot, legend);
  $("charts").append(section);
  const seek = (event) => {
    const box = plot.getBoundingClientRect();
    go(Math.round((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT) * (episode.moments - 1)));
  };
  plot.addEventListener("pointerdown", (event) => { plot.setPointerCapture(event.pointerId); pause(); seek(event); });
  plot.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
  return one;
}

function curve(name, row, index) {
  const button = make("button"), swatch = make("i"), value = make("output");
  button.type = "button";
  button.setAttribute("aria-pressed", "true");
  swatch.style.background = `var(--c${index})`;
  button.append(swatch, make("span", "", name), value);
  return { name, row, index, button, value, shown: true };
}

function draw(one) {
  const { canvas } = one, ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.body), color = (name) => style.getPropertyValue(name).trim();
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const own = $("own").checked, shown = one.curves.filter((curve) => curve.shown).map((curve) => ({ curve, row: rowOf(curve) }));
  let [low, high] = own ? [0, 1] : range(shown.map(({ row }) => row));
  const right = width - RIGHT, bottom = height - BOTTOM, spanned = own ? "each on its own scale" : `${spoken(low)} to ${spoken(high)}`;
  [low, high] = padded([low, high]);
  const x = (moment) => LEFT + (right - LEFT) * moment / Math.max(1, episode.moments - 1);
  const y = (value, [least, most] = [low, high]) => bottom - (bottom - TOP) * (value - least) / (most - least);
  pen.font = "11px system-ui, sans-serif";
  pen.lineWidth = 1;
  pen.fillStyle = color("--soft");
  pen.strokeStyle = color("--line");
  pen.textAlign = "right";
  for (const tick of own ? [0, 1] : ticks(low, high, 5)) {
    const place = Math.round(y(tick)) + 0.5;
    pen.beginPath(); pen.moveTo(LEFT, place); pen.lineTo(right, place); pen.stroke();
    pen.fillText(own ? ["least", "most"][tick] : spoken(tick), LEFT - 6, place + 4);
  }
  const span = horizon(), along = ticks(0, span.end, Math.max(2, Math.floor(width / 110)));
  for (const tick of along) {
    const place = LEFT + (right - LEFT) * (span.end ? tick / span.end : 0), unit = tick === along[along.length - 1] ? ` ${span.unit}` : "";
    pen.textAlign = place > right - 30 ? "right" : place < LEFT + 10 ? "left" : "center";
    pen.fillText(`${spoken(tick)}${unit}`, place, height - 6);
  }
  pen.save();
  pen.beginPath(); pen.rect(LEFT, TOP, right - LEFT, bottom - TOP); pen.clip();
  pen.lineJoin = "round";
  pen.lineWidth = 1.6;
  for (const { curve, row } of shown) {
    pen.strokeStyle = pen.fillStyle = color(`--c${curve.index}`);
    const scale = own ? padded(range([row])) : [low, high];
    pen.beginPath();
    row.forEach((value, moment) => (moment ? pen.lineTo(x(moment), y(value, scale)) : pen.moveTo(x(moment), y(value, scale))));
    pen.stroke();
    if (row.length === 1) { pen.beginPath(); pen.arc(x(0) + 3, y(row[0], scale), 3, 0, 7); pen.fill(); }
  }
  pen.restore();
  const names = one.curves.map((curve) => curve.name).join(", ");
  canvas.setAttribute("aria-label", `Curves of ${one.title}: ${names}; ${spanned}. The values at the cursor are below`);
}

function range(rows) {
  let low = Infinity, high = -Infinity;
  for (const row of rows) for (const value of row) if (Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
  if (low > high) return [0, 1];
  return low < high ? [low, high] : [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
}

const padded = ([low, high]) => [low - 0.05 * (high - low), high + 0.05 * (high - low)];

const rowOf = (curve) => values.subarray(curve.row * episode.moments, (curve.row + 1) * episode.moments);

function spoken(value) {
  const tiny = value !== 0 && Math.abs(value) < 1e-3;
  return (tiny ? value.toExponential(1) : Number(value.toPrecision(4)).toString()).replaceAll("-", "−");
}

function ticks(low, high, most) {
  if (!(high > low)) return [low];
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough) ?? rough;
  const found = [];
  for (let number = Math.ceil(low / step); number * step <= high + 1e-9 * step; number++) found.push(number * step);
  return found;
}

// The axis is even in steps; seconds stand at it where the rate is known.
function horizon() {
  const steps = (episode.moments - 1) * episode.stride;
  return data.rate ? { end: steps / data.rate, unit: "s" } : { end: steps, unit: "steps" };
}

// one episode, one moment

function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

function open(index) {
  episode = data.episodes[index];
  values = unpack(episode.values);
  times = episode.times ? unpack(episode.times) : null;
  [...$("rows").rows].forEach((row, number) => (number === index ? row.setAttribute("aria-current", "true") : row.removeAttribute("aria-current")));
  const chosen = $("rows").rows[index], list = $("list");
  if (chosen.offsetTop < list.scrollTop + 40 || chosen.offsetTop + chosen.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = chosen.offsetTop - 60;
  $("title").textContent = `Episode ${episode.number}`;
  if (episode.success !== null) $("title").append(" ", mark(episode.success, true));
  for (const [id, text] of [["task", episode.task], ["flags", episode.flags.join("; ")]]) {
    $(id).textContent = text;
    $(id).hidden = !text;
  }
  $("scrub").max = episode.moments - 1;
  figures();
  charts.forEach(draw);
  go(0);
}

let images = [];
function figures() {
  images = data.cameras.map((name) => {
    const figure = make("figure"), image = make("img"), { every } = episode.pictures[name], steps = every * episode.stride;
    image.alt = `Picture of ${name} at the cursor`;
    image.addEventListener("load", () => image.classList.toggle("small", image.naturalHeight < 128));
    figure.append(image, make("figcaption", "", steps > 1 ? `${name}, every ${steps} steps` : name));
    return { name, figure, image, shown: -1 };
  });
  $("cameras").replaceChildren(...images.map((one) => one.figure));
}

function go(moment) {
  at = Math.min(episode.moments - 1, Math.max(0, moment));
  for (const one of images) {
    const { every, jpeg } = episode.pictures[one.name], number = Math.min(jpeg.length - 1, Math.floor(at / every));
    if (number !== one.shown) one.image.src = `data:image/jpeg;base64,${jpeg[one.shown = number]}`;
  }
  const share = at / Math.max(1, episode.moments - 1);
  for (const one of charts) {
    one.cursor.style.left = `calc(${LEFT}px + ${share} * (100% - ${LEFT + RIGHT}px))`;
    for (const curve of one.curves) curve.value.textContent = spoken(values[curve.row * episode.moments + at]);
  }
  const step = at * episode.stride, seconds = times ? times[at] : data.rate ? step / data.rate : null;
  const line = `step ${step} of ${episode.length}${seconds === null ? "" : `, ${seconds.toFixed(2)} s`}`;
  $("now").textContent = line;
  $("scrub").value = at;
  $("scrub").setAttribute("aria-valuetext", line);
}

// playing, keys and the list

function play(now) {
  if (!playing) return;
  const steps = Math.floor((now - since) / 1e3 * rate * $("speed").value / episode.stride);
  if (steps > 0) {
    since += steps * 1e3 * episode.stride / (rate * $("speed").value);
    go(at + steps);
    if (at >= episode.moments - 1) return pause();
  }
  playing = requestAnimationFrame(play);
}

function start() {
  if (at >= episode.moments - 1) go(0);
  since = performance.now();
  playing = requestAnimationFrame(play);
  $("play").textContent = "Pause";
}

function pause() {
  cancelAnimationFrame(playing);
  playing = 0;
  $("play").textContent = "Play";
}

const toggle = () => (playing ? pause() : start());
const turn = (by) => {
  const index = data.episodes.indexOf(episode) + by;
  if (index >= 0 && index < data.episodes.length) { pause(); open(index); }
};
const KEYS = {
  " ": toggle, Home: () => go(0), End: () => go(episode.moments - 1), n: () => turn(1), p: () => turn(-1),
  ArrowLeft: (event) => go(at - (event.shiftKey ? 10 : 1)), ArrowRight: (event) => go(at + (event.shiftKey ? 10 : 1)),
};
for (const kind of ["keydown", "keyup"]) addEventListener(kind, (event) => {
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  event.preventDefault();  // Space would press the button that has the focus, and arrows move the slider twice
  if (kind === "keyup") return;
  if (event.key !== " ") pause();
  act(event);
}, true);
$("play").addEventListener("click", toggle);
$("scrub").addEventListener("input", () => { pause(); go(Number($("scrub").value)); });
$("own").addEventListener("change", () => charts.forEach(draw));
addEventListener("resize", () => charts.forEach(draw));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(draw));

function mark(good, worded = false) {
  const word = good ? "success" : "no success", shown = make("span", good ? "good" : "bad", good ? "✓" : "✗");
  if (worded) shown.textContent += ` ${word}`;
  else { shown.setAttribute("role", "img"); shown.setAttribute("aria-label", word); shown.title = word; }
  return shown;
}

function list() {
  const some = (test) => data.episodes.some(test);
  const columns = [
    ["episode", "n", (one) => Object.assign(make("button", "", one.number), { type: "button", ariaLabel: `Episode ${one.number}` })],
    ["steps", "n", (one) => one.length],
    some((one) => one.return !== null) && ["return", "n", (one) => spoken(one.return)],
    some((one) => one.success !== null) && ["success", "", (one) => mark(one.success)],
    some((one) => one.task) && ["instruction", "words", (one) => one.task],
    some((one) => one.flags.length) && ["looks wrong", "words bad", (one) => one.flags.join("; ")],
  ].filter(Boolean);
  $("layout").classList.toggle("worded", columns.some(([, kind]) => kind.startsWith("words")));
  $("heads").append(...columns.map(([head, kind]) => Object.assign(make("th", kind === "n" ? kind : "", head), { scope: "col" })));
  data.episodes.forEach((one, index) => {
    const row = make("tr");
    for (const [, kind, cell] of columns) {
      const place = make("td", kind);
      place.append(cell(one));
      row.append(place);
    }
    row.addEventListener("click", () => { pause(); open(index); });
    $("rows").append(row);
  });
}

function about() {
  const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`, whole = data.of === data.episodes.length;
  const parts = [whole ? count(data.of, "episode") : `${data.episodes.length} of ${data.of} episodes, evenly spread`, count(data.steps, "step")];
  parts[1] += whole ? "" : " in all";
  parts.push(data.rate ? `${spoken(data.rate)} Hz` : `rate unknown, played at ${ASSUMED} steps a second`);
  if (data.successes !== null) parts.push(`${data.successes} of ${data.of} succeed`);
  $("about").textContent = parts.join(" · ");
  for (const [kind, what, lines] of [["wrong", "looks wrong", data.problems], ["", "to know", data.remarks]]) {
    if (!lines.length) continue;
    const details = make("details", kind), bullets = make("ul");
    bullets.append(...lines.map((line) => make("li", "", line)));
    details.append(make("summary", "", `${count(lines.length, "thing")} ${what === "looks wrong" && lines.length > 1 ? "look wrong" : what}`), bullets);
    $("notes").append(details);
  }
}

about();
list();
open(0);
