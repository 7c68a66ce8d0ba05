/**
 * The HTTP server of a backend, and the process that holds its node: `server-main NAME PORT`. Says
 * its name, or sends the download; ends when its stdin does. It starts before its node has
 * interfaces, so it listens on all addresses.
 */
import { createServer } from "node:http";
import { flushCompileCache } from "node:module";
import { downloadBody } from "./download.ts";

const [name = "", port = ""] = process.argv.slice(2);
const download = downloadBody();
const greeting = Buffer.from(`${name}\n`);

const server = createServer((request, response) => {
  response.setHeader("x-backend", name);
  switch (request.url) {
    case "/":
      response.setHeader("content-type", "text/plain");
      response.setHeader("content-length", greeting.length);
      response.end(greeting);
      return;
    case "/download":
      response.setHeader("content-type", "application/octet-stream");
      response.setHeader("content-length", download.length);
      response.end(download);
      return;
    default:
      response.statusCode = 404;
      response.end("GET / or /download\n");
  }
});
// Clients decide when a connection ends.
server.keepAliveTimeout = 0;
server.listen({ port: Number(port), host: "::", backlog: 4096 });

process.stdin.on("end", () => process.exit()).resume();
// It will be killed, which would lose the cache.
flushCompileCache();
