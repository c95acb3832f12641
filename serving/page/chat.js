// One model's answer to one prompt, as it comes.

import { Pieces } from "./pieces.js";
import { ask, Refused } from "./server.js";
import { events } from "./stream.js";

// Yields { pieces, tokens, reason, usage } for each event: new pieces, how many tokens came, and, once they are told,
// why the answer ended and how many tokens it has.
export async function* chat({ model, prompt, temperature, maxTokens }, signal) {
  const body = {
    model,
    messages: [{ role: "user", content: prompt }],
    temperature,
    max_tokens: maxTokens,
    stream: true,
    stream_options: { include_usage: true },
    logprobs: true,
  };
  const response = await ask("v1/chat/completions", { body, signal });
  const pieces = new Pieces();
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Refused(event.error.message);
    const choice = event.choices?.[0] ?? {};
    const told = choice.logprobs?.content?.length;
    const tokens = told ?? (choice.delta?.content ? 1 : 0);
    yield { pieces: pieces.of(choice), tokens, reason: choice.finish_reason, usage: event.usage?.completion_tokens };
  }
  throw new Refused("The answer broke off: the server closed the stream before its end.");
}
