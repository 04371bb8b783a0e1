// The map of the index. What is chosen with the lasso is shown below.

import { Grid } from "./grid.js";
import { API, call, follow } from "./jobs.js";
import { drawMap } from "./map.js";
import { openViewer } from "./viewer.js";

const KEPT = 2000; // pictures that stay loaded, the latest ones
const status = document.querySelector("#status");
const title = document.querySelector("#chosen");

async function points() {
  const { map } = await call("/jobs");
  if (map?.state !== "done") await follow("map", status);
  return call("/map");
}

const { keys, xs, ys, names } = await points().catch((error) => {
  status.textContent = error.message;
  return { keys: [], xs: [], ys: [], names: [] };
});
if (keys.length) status.textContent = `${keys.length} pictures`;

const loaded = new Map();
function picture(number) {
  let image = loaded.get(number);
  if (!image) {
    image = new Image();
    image.src = `${API}/images/${keys[number]}/thumbnail`;
    image.addEventListener("load", () => redraw());
    loaded.set(number, image);
    if (loaded.size > KEPT) loaded.delete(loaded.keys().next().value);
  }
  return image;
}

const item = (number) => ({ source: `${API}/images/${keys[number]}/picture`, name: names[number], said: names[number], key: keys[number] });
const grid = new Grid(document.querySelector("#grid"), {
  make: ({ number }, tile) => {
    const image = new Image();
    image.src = `${API}/images/${keys[number]}/thumbnail`;
    image.alt = names[number];
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = names[number];
    tile.href = `/?like=${keys[number]}`;
    tile.append(image, name);
  },
  more: async () => false,
});
const redraw = drawMap(document.querySelector("#map"), xs, ys, {
  picture,
  said: (number) => names[number],
  open: (number) => openViewer([item(number)], 0),
  choose: (numbers) => {
    title.textContent = `${numbers.length} pictures chosen`;
    grid.clear();
    grid.add(numbers.map((number) => ({ number, width: 1, height: 1 })));
  },
});
