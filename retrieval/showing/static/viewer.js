// The viewer shows a picture large: alone, or compared with another one.

const viewer = document.querySelector("#viewer");
const stage = viewer.querySelector(".stage");
const [first, second] = stage.querySelectorAll("img");
const said = viewer.querySelector(".said");
const FLICKER = 500; // milliseconds that each picture is seen: long enough to look, short enough to compare
const MODES = { b: "beside", f: "flicker", d: "difference" };

let items = [];
let at = 0;
let lead = null;
let flickering = 0;

// An item has `source`, the address of the picture; `name`; and `said`, a sentence about it.
export function openViewer(all, number, compared = null) {
  [items, at, lead] = [all, number, compared];
  show("alone");
  if (!viewer.open) viewer.showModal();
}

export const current = () => items[at];

function show(mode) {
  const item = items[at];
  const other = lead && lead !== item ? lead : null;
  first.src = item.source;
  first.alt = item.name;
  second.src = (other ?? item).source;
  stage.dataset.mode = other ? mode : "alone";
  said.textContent = item.said;
  for (const button of viewer.querySelectorAll(".comparing")) {
    button.hidden = !other;
    button.setAttribute("aria-pressed", String(MODES[button.dataset.key] === stage.dataset.mode));
  }
  viewer.dispatchEvent(new CustomEvent("shown", { detail: item }));
  flicker();
}

function flicker() {
  clearInterval(flickering);
  second.classList.add("away");
  first.classList.remove("away");
  if (stage.dataset.mode === "flicker") {
    flickering = setInterval(() => [first, second].forEach((one) => one.classList.toggle("away")), FLICKER);
  }
}

function press(key) {
  if (key === "Escape") viewer.close();
  else if (key in MODES) show(stage.dataset.mode === MODES[key] ? "alone" : MODES[key]);
  else if (key === "ArrowLeft" || key === "ArrowRight") {
    at = (at + (key === "ArrowLeft" ? items.length - 1 : 1)) % items.length;
    show(stage.dataset.mode);
  } else return false;
  return true;
}

viewer.addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && press(event.key)) event.preventDefault();
});
viewer.addEventListener("click", (event) => {
  const button = event.target.closest("[data-key]");
  if (button) press(button.dataset.key);
  else if (event.target === viewer) viewer.close();
});
viewer.addEventListener("close", () => clearInterval(flickering));
