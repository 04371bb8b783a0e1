// A map: a dot for each picture, and the pictures themselves where there is room. Drag to move, wheel or + and - to zoom.

const DOT = 3; // pixels
const ROOM = 300; // number of pictures in view up to which they are drawn themselves
const SIDE = 56; // their longer side, in pixels
const NEAR = 14; // distance at which the pointer takes a dot, in pixels

// `picture(number)` returns the image of a point or null; `said(number)` its name; `open(number)` shows it. If
// `choose(numbers)` is given, dragging with Shift chooses the points within a line.
export function drawMap(canvas, xs, ys, { picture, said, open, choose = null }) {
  const context = canvas.getContext("2d");
  const label = canvas.parentElement.querySelector(".label");
  const view = { x: 0, y: 0, zoom: 1 };
  let drawing = false;
  let line = []; // corners of the lasso, in pixels

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
    if (line.length) {
      context.beginPath();
      line.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
      context.strokeStyle = context.fillStyle;
      context.stroke();
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

  function enclosed() {
    const path = new Path2D();
    line.forEach(([x, y], number) => (number ? path.lineTo(x, y) : path.moveTo(x, y)));
    context.setTransform(1, 0, 0, 1, 0, 0);
    const found = [];
    for (let number = 0; number < xs.length; number += 1) {
      if (context.isPointInPath(path, ...place(number))) found.push(number);
    }
    return found;
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
    if (choose && event.shiftKey) line = [[event.offsetX, event.offsetY]];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (line.length) {
      line.push([event.offsetX, event.offsetY]);
      redraw();
      return;
    }
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
    if (line.length) {
      const found = enclosed();
      [line, dragged] = [[], null];
      redraw();
      choose(found);
      return;
    }
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
