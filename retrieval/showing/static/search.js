// The search. Its state is the address: every question can be kept, sent and gone back to.

import { Grid } from "./grid.js";
import { API, call, send } from "./jobs.js";
import { current, openViewer } from "./viewer.js";

const PAGE = 100; // results that are asked for at a time
const find = (selector) => document.querySelector(selector);
const [form, parts, file, where, terms, sort, likely, turned, status] = [
  "#question", "#parts", "#file", "#where", "#terms", "#sort", "#likely", "#turned", "#status",
].map(find);
const viewer = find("#viewer");

let asked = 0; // number of the latest question; answers to earlier ones are dropped
let next = 0;

// -- the state -----------------------------------------------------------------------------------------------------------

// A part of a question is the key of an image, or u- and the name of an uploaded picture.
function state() {
  const given = new URLSearchParams(location.search);
  const list = (name) => (given.get(name) ?? "").split(",").filter(Boolean);
  return {
    like: list("like"), unlike: list("unlike"), crop: given.get("crop") ?? "", where: given.get("where") ?? "",
    sort: given.get("sort") ?? "", likely: given.has("likely"), turned: given.has("turned"),
  };
}

function go(changed) {
  const wanted = { ...state(), ...changed };
  const given = new URLSearchParams();
  for (const name of ["like", "unlike"]) if (wanted[name].length) given.set(name, wanted[name].join(","));
  for (const name of ["crop", "where", "sort"]) if (wanted[name]) given.set(name, wanted[name]);
  for (const name of ["likely", "turned"]) if (wanted[name]) given.set(name, "yes");
  history.pushState(null, "", given.size ? `?${given}` : location.pathname);
  ask();
}

// -- asking --------------------------------------------------------------------------------------------------------------

const partOf = (name) => (name.startsWith("u-") ? { upload: name.slice(2) } : { id: name });

async function page(offset) {
  const { like, unlike, crop, where: filter, sort: order, likely: sure, turned: all } = state();
  if (!like.length) {
    const given = new URLSearchParams({ where: filter, offset, k: PAGE, sort: order === "taken" || order === "name" ? order : "path" });
    const found = await call(`/images?${given}`);
    return { results: found.images, next: found.next };
  }
  const question = {
    like: like.map(partOf), unlike: unlike.map(partOf), k: PAGE, offset, where: filter, crop: crop || null,
    likely: sure, turned: all, sort: order || "relevance",
  };
  const found = await send("/search", question);
  return { results: found.matches, next: found.next };
}

async function ask() {
  asked += 1;
  next = 0;
  show();
  grid.clear();
  status.textContent = "";
  scrollTo(0, 0);
}

async function more() {
  const question = asked;
  try {
    const found = await page(next);
    if (question !== asked) return true;
    next = found.next;
    grid.add(found.results);
    const count = grid.items.length;
    status.textContent = count ? `${count}${next === null ? "" : " or more"} pictures` : "Nothing was found.";
    return next !== null;
  } catch (error) {
    if (question !== asked) return true;
    status.textContent = error.message;
    return false;
  }
}

// -- the results ---------------------------------------------------------------------------------------------------------

const nameOf = (item) => item.path.split(/[/\\]/).at(-1);

function saidOf(item) {
  const facts = [];
  if (item.score !== undefined) facts.push(`score ${item.score.toFixed(4)}`);
  if (item.probability !== undefined) facts.push(`${Math.round(100 * item.probability)} % likely`);
  if (item.taken) facts.push(item.taken.slice(0, 10));
  return facts.join(", ");
}

function make(item, tile) {
  tile.href = `${API}/images/${item.key}/picture`;
  tile.title = item.path;
  const image = new Image();
  image.src = item.thumbnail;
  image.alt = nameOf(item);
  image.decoding = "async";
  image.draggable = true;
  const [name, said] = [document.createElement("span"), document.createElement("span")];
  name.className = "name";
  name.textContent = nameOf(item);
  said.textContent = saidOf(item);
  tile.append(image, name, said);
  if (item.probability !== undefined) tile.classList.add("likely");
}

