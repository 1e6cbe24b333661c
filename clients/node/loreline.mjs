// The ranking service from its raw contracts: a client with the service config that all our clients share, promises
// with a deadline, and errors with their google.rpc details.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import protobuf from "protobufjs";

const REPOSITORY = new URL("../../", import.meta.url);
const PROTOS = fileURLToPath(new URL("protos", REPOSITORY));
const SERVICE_CONFIG = readFileSync(
  new URL("clients/python/loreline/client/service_config.json", REPOSITORY),
  "utf-8",
);
const KEEPALIVE_MS = 20_000;

const definition = loadSync("loreline/ranking/v1/ranking.proto", {
  includeDirs: [PROTOS],
  keepCase: true, // field names as in the contract
  enums: String,
  longs: Number,
  defaults: true,
});
const { RankingService } = grpc.loadPackageDefinition(definition).loreline.ranking.v1;
const details = protobuf.loadSync(fileURLToPath(new URL("status_details.proto", import.meta.url)));

/** A failed call: `code` is the status name, `violations` the fields to change, `retryAfterMs` when to come again. */
export class RankingError extends Error {
  constructor({ code, message, violations = [], reason = "", retryAfterMs = null }) {
    super(`${code}: ${message}`);
    Object.assign(this, { name: "RankingError", code, violations, reason, retryAfterMs });
  }
}

/** A client of the ranking service at `address`, which may be a DNS name of several. Close it when it is done. */
export function openRanking(address) {
  return new RankingService(address, grpc.credentials.createInsecure(), {
    "grpc.service_config": SERVICE_CONFIG,
    "grpc.initial_reconnect_backoff_ms": 100, // before a call's retries are used up
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_MS,
  });
}

/** The response of a unary method such as `Rank`, or a RankingError. The call ends after `timeoutMs`. */
export function call(client, method, request, timeoutMs) {
  return new Promise((resolve, reject) => {
    client[method](request, { deadline: Date.now() + timeoutMs }, (error, response) => {
      error ? reject(rankingError(error)) : resolve(response);
    });
  });
}

function rankingError(error) {
  const found = { code: grpc.status[error.code], message: error.details };
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
  for (const { typeUrl, value } of bytes ? decode("google.rpc.Status", bytes).details : []) {
    Object.assign(found, readDetail(typeUrl.split("/").at(-1), value));
  }
  return new RankingError(found);
}

function readDetail(name, value) {
  switch (name) {
    case "google.rpc.BadRequest":
      return { violations: decode(name, value).fieldViolations };
    case "google.rpc.ErrorInfo":
      return { reason: decode(name, value).reason };
    case "google.rpc.RetryInfo": {
      const { seconds = 0, nanos = 0 } = decode(name, value).retryDelay;
      return { retryAfterMs: seconds * 1000 + nanos / 1e6 };
    }
    default:
      return {};
  }
}

function decode(name, value) {
  const type = details.lookupType(name);
  return type.toObject(type.decode(value), { longs: Number, arrays: true });
}
