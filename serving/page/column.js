// One model's column: its answer as it comes, its figures, and how it ended.

import { chat } from "./chat.js";
import { element } from "./dom.js";
import { aSecond, Figures, inSeconds } from "./figures.js";
import { Shaded } from "./shaded.js";
import { trouble } from "./server.js";

let made = 0;

export class Column {
  #model;
  #answer;
  #state = element("p", { className: "state", textContent: "waiting for the first token" });
  #tokens = element("dd", { textContent: "0" });
  #rate = element("dd", { textContent: "–" });
  #wait = element("dd", { textContent: "–" });

  constructor(model) {
    this.#model = model;
    this.#answer = new Shaded(`What ${model} says`);
    const title = element("h2", { id: `column-${(made += 1)}`, textContent: model });
    const figure = (name, value) => element("div", {}, element("dt", { textContent: name }), value);
    this.element = element(
      "article",
      { className: "column" },
      title,
      this.#answer.element,
      this.#answer.told,
      this.#state,
      element(
        "dl",
        { className: "figures" },
        figure("tokens", this.#tokens),
        figure("tokens/s", this.#rate),
        figure("first token", this.#wait),
      ),
    );
    this.element.setAttribute("aria-labelledby", title.id);
  }

  shade(on) {
    this.#answer.shade(on);
  }

  // Ask, show, and tell in the end how it went, in a few words.
  async answer(settings, signal) {
    const figures = new Figures();
    let reason;
    try {
      for await (const event of chat({ model: this.#model, ...settings }, signal)) {
        this.#answer.add(event.pieces);
        figures.count(event.tokens);
        figures.tokens = event.usage ?? figures.tokens;
        reason = event.reason ?? reason;
        this.#show(figures);
      }
      this.#state.textContent = inWords(reason, settings.maxTokens);
    } catch (error) {
      const words = trouble(error);
      this.#state.textContent = words ?? "stopped";
      this.#state.classList.toggle("trouble", words !== undefined);
      if (words !== undefined) return `${this.#model}: failed`;
    }
    return `${this.#model}: ${this.#state.textContent}`;
  }

  #show(figures) {
    this.#tokens.textContent = String(figures.tokens);
    this.#rate.textContent = aSecond(figures.rate);
    this.#wait.textContent = inSeconds(figures.wait);
    if (figures.tokens) this.#state.textContent = "answering";
  }
}

function inWords(reason, maxTokens) {
  const known = { stop: "finished", length: `cut off at the limit of ${maxTokens} tokens` };
  return known[reason] ?? `ended: ${reason ?? "the server does not say why"}`;
}