const grid = new Grid(find("#grid"), { make, more });

find("#grid").addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const items = grid.items.map((item) => ({
    source: `${API}/images/${item.key}/picture`, name: nameOf(item), said: `${item.path} · ${saidOf(item)}`, key: item.key,
  }));
  const [like] = state().like;
  const lead = like && { source: like.startsWith("u-") ? `${API}/uploads/${like.slice(2)}` : `${API}/images/${like}/picture`, key: like };
  openViewer(items, Number(tile.dataset.number), lead ?? null);
});

// -- the question --------------------------------------------------------------------------------------------------------

function show() {
  const { like, unlike, crop, where: filter, sort: order, likely: sure, turned: all } = state();
  where.value = filter;
  sort.value = order || "relevance";
  [likely.checked, turned.checked] = [sure, all];
  parts.replaceChildren(...[...like.map((name) => part(name, "like", crop)), ...unlike.map((name) => part(name, "unlike", ""))]);
}

function part(name, kind, crop) {
  const item = document.createElement("li");
  item.className = kind;
  const image = new Image();
  image.src = name.startsWith("u-") ? `${API}/uploads/${name.slice(2)}` : `${API}/images/${name}/thumbnail`;
  image.alt = kind === "like" ? "like this picture" : "unlike this picture";
  const remove = document.createElement("button");
  remove.type = "button";
  remove.textContent = "×";
  remove.setAttribute("aria-label", `Remove the picture to be ${kind}`);
  remove.addEventListener("click", () => go({ [kind]: state()[kind].filter((one) => one !== name), crop: "" }));
  item.append(image, ...(kind === "unlike" ? ["−"] : []), ...(crop ? ["a part"] : []), remove);
  return item;
}

async function upload(picture) {
  status.textContent = "Reading the picture…";
  try {
    const { upload: name } = await call("/uploads", { method: "POST", body: picture });
    if (viewer.open) viewer.close();
    go({ like: [`u-${name}`], unlike: [], crop: "" });
  } catch (error) {
    status.textContent = error.message;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  close();
  go({ where: where.value.trim() });
});
file.addEventListener("change", () => {
  if (file.files.length) upload(file.files[0]);
  file.value = "";
});
sort.addEventListener("change", () => go({ sort: sort.value === "relevance" ? "" : sort.value }));
likely.addEventListener("change", () => go({ likely: likely.checked }));
turned.addEventListener("change", () => go({ turned: turned.checked }));
addEventListener("popstate", ask);

document.addEventListener("paste", (event) => {
  const picture = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (picture) {
    event.preventDefault();
    upload(picture);
  }
});
const drop = find("#drop");
document.addEventListener("dragover", (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  drop.hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.hidden = true;
});
document.addEventListener("drop", (event) => {
  drop.hidden = true;
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  upload(event.dataTransfer.files[0]);
});

// -- what can be done with a picture in the viewer -----------------------------------------------------------------------

const ACTS = {
  like: (key) => go({ like: [key], unlike: [], crop: "" }),
  add: (key) => go({ like: [...new Set([...state().like, key])], crop: "" }),
  subtract: (key) => {
    const { like, unlike } = state();
    if (like.length) go({ unlike: [...new Set([...unlike, key])], crop: "" });
    else status.textContent = "First choose a picture that the results shall be like.";
  },
  crop: () => stage.classList.add("cropping"),
};
const KEYS = { s: "like", "+": "add", "-": "subtract", c: "crop" };

function act(name) {
  if (name !== "crop") viewer.close();
  ACTS[name](current().key);
}
viewer.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (button) act(button.dataset.act);
});
viewer.addEventListener("keydown", (event) => {
  if (event.key in KEYS && !event.ctrlKey && !event.metaKey) act(KEYS[event.key]);
});

const stage = viewer.querySelector(".stage");
const frame = document.createElement("div");
frame.className = "frame";
frame.hidden = true;
stage.append(frame);
let from = null;

