// Ranks candidates for a user and prints them: `node rank.mjs --user 42 --candidates 50,100,181`.
// Exit codes: 0 done, 2 the input must be changed, 1 anything else.

import { parseArgs } from "node:util";

import { call, openRanking, RankingError } from "./loreline.mjs";

const USAGE = `usage: node rank.mjs --user ID --candidates ID,ID,... [options]
  --scenario NAME    movies by default
  --top-k N          only the best N; 0, the default, for all
  --address HOST     host:port of ranking; 127.0.0.1:50055 by default
  --timeout-ms MS    1000 by default
  --no-knowledge     score without any knowledge
  --json             print the response, or the error, as one JSON document`;

const OPTIONS = {
  user: { type: "string" },
  candidates: { type: "string" },
  scenario: { type: "string", default: "movies" },
  "top-k": { type: "string", default: "0" },
  address: { type: "string", default: "127.0.0.1:50055" },
  "timeout-ms": { type: "string", default: "1000" },
  "no-knowledge": { type: "boolean", default: false },
  json: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
};

function readArguments() {
  const { values } = parseArgs({ options: OPTIONS });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  for (const name of ["user", "candidates"]) {
    if (values[name] === undefined) throw new TypeError(`--${name} must be given`);
  }
  return { ...values, topK: wholeNumber(values, "top-k", 0), timeoutMs: wholeNumber(values, "timeout-ms", 1) };
}

function wholeNumber(values, name, least) {
  const number = Number(values[name]);
  if (!Number.isInteger(number) || number < least || number > 2 ** 31) {
    throw new TypeError(`--${name} must be a whole number from ${least}, is "${values[name]}"`);
  }
  return number;
}

function printList(response) {
  response.item_ids.forEach((id, place) => {
    const known = response.knowledge_used[place] ? "with knowledge" : "";
    console.log(`${String(place + 1).padStart(4)}  ${id.padEnd(20)} ${response.scores[place].toFixed(4)}  ${known}`);
  });
  if (response.unknown_item_ids.length) console.log(`unknown: ${response.unknown_item_ids.join(", ")}`);
  console.log(`model version ${response.model_version}, ${(response.timings?.total_ms ?? 0).toFixed(1)} ms in the service`);
}

function printError(error) {
  console.error(error.message);
  for (const { field, description } of error.violations) console.error(`  ${field}: ${description}`);
  if (error.retryAfterMs !== null) console.error(`  come again in ${error.retryAfterMs} ms`);
}

async function main() {
  let given;
  try {
    given = readArguments();
  } catch (error) {
    console.error(`${error.message}\n${USAGE}`);
    return 2;
  }
  const client = openRanking(given.address);
  try {
    const request = {
      user_id: given.user,
      scenario: given.scenario,
      candidate_item_ids: given.candidates.split(",").filter(Boolean),
      top_k: given.topK,
      use_knowledge: !given["no-knowledge"],
    };
    const response = await call(client, "Rank", request, given.timeoutMs);
    given.json ? console.log(JSON.stringify(response)) : printList(response);
    return 0;
  } catch (error) {
    if (!(error instanceof RankingError)) throw error;
    given.json ? console.log(JSON.stringify({ ...error, message: error.message })) : printError(error);
    return error.code === "INVALID_ARGUMENT" ? 2 : 1;
  } finally {
    client.close();
  }
}

process.exitCode = await main();
