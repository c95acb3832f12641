// The first view: a prompt, and all models that answer it, side by side.

import { Column } from "./column.js";
import { byId, element } from "./dom.js";
import { ask, trouble } from "./server.js";

const form = byId("ask");
const progress = byId("progress");
let columns = [];
let asking = new AbortController();

export function start() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") asking.abort();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.contains(event.target)) form.requestSubmit();
  });
  byId("stop").addEventListener("click", () => {
    asking.abort();
    byId("prompt").focus(); // the button is about to be disabled, and would lose the focus
  });
  byId("shade").addEventListener("change", shade);
}

// Which models there are, where that is not known yet; all take part until they are unticked.
export async function list() {
  if (form.elements.model) return;
  const legend = byId("models").firstElementChild;
  try {
    const { data } = await (await ask("v1/models")).json();
    const choices = data.map(({ id }) =>
      element(
        "label",
        { className: "check" },
        element("input", { type: "checkbox", name: "model", value: id, checked: true }),
        ` ${id}`,
      ),
    );
    byId("models").replaceChildren(legend, ...choices);
  } catch (error) {
    byId("models").replaceChildren(legend, element("p", { className: "trouble", textContent: trouble(error) }));
  }
}

async function send() {
  const models = [...form.querySelectorAll("input[name=model]:checked")].map(({ value }) => value);
  if (!models.length) {
    progress.textContent = "Choose a model.";
    return;
  }
  asking.abort();
  const mine = (asking = new AbortController());
  columns = models.map((model) => new Column(model));
  byId("columns").replaceChildren(...columns.map((column) => column.element));
  shade();
  byId("stop").disabled = false;
  progress.textContent = models.length === 1 ? "1 model answers." : `${models.length} models answer.`;
  const settings = {
    prompt: byId("prompt").value,
    temperature: byId("temperature").valueAsNumber,
    maxTokens: byId("max-tokens").valueAsNumber,
  };
  const ended = await Promise.all(columns.map((column) => column.answer(settings, mine.signal)));
  if (mine !== asking) return; // asked again in the meantime
  progress.textContent = `${ended.join("; ")}.`;
  byId("stop").disabled = true;
}

function shade() {
  const on = byId("shade").checked;
  byId("legend").hidden = !on;
  for (const column of columns) column.shade(on);
}
