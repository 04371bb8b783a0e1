// The review of duplicates: a group at a time, by keys. What is decided is done at once, and can be undone.

import { API, call, follow, send } from "./jobs.js";

const find = (selector) => document.querySelector(selector);
const [status, tier, review, heading, files, position, acceptTier] = [
  "#status", "#tier", "#review", "#heading", "#files", "#position", "#accept-tier",
].map(find);
const PAGE = 1000;
const FLICKER = 500; // milliseconds

let job = 0;
let groups = [];
let open = []; // the groups of the tier that are not decided yet
let at = 0;
let kept = new Set();
let mode = "beside";
let flickering = 0;
let last = Promise.resolve(); // decisions are sent one after the other

// -- what there is -------------------------------------------------------------------------------------------------------

async function load() {
  const all = [];
  for (let count = 1; all.length < count; ) {
    const found = await call(`/duplicates?offset=${all.length}&k=${PAGE}`);
    [job, count] = [found.job, found.count];
    all.push(...found.groups);
    if (!found.groups.length) break;
  }
  groups = all;
  const tiers = [...new Set(groups.map((group) => group.tier))];
  const chosen = tier.value;
  tier.replaceChildren(...["all", ...tiers].map((name) => {
    const option = document.createElement("option");
    option.value = name;
    option.textContent = name.replaceAll("_", " ");
    return option;
  }));
  tier.value = tiers.includes(chosen) ? chosen : "all";
  narrow();
}

const inTier = (group) => tier.value === "all" || group.tier === tier.value;

function narrow() {
  const before = open[at]?.group ?? 0;
  open = groups.filter((group) => group.state === "open" && inTier(group));
  at = Math.max(open.findIndex((group) => group.group >= before), 0);
  const count = open.length;
  acceptTier.hidden = tier.value === "all" || !count;
  acceptTier.textContent = `Accept all ${count} groups of this tier`;
  show();
}

// -- a group -------------------------------------------------------------------------------------------------------------

const DIFFERING = { width: "width", height: "height", format: "format", bytes: "bytes", taken: "taken", model: "camera", rating: "rating", keywords: "keywords", folder: "folder" };

function factsOf(file, group) {
  const facts = (one) => ({ ...one, keywords: (one.keywords ?? []).join(", "), folder: one.path.replace(/[/\\][^/\\]*$/, "") });
  const own = facts(file);
  return Object.entries(DIFFERING).filter(([name]) => new Set(group.files.map((one) => facts(one)[name])).size > 1)
    .map(([name, said]) => `${said}: ${own[name] ?? "–"}`);
}

function show() {
  clearInterval(flickering);
  const group = open[at];
  review.hidden = !group;
  const decided = groups.filter((one) => one.state !== "open").length;
  position.textContent = groups.length ? `${decided} of ${groups.length} groups decided` : "";
  if (!group) {
    if (groups.length) status.textContent = "All groups of this tier are decided.";
    else if (job) status.textContent = "There are no duplicates.";
    return;
  }
  status.textContent = "";
  kept = new Set(group.files.flatMap((file, number) => (file.keep ? [number] : [])));
  heading.textContent = `${group.tier.replaceAll("_", " ")}: ${group.files.length} files`;
  files.replaceChildren(...group.files.map((file, number) => element(file, number, group)));
  mark();
}

function element(file, number, group) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.number = number;
  const [stage, image] = [document.createElement("span"), new Image()];
  stage.className = "stage";
  stage.dataset.mode = number && mode !== "beside" ? mode : "alone";
  image.src = `${API}/images/${file.key}/picture`;
  image.alt = "";
  const other = new Image();
  other.src = `${API}/images/${group.files[0].key}/picture`;
  other.alt = "";
  other.className = "second away";
  image.className = "first";
  stage.append(image, other);
  const lines = [file.path.split(/[/\\]/).at(-1), file.relation ? `${file.relation.replaceAll("_", " ")}: ${file.reason}` : `kept: ${file.reason}`, ...factsOf(file, group)];
  const said = lines.map((text, line) => {
    const part = document.createElement("span");
    part.className = line ? "fact" : "name";
    part.textContent = text;
    return part;
  });
  const badge = document.createElement("strong");
  badge.className = "mark";
  button.append(stage, badge, ...said);
  item.append(button);
  return item;
}

