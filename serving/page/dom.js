// Elements with words in them. A text only ever becomes text: no markup is read from anywhere.

export const byId = (id) => document.getElementById(id);

// An element of these properties (`className`, `textContent`, ...) with these children.
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// What a model or a person wrote, with its line breaks.
export function words(text, kind = "") {
  return text
    ? element("div", { className: `words ${kind}`, dir: "auto", textContent: text })
    : element("p", { className: "hint", textContent: "no words" });
}
