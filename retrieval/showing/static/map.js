// A map: a dot for each picture, and the pictures themselves where there is room. Drag to move, wheel or + and - to zoom.

const DOT = 3; // pixels
const ROOM = 300; // number of pictures in view up to which they are drawn themselves
const SIDE = 56; // their longer side, in pixels
const NEAR = 14; // distance at which the pointer takes a dot, in pixels

// `picture(number)` returns the loaded image of a point or null; `said(number)` its name; `open(number)` shows it.
export function drawMap(canvas, xs, ys, { picture, said, open }) {
  const context = canvas.getContext("2d");
  const label = canvas.parentElement.querySelector(".label");
  const view = { x: 0, y: 0, zoom: 1 };
  let drawing = false;

  const scale = () => (Math.min(canvas.clientWidth, canvas.clientHeight) / 2.1) * view.zoom;
  const place = (number) => [
    canvas.clientWidth / 2 + (xs[number] - view.x) * scale(),
    canvas.clientHeight / 2 - (ys[number] - view.y) * scale(),
  ];

  function draw() {
    drawing = false;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.fillStyle = getComputedStyle(canvas).color;
    const seen = [];
    for (let number = 0; number < xs.length; number += 1) {
      const [x, y] = place(number);
      if (x < -SIDE || y < -SIDE || x > width + SIDE || y > height + SIDE) continue;
      if (seen.length <= ROOM) seen.push([number, x, y]);
      context.fillRect(x - DOT / 2, y - DOT / 2, DOT, DOT);
    }
    if (seen.length > ROOM) return;
    for (const [number, x, y] of seen) {
      const image = picture(number);
      if (!image?.naturalWidth) continue;
      const share = SIDE / Math.max(image.naturalWidth, image.naturalHeight);
      const [w, h] = [image.naturalWidth * share, image.naturalHeight * share];
      context.drawImage(image, x - w / 2, y - h / 2, w, h);
    }
  }

  function redraw() {
    if (!drawing) requestAnimationFrame(draw);
    drawing = true;
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const [across, up] = [x - canvas.clientWidth / 2, canvas.clientHeight / 2 - y];
    const before = scale();
    view.zoom = Math.min(Math.max(view.zoom * factor, 0.5), 2000);
    view.x += across / before - across / scale();
    view.y += up / before - up / scale();
    redraw();
  }

  function nearest(x, y) {
    let [best, least] = [-1, NEAR];
    for (let number = 0; number < xs.length; number += 1) {
      const [a, b] = place(number);
      const distance = Math.hypot(a - x, b - y);
      if (distance < least) [best, least] = [number, distance];
    }
    return best;
  }

  let dragged = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    dragged = { x: event.offsetX, y: event.offsetY, far: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (dragged) {
      const [dx, dy] = [event.offsetX - dragged.x, event.offsetY - dragged.y];
      if (!dragged.far && Math.hypot(dx, dy) < 4) return;
      view.x -= dx / scale();
      view.y += dy / scale();
      dragged = { x: event.offsetX, y: event.offsetY, far: true };
      redraw();
      return;
    }
    const number = nearest(event.offsetX, event.offsetY);
    label.hidden = number < 0;
    if (number < 0) return;
    const image = picture(number);
    label.replaceChildren(...(image ? [image.cloneNode()] : []), said(number));
    const [x, y] = place(number);
    label.style.left = `${Math.min(x + 12, canvas.clientWidth - 190)}px`;
    label.style.top = `${Math.min(y + 12, canvas.clientHeight - 40)}px`;
  });
  canvas.addEventListener("pointerup", (event) => {
    const number = dragged?.far ? -1 : nearest(event.offsetX, event.offsetY);
    dragged = null;
    if (number >= 0) open(number);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = 60 / scale();
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key === "+" || event.key === "=") zoom(1.3);
    else if (event.key === "-") zoom(1 / 1.3);
    else if (event.key in moves) {
      view.x += moves[event.key][0];
      view.y += moves[event.key][1];
      redraw();
    } else return;
    event.preventDefault();
  });
  new ResizeObserver(redraw).observe(canvas);
  redraw();
  return redraw;
}

// -- the map of a file that was written: its pictures are the cards below it ---------------------------------------------

const data = document.querySelector("#points");
if (data) {
  const { xs, ys, names } = JSON.parse(data.textContent);
  const shown = document.querySelectorAll(".card");
  const loaded = (image) => {
    if (image?.loading === "lazy") {
      image.loading = "eager";
      image.addEventListener("load", () => redraw(), { once: true });
    }
    return image;
  };
  const redraw = drawMap(document.querySelector("#map"), xs, ys, {
    picture: (number) => loaded(shown[number]?.querySelector("img") ?? null),
    said: (number) => names[number],
    open: (number) => shown[number]?.querySelector(".picture").click(),
  });
}
