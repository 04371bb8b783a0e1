// A file that was written: its cards open in the viewer, and the filter hides cards. The viewer is in the same script.

const ofCard = (card) => ({
  source: card.querySelector("img")?.src ?? "",
  name: card.querySelector(".name").textContent,
  said: [...card.querySelectorAll("p, .missing")].map((part) => part.textContent).join(" · "),
});

document.addEventListener("click", (event) => {
  const picture = event.target.closest(".card .picture");
  if (!picture || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const grid = picture.closest(".grid");
  const cards = [...grid.querySelectorAll(".card:not([hidden])")];
  const items = cards.map(ofCard);
  const lead = grid.querySelector(".lead");
  const compared = lead === null ? null : items[cards.indexOf(lead)] ?? ofCard(lead);
  openViewer(items, cards.indexOf(picture.closest(".card")), compared);
});

const filter = document.querySelector("#filter");
const count = document.querySelector("#count");

filter.addEventListener("input", () => {
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
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== filter && !document.querySelector("#viewer").open) {
    event.preventDefault();
    filter.focus();
  }
});

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
