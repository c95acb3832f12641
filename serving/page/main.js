// The page: which of its two views is shown, and what both need from the server.

import * as browse from "./browse.js";
import * as compare from "./compare.js";
import { byId } from "./dom.js";
import { onKey } from "./keys.js";

const VIEWS = { compare: compare.list, answers: browse.load };

function show() {
  const wanted = location.hash.slice(1);
  const name = wanted in VIEWS ? wanted : "compare";
  for (const each of Object.keys(VIEWS)) {
    byId(each).hidden = each !== name;
    document.querySelector(`nav a[href="#${each}"]`).ariaCurrent = each === name ? "page" : "false";
  }
  document.title = `${byId(`${name}-title`).textContent} · tutelage`;
  VIEWS[name]();
}

compare.start();
browse.start();
onKey(show);
addEventListener("hashchange", show);
show();
