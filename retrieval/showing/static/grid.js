// A grid of pictures in rows of one width, for any number of them: only the rows in view are elements of the page.

const ROW = 190; // wanted height of a picture, in pixels
const GAP = 8;
const CAPTION = 40; // height of the two lines below a picture
const AHEAD = 1.5; // screens above and below the one in view that are there already

export class Grid {
  // `more()` is called near the end, and returns a promise of whether something was added. `make(item, element)` fills
  // an element. An item has width and height.
  constructor(element, { make, more }) {
    Object.assign(this, { element, make, more, items: [], rows: [], shown: new Map(), asking: false, ended: false });
    new ResizeObserver(() => this.layout(true)).observe(element);
    addEventListener("scroll", () => this.soon(), { passive: true });
  }

  clear() {
    this.items = [];
    this.rows = [];
    this.ended = false;
    this.layout(true);
  }

  add(items) {
    this.items.push(...items);
    this.layout(false);
  }

  // Fill rows from the first item that is in no full row.
  layout(anew) {
    const width = this.element.clientWidth;
    if (!width) return;
    if (anew) {
      this.rows = [];
      this.shown.forEach((card) => card.remove());
      this.shown.clear();
    } else if (this.rows.length) {
      const last = this.rows.pop();
      for (let number = last.first; number < last.end; number += 1) this.drop(number);
    }
    let row = { first: this.rows.at(-1)?.end ?? 0, top: this.bottom() };
    let shares = 0;
    for (let number = row.first; number < this.items.length; number += 1) {
      const { width: w, height: h } = this.items[number];
      shares += Math.min(Math.max(w / h, 0.4), 4);
      const gaps = GAP * (number - row.first);
      if (shares * ROW + gaps >= width) {
        Object.assign(row, { end: number + 1, height: (width - gaps) / shares });
        this.rows.push(row);
        row = { first: number + 1, top: this.bottom() };
        shares = 0;
      }
    }
    if (row.first < this.items.length) this.rows.push({ ...row, end: this.items.length, height: ROW });
    this.element.style.height = `${this.bottom()}px`;
    this.soon();
  }

  bottom() {
    const last = this.rows.at(-1);
    return last ? last.top + last.height + CAPTION + GAP : 0;
  }

  soon() {
    if (!this.drawing) requestAnimationFrame(() => this.draw());
    this.drawing = true;
  }

  draw() {
    this.drawing = false;
    const screen = innerHeight;
    const above = -this.element.getBoundingClientRect().top;
    const [from, to] = [above - AHEAD * screen, above + (1 + AHEAD) * screen];
    const wanted = new Set();
    for (let at = this.rowAt(from); at < this.rows.length && this.rows[at].top < to; at += 1) {
      const row = this.rows[at];
      let left = 0;
      for (let number = row.first; number < row.end; number += 1) {
        const { width, height } = this.items[number];
        const wide = Math.min(Math.max(width / height, 0.4), 4) * row.height;
        wanted.add(number);
        if (!this.shown.has(number)) this.put(number, left, row.top, wide, row.height);
        left += wide + GAP;
      }
    }
    for (const number of [...this.shown.keys()]) if (!wanted.has(number)) this.drop(number);
    if (to > this.bottom() && !this.asking && !this.ended) this.ask();
  }

  async ask() {
    this.asking = true;
    try {
      this.ended = !(await this.more());
    } finally {
      this.asking = false;
    }
    if (!this.ended) this.soon();
  }

  // The first row that ends below a height.
  rowAt(height) {
    let [low, high] = [0, this.rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle].top + this.rows[middle].height + CAPTION < height) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  put(number, left, top, width, height) {
    const card = document.createElement("a");
    card.className = "tile";
    card.dataset.number = number;
    card.style.transform = `translate(${left}px, ${top}px)`;
    card.style.width = `${width}px`;
    card.style.setProperty("--height", `${height}px`);
    this.make(this.items[number], card);
    this.element.append(card);
    this.shown.set(number, card);
  }

  drop(number) {
    this.shown.get(number)?.remove();
    this.shown.delete(number);
  }
}
