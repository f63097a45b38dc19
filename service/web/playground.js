// The playground: one request at a time, over the public API, its exits shown as they are reached. No build, no library.
"use strict";

const $ = (id) => document.getElementById(id);
const MAKES_FILES = { image: "image/*", video: "video/*" };
const models = new Map();
let chosenFile = null;
let running = null;

function element(tag, text = "", more = {}) {
  const made = Object.assign(document.createElement(tag), more);
  made.textContent = text;
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const number = (value) => (typeof value === "number" ? Number(value.toPrecision(4)).toString() : String(value));

// -- What can be asked

async function listModels() {
  const listed = await (await fetch("v1/models")).json();
  for (const model of listed.models) {
    models.set(model.name, model);
    const usable = model.state === "ready" || model.state === "degraded";
    $("model").add(new Option(usable ? model.name : `${model.name} (${model.state})`, model.name));
    $("model").lastElementChild.disabled = !usable;
  }
  const asked = new URLSearchParams(location.search).get("model");
  const first = [...models.values()].find((model) => model.state === "ready" || model.state === "degraded");
  $("model").value = models.has(asked) ? asked : first ? first.name : "";
  await chooseModel();
}

async function chooseModel() {
  const model = models.get($("model").value);
  if (!model) { show(new Error("No model is served.")); return; }
  $("write").hidden = model.modality !== "text";
  $("drop").hidden = model.modality === "text";
  $("file").accept = MAKES_FILES[model.modality] || "";
  if (chosenFile && !chosenFile.type.startsWith(model.modality)) chooseFile(null);
  $("about").textContent = `${model.family}, reads ${model.modality}`;
  const told = await fetch(`v1/models/${encodeURIComponent(model.name)}`);
  if (!told.ok || models.get($("model").value) !== model) return;
  const shape = await told.json();
  const usual = shape.default.mean_mmacs;
  $("about").textContent = `${shape.description} Full: ${number(shape.full_mmacs)} MMACs, usual: ${number(usual)}. `
    + `${model.family}, ${shape.exits.length} exits, reads ${model.modality}.`;
}

function chooseFile(file) {
  chosenFile = file;
  const preview = $("preview");
  preview.querySelectorAll("[src]").forEach((shown) => URL.revokeObjectURL(shown.src));
  preview.replaceChildren();
  if (!file) return;
  const video = file.type.startsWith("video/");
  const more = video ? { controls: true, muted: true } : { alt: file.name };
  preview.append(element(video ? "video" : "img", "", { ...more, src: URL.createObjectURL(file) }));
}

// -- Asking

async function ask(full) {
  const model = models.get($("model").value);
  const text = model.modality === "text";
  const body = text ? new Blob([$("text").value]) : chosenFile;
  if (!body || body.size === 0) { show(new Error(text ? "Write something first." : "Choose a file first.")); return; }
  const query = new URLSearchParams({ explain: "true" });
  if (model.task === "segmentation") query.set("map", "png");
  for (const field of document.querySelectorAll("[data-budget]")) if (field.value && !full) query.set(field.id, field.value);
  if (full) query.set("agreement", "1");
  const headers = { Accept: "text/event-stream" };
  const type = text ? "text/plain; charset=utf-8" : body.type;
  if (type) headers["Content-Type"] = type;
  if ($("key").value) headers["X-Api-Key"] = $("key").value;
  begin();
  try {
    const path = `v1/models/${encodeURIComponent(model.name)}/predict?${query}`;
    const answered = await fetch(path, { method: "POST", body, headers, signal: running.signal });
    if (!answered.ok) throw await refusal(answered);
    for await (const [kind, data] of events(answered.body)) {
      if (kind === "exit") showExit(data);
      else if (kind === "final") showAnswer(data);
      else throw new Error(`${data.title}: ${data.detail}`);
    }
  } catch (error) {
    show(error.name === "AbortError" ? new Error("Stopped; only what ran is billed.") : error);
  } finally {
    running = null;
    $("stop").disabled = true;
    $("run").disabled = $("full").disabled = false;
  }
}

async function refusal(answered) {
  if (answered.status === 401) $("keyring").hidden = false;
  const told = await answered.json().catch(() => ({ title: answered.statusText, detail: "" }));
  const after = answered.headers.get("Retry-After");
  return new Error(`${told.title}: ${told.detail}${after ? ` (come again in ${after} s)` : ""}`);
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    waiting += value;
    let end;
    while ((end = waiting.indexOf("\n\n")) >= 0) {
      const lines = waiting.slice(0, end).split("\n");
      waiting = waiting.slice(end + 2);
      const field = (name) => lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
      yield [field("event")[0], JSON.parse(field("data").join("\n"))];
    }
  }
}

// -- Showing

