/** `carom backend-setup FILE`: what each backend needs, with an agent and without. */
import { Command, InvalidArgumentError } from "commander";
import { type IpAddress, parseIp } from "../net/address.ts";

export const backendSetupCommand = (): Command =>
  new Command("backend-setup")
    .description("print what a backend needs, with an agent or without")
    .argument("<file>", "of a director")
    .argument("[backend]", "POOL/NAME or address; all of them without")
    .option("-d, --director <address...>", "where outer headers come from", addresses)
    .option("-i, --interface <name>", "of the backend", "eth0")
    .addHelpText(
      "after",
      `
Changes nothing. Per backend: the file of its agent, then the commands that do
without one by native Linux devices, and what the backend must not do. It takes
the addresses of all directors, since their outer headers come from those:

  carom backend-setup director.yaml web/web-1 -d 198.51.100.2 -d 198.51.100.3`,
    )
    .action(
      async (
        file: string,
        wanted: string | undefined,
        options: { readonly director?: readonly IpAddress[]; readonly interface: string },
      ) => {
        const { readDirectorConfig, ConfigError, formatIssue } = await import("../config/read.ts");
        const { backendSetup, backendUses, isNamed } = await import("../plan/backend-setup.ts");
        try {
          const config = await readDirectorConfig(file);
          const all = backendUses(config);
          const uses = wanted === undefined ? all : all.filter((use) => isNamed(use, wanted));
          if (uses.length === 0) {
            const known = all.flatMap(({ members }) => members).join(", ") || "none";
            throw new Error(`No backend of ${file} is ${wanted ?? "there"}; it has ${known}`);
          }
          const { director: directors = [], interface: name } = options;
          const texts = uses.map((use) =>
            backendSetup(config, use, { directors, interface: name }),
          );
          console.log(texts.join("\n"));
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          for (const issue of error.issues) console.error(formatIssue(issue));
          process.exitCode = 2;
        }
      },
    );

function addresses(text: string, before: readonly IpAddress[] = []): readonly IpAddress[] {
  const address = parseIp(text);
  if (address === undefined) throw new InvalidArgumentError("An IPv4 or IPv6 address is needed.");
  return [...before, address];
}