// Where the picture is within its element, which it need not fill.
function pictureBox() {
  const image = stage.querySelector("img");
  const box = image.getBoundingClientRect();
  const share = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
  const [width, height] = [image.naturalWidth * share, image.naturalHeight * share];
  return { left: box.left + (box.width - width) / 2, top: box.top + (box.height - height) / 2, width, height };
}

const within = (value, most) => Math.min(Math.max(value, 0), most);
function corner(event) {
  const box = pictureBox();
  return [within((event.clientX - box.left) / box.width, 1), within((event.clientY - box.top) / box.height, 1)];
}
function chosen(event) {
  const to = corner(event);
  const [left, top] = [Math.min(from[0], to[0]), Math.min(from[1], to[1])];
  return [left, top, Math.abs(from[0] - to[0]), Math.abs(from[1] - to[1])];
}

stage.addEventListener("pointerdown", (event) => {
  if (!stage.classList.contains("cropping")) return;
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
  from = corner(event);
});
stage.addEventListener("pointermove", (event) => {
  if (!from) return;
  const [left, top, width, height] = chosen(event);
  const [box, place] = [pictureBox(), stage.getBoundingClientRect()];
  frame.hidden = false;
  frame.style.left = `${box.left - place.left + left * box.width}px`;
  frame.style.top = `${box.top - place.top + top * box.height}px`;
  frame.style.width = `${width * box.width}px`;
  frame.style.height = `${height * box.height}px`;
});
stage.addEventListener("pointerup", (event) => {
  if (!from) return;
  const [left, top, width, height] = chosen(event);
  from = null;
  frame.hidden = true;
  stage.classList.remove("cropping");
  if (width < 0.02 || height < 0.02) return;
  const percent = (value) => `${(100 * value).toFixed(1)}%`;
  viewer.close();
  go({ like: [current().key], unlike: [], crop: [left, top, width, height].map(percent).join(",") });
});
viewer.addEventListener("close", () => stage.classList.remove("cropping"));

// -- completion of filters -----------------------------------------------------------------------------------------------

let known = null;
let active = -1;

function close() {
  terms.hidden = true;
  where.setAttribute("aria-expanded", "false");
  where.removeAttribute("aria-activedescendant");
  active = -1;
}

async function complete() {
  known ??= call("/terms");
  const word = where.value.split(/\s(?=(?:[^"]*"[^"]*")*[^"]*$)/).at(-1).replace(/^-/, "").toLowerCase();
  const found = Object.entries(await known).filter(([term]) => word && term.toLowerCase().includes(word) && term !== word);
  terms.replaceChildren(...found.slice(0, 8).map(([term, count], number) => {
    const option = document.createElement("li");
    option.role = "option";
    option.id = `term-${number}`;
    option.dataset.term = term;
    option.textContent = `${term} (${count})`;
    return option;
  }));
  terms.hidden = !found.length;
  where.setAttribute("aria-expanded", String(!terms.hidden));
  active = -1;
}

function take(term) {
  const words = where.value.split(/\s(?=(?:[^"]*"[^"]*")*[^"]*$)/);
  const last = words.pop();
  where.value = [...words, (last.startsWith("-") ? "-" : "") + term].join(" ");
  close();
  go({ where: where.value.trim() });
}

where.addEventListener("input", () => {
  if (where.value) complete().catch(close);
  else {
    close();
    go({ where: "" });
  }
});
where.addEventListener("blur", () => setTimeout(close, 150)); // after a click on a term
terms.addEventListener("click", (event) => {
  const option = event.target.closest("[data-term]");
  if (option) take(option.dataset.term);
});
where.addEventListener("keydown", (event) => {
  const options = [...terms.children];
  if (event.key === "Escape") close();
  else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && options.length && !terms.hidden) {
    event.preventDefault();
    active = (active + (event.key === "ArrowDown" ? 1 : options.length - 1) + (active < 0 && event.key === "ArrowUp" ? 1 : 0)) % options.length;
    options.forEach((option, number) => option.setAttribute("aria-selected", String(number === active)));
    where.setAttribute("aria-activedescendant", options[active].id);
  } else if (event.key === "Enter" && active >= 0) {
    event.preventDefault();
    take(options[active].dataset.term);
  }
});

show();
