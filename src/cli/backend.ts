/** `carom backend STATE POOL/NAME`: takes a backend out of a running director, or back in. */
import { Argument, Command } from "commander";
import { askDaemon, instanceOption, notRunning, refusal } from "./instance.ts";

/** The words operators use, and the state each sets. */
const verbs = { up: "up", down: "down", drain: "drained" } as const;

export const backendCommand = (): Command =>
  new Command("backend")
    .description("take a backend out, or back in")
    .addArgument(new Argument("<state>", "what it shall be").choices(Object.keys(verbs)))
    .argument("<pool/backend>", "which one")
    .addOption(instanceOption())
    .addHelpText(
      "after",
      `
A backend that is down or drained gets no packets; its share goes to the others,
and no flow of theirs moves. Until flows are handed on, its own flows break.
It stays so until it is set up again, also over restarts of the director.

Examples:
  carom backend down web/web-2
  carom backend up web/web-2`,
    )
    .action(async (verb: keyof typeof verbs, name: string, { instance }: { instance: string }) => {
      const [pool, backend] = name.split("/").map(encodeURIComponent);
      if (pool === undefined || backend === undefined || name.split("/").length !== 2) {
        console.error(`carom: Cannot tell pool and backend of "${name}": write POOL/BACKEND`);
        process.exitCode = 2;
        return;
      }
      const route = `/v1/pools/${pool}/backends/${backend}/state`;
      const answer = await askDaemon(instance, "director", "PUT", route, { state: verbs[verb] });
      if (answer === null) throw new Error(notRunning(instance, ["director"]));
      if (answer.status === 200) {
        const { changed } = answer.body as { readonly changed: boolean };
        console.log(`${name} is ${verbs[verb]}${changed ? "" : " already"}`);
        return;
      }
      console.error(`carom: ${refusal(answer)}`);
      process.exitCode = 1;
    });