function mark() {
  for (const button of files.querySelectorAll("button")) {
    const number = Number(button.dataset.number);
    const keeps = kept.has(number);
    button.setAttribute("aria-pressed", String(keeps));
    button.querySelector(".mark").textContent = `${number + 1} ${keeps ? "keep" : "trash"}`;
    button.classList.toggle("going", !keeps);
  }
}

function toggle(number) {
  if (number < 0 || number >= (open[at]?.files.length ?? 0)) return;
  if (kept.has(number) && kept.size > 1) kept.delete(number);
  else kept.add(number);
  mark();
}

function compare(wanted) {
  mode = mode === wanted ? "beside" : wanted;
  clearInterval(flickering);
  files.querySelectorAll(".stage").forEach((stage, number) => {
    stage.dataset.mode = number && mode !== "beside" ? mode : "alone";
    stage.querySelector(".first").classList.remove("away");
    stage.querySelector(".second").classList.toggle("away", mode === "flicker");
  });
  if (mode === "flicker") {
    flickering = setInterval(() => files.querySelectorAll("[data-mode=flicker] img").forEach((one) => one.classList.toggle("away")), FLICKER);
  }
}

// -- decisions: shown at once, sent one after the other ------------------------------------------------------------------

function decide(group, state, ask) {
  group.state = state;
  narrow();
  last = last.then(ask).then((done) => {
    if (done?.refused?.length) throw new Error(done.refused.join(" "));
  }).catch((error) => {
    group.state = "open";
    narrow();
    status.textContent = error.message;
  });
}

function accept() {
  const group = open[at];
  if (!group || document.body.dataset.readOnly) return;
  const decisions = [{ group: group.group, keep: [...kept].sort((a, b) => a - b) }];
  if (kept.size === group.files.length) {
    step(1); // nothing goes: the group is skipped
    return;
  }
  decide(group, "done", () => send("/plans", { job, decisions }));
}

function notDuplicates() {
  const group = open[at];
  if (group && !document.body.dataset.readOnly) decide(group, "different", () => send("/different", { job, group: group.group }));
}

function step(by) {
  if (!open.length) return;
  at = (at + by + open.length) % open.length;
  show();
}

const filesAre = (count) => (count === 1 ? "1 file is" : `${count} files are`);

async function undo() {
  await last;
  try {
    const done = await send("/undo", { n: 1 });
    await load();
    status.textContent = done.done ? `${filesAre(done.done)} back. ${[done.note, ...done.refused].join(" ")}` : "There is nothing to undo.";
  } catch (error) {
    status.textContent = error.message;
  }
}

acceptTier.addEventListener("click", async () => {
  const some = open.filter(inTier);
  const decisions = some.map((group) => ({ group: group.group, keep: group.files.flatMap((file, number) => (file.keep ? [number] : [])) }));
  status.textContent = `Putting the others of ${some.length} groups into the trash…`;
  try {
    const done = await send("/plans", { job, decisions });
    await load();
    status.textContent = `${filesAre(done.done)} in the trash. ${[done.note, ...done.refused].join(" ")}`;
  } catch (error) {
    status.textContent = error.message;
  }
});

function press(key) {
  if (key === "ArrowRight") step(1);
  else if (key === "ArrowLeft") step(-1);
  else if (key === "Enter") accept();
  else if (key === "n") notDuplicates();
  else if (key === "u") undo();
  else if (key === "f") compare("flicker");
  else if (key === "d") compare("difference");
  else if (key === " ") toggle(Number(document.activeElement?.dataset?.number ?? 0));
  else if (/^[1-9]$/.test(key)) toggle(Number(key) - 1);
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, .tools button, .keys button")) return;
  if (press(event.key)) event.preventDefault();
});
document.addEventListener("click", (event) => {
  const file = event.target.closest("#files button");
  const button = event.target.closest(".keys [data-key]");
  if (file) toggle(Number(file.dataset.number));
  else if (button) press(button.dataset.key);
});
find("#undo").addEventListener("click", undo);
tier.addEventListener("change", narrow);
find("#look").addEventListener("click", async () => {
  try {
    await follow("duplicates", status);
    await load();
  } catch (error) {
    status.textContent = error.message;
  }
});
if (document.body.dataset.readOnly) document.querySelectorAll(".changing").forEach((one) => one.remove());
const { duplicates } = await call("/jobs");
if (duplicates?.state === "done") await load();
else if (duplicates?.state === "running") find("#look").click();
else status.textContent = "Nothing was looked for yet.";
