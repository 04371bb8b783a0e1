// The viewer shows a picture large: alone, or compared with the first one of its group. The filter hides pictures.

const viewer = document.querySelector("#viewer");
const stage = viewer.querySelector(".stage");
const [first, second] = stage.querySelectorAll("img");
const said = viewer.querySelector(".said");
const FLICKER = 500; // milliseconds that each picture is seen: long enough to look, short enough to compare

let cards = [];
let at = 0;
let flickering = 0;

const leadOf = (card) => {
  const lead = card.closest(".grid").querySelector(".lead");
  return lead === card ? null : lead;
};

function show(mode) {
  const card = cards[at];
  const lead = leadOf(card);
  const source = (one) => one?.querySelector("img")?.src ?? "";
  first.src = source(card);
  first.alt = card.querySelector(".name").textContent;
  second.src = source(lead) || first.src;
  stage.dataset.mode = lead ? mode : "alone";
  said.textContent = [...card.querySelectorAll("p, .missing")].map((part) => part.textContent).join(" · ");
  viewer.querySelectorAll(".comparing").forEach((button) => {
    button.hidden = !lead;
    button.setAttribute("aria-pressed", String(button.textContent.startsWith(stage.dataset.mode)));
  });
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

const MODES = { b: "beside", f: "flicker", d: "difference" };

export function press(key) {
  if (key === "Escape") viewer.close();
  else if (key in MODES) show(stage.dataset.mode === MODES[key] ? "alone" : MODES[key]);
  else if (key === "ArrowLeft" || key === "ArrowRight") {
    at = (at + (key === "ArrowLeft" ? cards.length - 1 : 1)) % cards.length;
    show(stage.dataset.mode);
  } else return false;
  return true;
}

document.addEventListener("click", (event) => {
  const picture = event.target.closest(".card .picture");
  if (picture && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
    event.preventDefault();
    const card = picture.closest(".card");
    cards = [...card.closest(".grid").querySelectorAll(".card:not([hidden])")];
    at = cards.indexOf(card);
    show("alone");
    viewer.showModal();
  }
});
viewer.addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && press(event.key)) event.preventDefault();
});
viewer.addEventListener("click", (event) => {
  const button = event.target.closest("[data-key]");
  if (button) press(button.dataset.key);
  else if (event.target === viewer) viewer.close();
});
viewer.addEventListener("close", () => clearInterval(flickering));

// -- the filter -------------------------------------------------------------------------------------------------------

const filter = document.querySelector("#filter");
const count = document.querySelector("#count");

function narrow() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const section of document.querySelectorAll("main section")) {
    const title = section.querySelector("h2")?.textContent ?? "";
    let here = 0;
    for (const card of section.querySelectorAll(".card")) {
      const text = `${title} ${card.querySelector(".picture").title} ${card.textContent}`.toLowerCase();
      card.hidden = !words.every((word) => text.includes(word));
      here += !card.hidden;
    }
    section.hidden = here === 0 && words.length > 0;
    shown += here;
  }
  count.value = words.length ? `${shown} of ${document.querySelectorAll(".card").length} pictures` : "";
}

filter?.addEventListener("input", narrow);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && filter && document.activeElement !== filter && !viewer.open) {
    event.preventDefault();
    filter.focus();
  }
});
