/** The process that keeps a lab, `keeper-main [DIRECTOR.YAML]`: answers at its socket, and ends with the lab. */
import { Hono } from "hono";
import { type ApiSocket, serveSocket, SocketTakenError } from "../api/serve.ts";
import { formatIp } from "../net/address.ts";
import { type KeeperMessage, KEEPER_SOCKET, type KeptLab, type KeptNode } from "./kept-lab.ts";
import { Lab } from "./lab.ts";

const [directorConfig] = process.argv.slice(2);
const since = new Date().toISOString();
let lab: Lab | null = null;
let isUp = false;

/** Resolves when it is sent; nobody listens any more when whoever started us was killed. */
const tell = (message: KeeperMessage): Promise<void> =>
  new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => resolve());
    else resolve();
  });

function status(): KeptLab {
  return {
    pid: process.pid,
    state: isUp ? "up" : "starting",
    since,
    vips: lab?.vips ?? [],
    port: lab?.port ?? 0,
    nodes: lab === null ? [] : nodesOf(lab),
  };
}

const nodesOf = ({ network, backends }: Lab): readonly KeptNode[] =>
  Object.values(network.nodes).map(({ name, pid, spec }) => ({
    name: spec.name as KeptNode["name"],
    pid,
    addresses: spec.interfaces.flatMap(({ addresses }) =>
      addresses.map(({ address }) => formatIp(address)),
    ),
    runs: [
      ...(name === "director" ? ["carom director"] : []),
      ...backends.flatMap((backend) =>
        backend.node === name ? ["carom agent", `HTTP server ${backend.name}`] : [],
      ),
    ],
  }));

async function end(code: number): Promise<never> {
  await lab?.close();
  await socket.close();
  process.exit(code);
}

const app = new Hono();
app.get("/v1/status", (c) => c.json(status()));
app.put("/v1/down", async (c) => {
  await lab?.close();
  // After the answer has left.
  setImmediate(() => setTimeout(() => void end(0), 10));
  return c.json({ down: true });
});
let socket: ApiSocket;
try {
  socket = await serveSocket(app, KEEPER_SOCKET);
} catch (error) {
  const isTaken = error instanceof SocketTakenError;
  const why = "one is starting already; run carom lab down first";
  await tell({ error: isTaken ? `Cannot start a lab: ${why}` : (error as Error).message });
  process.exit(1);
}
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  process.once(signal, () => void end(0));
}

try {
  lab = await Lab.start(directorConfig === undefined ? {} : { directorConfig });
  await lab.client.knock(lab.vips, lab.port);
  isUp = true;
  await tell({ up: true });
} catch (error) {
  await tell({ error: (error as Error).message });
  await end(1);
}
