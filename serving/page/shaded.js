// An answer whose pieces can be shaded by how likely the model found them, and be asked for it one by one.
//
// Shades are told by an underline too, so that no colour has to be seen. The answer is one stop on the way of the
// Tab key; the arrows step through its pieces.

import { element } from "./dom.js";
import { inPercent } from "./figures.js";

const STEPS = [0.1, 0.5, 0.9]; // below the first: likely-0

export class Shaded {
  #likelihoods = new WeakMap();
  #current = null;

  constructor(name) {
    this.element = element("div", { className: "answer words", role: "group", ariaLabel: name, dir: "auto" });
    this.told = element("p", { className: "told", hidden: true, ariaLive: "polite" });
    this.element.addEventListener("pointerover", ({ target }) => this.#tell(target));
    this.element.addEventListener("click", ({ target }) => this.#tell(target));
    this.element.addEventListener("keydown", (event) => this.#step(event));
  }

  add(pieces) {
    for (const { text, likelihood } of pieces) {
      const piece = element("span", { className: "piece", textContent: text });
      if (likelihood !== null) {
        piece.classList.add(`likely-${STEPS.filter((step) => likelihood >= step).length}`);
        this.#likelihoods.set(piece, likelihood);
      }
      this.element.append(piece);
    }
  }

  shade(on) {
    this.element.classList.toggle("shaded", on);
    this.told.hidden = !on;
    if (on) this.element.tabIndex = 0;
    else this.element.removeAttribute("tabindex");
  }

  #step(event) {
    const at = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key];
    if (!at || this.told.hidden) return;
    event.preventDefault();
    this.#tell(this.#current?.[at] ?? this.#current ?? this.element.firstElementChild);
  }

  #tell(piece) {
    const likelihood = this.#likelihoods.get(piece);
    if (this.told.hidden || likelihood === undefined) return;
    this.#current?.classList.remove("current");
    this.#current = piece;
    piece.classList.add("current");
    this.told.textContent = `“${piece.textContent.replaceAll("\n", "⏎")}” ${inPercent(likelihood)}`;
  }
}
