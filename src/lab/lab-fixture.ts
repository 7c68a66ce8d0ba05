/** What the lab's end-to-end tests share. */
import { text } from "node:stream/consumers";
import { formatIp } from "../net/address.ts";
import { compileCacheFolder } from "./compile-cache.ts";
import { flowOwner, type TcpFlow } from "./flow-owner.ts";
import type { Lab } from "./lab.ts";
import { addressOf } from "./topology.ts";

// As `carom lab` does it: each lab is a dozen processes of the same sources.
const cache = compileCacheFolder();
if (cache !== null) process.env["NODE_COMPILE_CACHE"] ??= cache;

export const skip: string | false =
  process.getuid?.() === 0 ? false : "needs root to create network namespaces";

/** Gives flows from the client to a VIP of `family` that fall to `backend`, another one each time. */
export async function flowsTo(lab: Lab): Promise<(backend: string, family: 4 | 6) => TcpFlow> {
  const owner = await flowOwner(lab.config);
  let clientPort = 40_000;
  return (backend, family) => {
    const client = formatIp(addressOf(lab.network.topology.nodes.client, family));
    const vip = lab.vips.find((candidate) => candidate.includes(":") === (family === 6)) ?? "";
    for (;;) {
      const flow = { client, clientPort: clientPort++, vip, vipPort: lab.port };
      if (owner(flow) === backend) return flow;
    }
  };
}

/** Asks for `/` by just this flow; gives what was said, or the error's code. */
export async function visit(lab: Lab, flow: TcpFlow, withinMs = 5000): Promise<string> {
  const code = `
    const [host, port, localPort, timeout] = process.argv.slice(1);
    const socket = require("node:net").connect({ host, port, localPort: Number(localPort) });
    let said = "";
    const end = (text) => { console.log(text); process.exit(); };
    setTimeout(() => end("timeout"), Number(timeout));
    socket.on("error", (error) => end(error.code));
    socket.on("data", (data) => { said += data; });
    socket.on("end", () => end(said.split("\\r\\n\\r\\n")[1].trim()));
    socket.write("GET / HTTP/1.1\\r\\nhost: lab\\r\\nconnection: close\\r\\n\\r\\n");`;
  const argv = [
    process.execPath,
    "--eval",
    code,
    flow.vip,
    flow.vipPort,
    flow.clientPort,
    withinMs,
  ];
  const child = lab.network.nodes.client.spawn(argv.map(String), {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return child.stdout === null ? "" : (await text(child.stdout)).trim();
}
