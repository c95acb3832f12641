// How fast an answer comes: its tokens, when the first was there, and how many a second came after it.

export class Figures {
  #began = performance.now();
  #first = null;
  #last = null;
  tokens = 0;

  // So many tokens came just now.
  count(tokens) {
    if (!tokens) return;
    this.tokens += tokens;
    this.#last = performance.now();
    this.#first ??= this.#last;
  }

  // Seconds from the request to the first token; null before.
  get wait() {
    return this.#first === null ? null : (this.#first - this.#began) / 1000;
  }

  // Tokens a second from the first to the last; null where there is no span between two.
  get rate() {
    const span = (this.#last - this.#first) / 1000;
    return this.tokens > 1 && span > 0 ? (this.tokens - 1) / span : null;
  }
}

export const inSeconds = (value) => (value === null ? "–" : `${value.toFixed(value < 10 ? 2 : 1)} s`);
export const aSecond = (value) => (value === null ? "–" : value.toFixed(value < 10 ? 2 : 1));
export const inPercent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
