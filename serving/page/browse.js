// The second view: a run's tasks with their answers and judgements, filtered, a page at a time.

import { byId, element } from "./dom.js";
import { row } from "./row.js";
import { ask, trouble } from "./server.js";

const LIMIT = 10;
let offset = 0;
let total = 0;
let loading = new AbortController();
let soon;

export function start() {
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("filter").addEventListener("input", () => {
    clearTimeout(soon); // one request for a word, not for each letter: a key may have few
    soon = setTimeout(load, 250, 0);
  });
  byId("previous").addEventListener("click", () => turn(-LIMIT));
  byId("next").addEventListener("click", () => turn(LIMIT));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (byId("answers").hidden || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "j") move(1);
    if (event.key === "k") move(-1);
  });
}

// Show the rows from `from` on. What an earlier call still waits for is of no use any more.
export async function load(from = offset) {
  loading.abort();
  loading = new AbortController();
  const wanted = { offset: from, limit: LIMIT, category: byId("category").value, q: byId("text").value };
  try {
    const response = await ask(`v1/run/answers?${new URLSearchParams(wanted)}`, { signal: loading.signal });
    show(await response.json());
  } catch (error) {
    const words = trouble(error);
    if (words !== undefined) show({ about: words, categories: [], total: 0, offset: 0, rows: [] });
  }
}

function show(slice) {
  ({ offset, total } = slice);
  byId("about").textContent = slice.about;
  const last = offset + slice.rows.length;
  byId("found").textContent = total ? `${offset + 1} to ${last} of ${total}` : "No rows.";
  byId("rows").replaceChildren(...slice.rows.map((shown, n) => row(shown, `${offset + n + 1} of ${total}`)));
  byId("previous").disabled = offset === 0;
  byId("next").disabled = last >= total;
  offer(slice.categories);
}

function offer(categories) {
  const select = byId("category");
  if (select.options.length > 1) return; // of all rows, so they stay the same
  select.append(...categories.map((name) => element("option", { value: name, textContent: name })));
}

async function turn(by) {
  await load(Math.max(0, offset + by));
  (by > 0 ? byId("rows").firstElementChild : byId("rows").lastElementChild)?.focus();
}

// To the next row or the one before, over a page's end too.
function move(by) {
  const rows = [...byId("rows").children];
  const at = rows.indexOf(document.activeElement?.closest(".row"));
  const to = at < 0 ? 0 : at + by;
  if (rows[to]) rows[to].focus();
  else if (to < 0 ? offset > 0 : offset + rows.length < total) turn(by * LIMIT);
}
