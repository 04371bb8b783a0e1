// What the index is, what could not be read, and what was done with files.

import { call, follow } from "./jobs.js";

const find = (selector) => document.querySelector(selector);
const PAGE = 100;

function entry(list, text) {
  const item = document.createElement("li");
  item.textContent = text;
  list.append(item);
}

async function showFacts() {
  const info = await call("/info");
  const facts = {
    Images: info.images.toLocaleString("en"), Network: info.backbone, "Numbers per vector": info.dim,
    Offline: info.offline, "Could not be read": info.failures, Size: `${(info.bytes / 1e6).toFixed(1)} MB`,
  };
  find("#facts").replaceChildren(...Object.entries(facts).map(([name, value]) => {
    const [pair, term, said] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
    [term.textContent, said.textContent] = [name, value];
    pair.append(term, said);
    return pair;
  }));
  find("#folders").replaceChildren();
  for (const root of info.roots) {
    entry(find("#folders"), `${root.path}: ${root.images.toLocaleString("en")} files${root.reachable ? "" : " (away)"}`);
  }
  find("#failed").hidden = !info.failures;
}

async function showFailures() {
  const list = find("#failures");
  const some = await call(`/failures?offset=${list.children.length}&k=${PAGE}`);
  for (const { path, reason } of some) entry(list, `${path}: ${reason}`);
  find("#more").hidden = some.length < PAGE;
}

async function showJournal() {
  const list = find("#journal");
  list.replaceChildren();
  for (const { run, time, kind, path, undone } of await call("/journal")) {
    entry(list, `run ${run}, ${time.slice(0, 16).replace("T", " ")}: ${kind} ${path}${undone ? " (undone)" : ""}`);
  }
  if (!list.children.length) entry(list, "nothing");
}

async function show() {
  find("#failures").replaceChildren();
  await Promise.all([showFacts(), showFailures(), showJournal()]);
}

find("#more").addEventListener("click", showFailures);
find("#update")?.addEventListener("click", async () => {
  try {
    await follow("update", find("#status"));
    find("#status").textContent = "The index is up to date.";
  } catch (error) {
    find("#status").textContent = error.message;
  }
  await show();
});
await show();