function begin() {
  running = new AbortController();
  $("stop").disabled = false;
  $("run").disabled = $("full").disabled = true;
  $("problem").hidden = true;
  $("answer").hidden = true;
  $("answer").dataset.state = "running";
  for (const id of ["headline", "summary", "picture", "output", "exits", "receipt", "json"]) $(id).replaceChildren();
  $("walk").querySelector("table").replaceChildren();
}

function show(error) {
  $("problem").textContent = error.message;
  $("problem").hidden = false;
}

function headline(output) {
  if (output.label !== undefined) return `${output.label}, ${percent(output.probability)}`;
  if (output.classes) return output.classes.slice(0, 3).map((one) => `${one.label} ${percent(one.share)}`).join(", ");
  if (output.boxes) return output.boxes.length === 1 ? `one ${output.boxes[0].label}` : `${output.boxes.length} things`;
  return "an answer";
}

function bar(name, share, told) {
  const line = element("div", "", { className: "bar" });
  line.append(element("span", name), element("meter", "", { min: 0, max: 1, value: share }), element("span", told));
  return line;
}

function showExit(reached) {
  $("answer").hidden = false;
  $("headline").textContent = headline(reached.output);
  $("summary").textContent = "so far";
  const line = element("li");
  const cost = `${number(reached.compute.mmacs)} MMACs: ${headline(reached.output)}`;
  const share = Math.min(1, reached.compute.fraction_of_full);
  line.append(element("span", reached.exit), element("meter", "", { min: 0, max: 1, value: share }), element("span", cost));
  $("exits").append(line);
}

function showAnswer(answer) {
  const { output, compute, budget, timing_ms: timing } = answer;
  $("answer").hidden = false;
  $("headline").textContent = headline(output);
  $("summary").textContent = `${answer.reason} at ${answer.exit}: ${number(compute.mmacs)} MMACs, `
    + `${percent(compute.fraction_of_full)} of the full network, ${number(timing.total)} ms`;
  showOutput(output, answer.picture);
  const kept = Object.keys(budget.asked).length ? (budget.met ? "kept" : "missed") : "none asked";
  const rows = {
    model: `${answer.model} ${answer.version}`, exit: answer.exit, reason: answer.reason + (budget.forced ? " (forced)" : ""),
    compute: `${number(compute.mmacs)} MMACs, ${percent(compute.fraction_of_full)} of the full network`,
    stages: compute.stages.join(", "), "device time": `${number(compute.device_ms)} ms`,
    budget: `${Object.entries(budget.asked).map(([key, value]) => `${key} ${value}`).join(", ")} ${kept}`.trim(),
    price: budget.price, certificate: budget.certificate || "none asked for",
    time: Object.entries(timing).map(([part, ms]) => `${part} ${number(ms)} ms`).join(", "),
  };
  for (const [name, told] of Object.entries(rows)) $("receipt").append(element("dt", name), element("dd", String(told)));
  if (answer.walk) showWalk(answer.walk);
  const short = { ...answer, picture: answer.picture ? "…" : undefined };
  $("json").textContent = JSON.stringify(short, null, 2);
  $("answer").dataset.state = "done";
}

function showOutput(output, picture) {
  for (const one of output.top || []) $("output").append(bar(one.label, one.probability, percent(one.probability)));
  for (const one of output.classes || []) $("output").append(bar(one.label, one.share, percent(one.share)));
  for (const one of output.boxes || []) $("output").append(bar(one.label, one.probability, one.box.map(number).join(", ")));
  if (output.map && output.map.png) {
    $("picture").append(element("img", "", { src: `data:image/png;base64,${output.map.png}`, alt: "the map of classes" }));
  }
  if (picture) $("picture").append(element("img", "", { src: picture, alt: "what the walk looked at" }));
}

function showWalk(steps) {
  const table = $("walk").querySelector("table");
  const columns = ["stage", "exit", "score", "price", "rows", "batch_rows", "queue_ms", "stage_ms", "verdict", "next"];
  const there = columns.filter((column) => steps.some((step) => step[column] !== undefined && step[column] !== null));
  const head = table.insertRow();
  for (const column of there) head.append(element("th", column.replace("_", " ")));
  for (const step of steps) {
    const row = table.insertRow();
    for (const column of there) row.insertCell().textContent = step[column] === null || step[column] === undefined ? "" : number(step[column]);
  }
}

// -- Hands on

$("model").addEventListener("change", chooseModel);
$("file").addEventListener("change", () => chooseFile($("file").files[0] || null));
$("request").addEventListener("submit", (event) => { event.preventDefault(); if (!running) ask(false); });
$("full").addEventListener("click", () => { if (!running) ask(true); });
$("stop").addEventListener("click", () => running && running.abort());
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (name === "drop" && event.dataTransfer.files.length) chooseFile(event.dataTransfer.files[0]);
  });
}
addEventListener("paste", (event) => { if (event.clipboardData.files.length) chooseFile(event.clipboardData.files[0]); });
listModels().catch(show);
