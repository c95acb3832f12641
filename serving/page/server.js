// Asking the server, with the key where there is one. What it refuses, it refuses in its own words.

import { askForKey, key } from "./keys.js";

export class Refused extends Error {}

// The response to a request, as soon as its head is there. With a body it is a POST.
export async function ask(path, { body, signal } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  const method = body ? "POST" : "GET";
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  if (response.ok) return response;
  const words = await wordsOf(response);
  if (response.status === 401) askForKey(words);
  throw new Refused(words);
}

// What went wrong, for a person to read; undefined where the person has stopped it.
export function trouble(error) {
  if (error.name === "AbortError") return undefined;
  return error instanceof Refused ? error.message : `The connection broke: ${error.message}`;
}

async function wordsOf(response) {
  const text = await response.text();
  const wait = response.headers.get("Retry-After");
  const told = messageIn(text) || text || response.statusText;
  return `${response.status}: ${told}${wait ? ` (Retry-After: ${wait} s)` : ""}`;
}

function messageIn(text) {
  try {
    return JSON.parse(text).error?.message;
  } catch {
    return undefined; // a proxy between us need not speak JSON
  }
}
