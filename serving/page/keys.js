// The key that this server may ask for: its form, and where it is kept, which is this tab alone.

import { byId } from "./dom.js";

const KEPT = "tutelage-key";
const form = byId("key");
const input = byId("key-input");

export const key = () => sessionStorage.getItem(KEPT);

// The server wants a key, or another one: in its words.
export function askForKey(reason) {
  byId("key-words").textContent = reason;
  if (!form.hidden) return;
  form.hidden = false;
  input.focus();
}

// Calls back when a key is given; whether it is right, only the server knows.
export function onKey(given) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEPT, input.value);
    input.value = "";
    form.hidden = true;
    given();
  });
}
