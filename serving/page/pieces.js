// An answer's text in pieces, each with the likelihood of the tokens that it is made of.
//
// What is shown is the text that the server sends. A token may hold a part of a character only, and then the text comes
// with a later one: such tokens wait, and the piece that they end in has the product of their likelihoods.

export class Pieces {
  #waiting = [];

  // [{ text, likelihood }] of a stream's choice; the likelihood is null where the server tells none.
  of(choice) {
    this.#waiting.push(...(choice.logprobs?.content ?? []));
    const text = choice.delta?.content ?? "";
    if (!text) return [];
    const tokens = this.#waiting;
    this.#waiting = [];
    if (tokens.map(({ token }) => token).join("") !== text) return [{ text, likelihood: product(tokens) }];
    return tokens.filter(({ token }) => token).map((one) => ({ text: one.token, likelihood: product([one]) }));
  }
}

function product(tokens) {
  return tokens.length ? Math.exp(tokens.reduce((sum, { logprob }) => sum + logprob, 0)) : null;
}
