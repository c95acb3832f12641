// One row of the second view: a task, what all models said, and what a judge thought of it.

import { element, words } from "./dom.js";

const RESULTS = {
  win: ["✓", "won against"],
  loss: ["✗", "lost against"],
  tie: ["=", "tied with"],
  unscored: ["?", "has no verdict against"],
};

export function row(shown, place) {
  const head = element("p", { className: "place" }, place, shown.category && ` · ${shown.category}`);
  const made = element("article", { className: "row", tabIndex: -1, ariaLabel: place }, head, words(shown.prompt, "task"));
  const answers = shown.answers.map(({ model, text, facts }) => said(model, text, facts));
  if (shown.reference) answers.push(said("reference", shown.reference, []));
  made.append(element("div", { className: "columns" }, ...answers), ...shown.judgements.map(judgement));
  made.append(element("p", { className: "hint" }, element("code", { textContent: shown.id })));
  return made;
}

function said(name, text, facts) {
  const measured = element("p", { className: "hint", textContent: facts.join(" · ") });
  return element("div", { className: "column" }, element("h2", { textContent: name }), words(text), measured);
}

function judgement({ model, baseline, result, replies }) {
  const read = replies.filter(({ text }) => text);
  const head = [verdict(model, baseline, result), element("span", { className: "orders" }, ...replies.map(order))];
  if (!read.length) return element("div", { className: `judgement ${result}` }, ...head);
  const texts = read.map((reply) => element("div", { className: "reply" }, order(reply), words(reply.text)));
  const summary = element("summary", {}, ...head);
  return element("details", { className: `judgement ${result}` }, summary, ...texts);
}

function verdict(model, baseline, result) {
  const [sign, verb] = RESULTS[result] ?? ["", "by itself"];
  const mark = element("span", { className: "mark", textContent: sign, ariaHidden: "true" });
  return element("span", { className: "verdict" }, mark, ` ${model} ${verb} ${baseline}`);
}

function order({ order, says }) {
  return element("span", { className: "order", textContent: `${order}: ${says}` });
}
