/** The demo's live table and its summary as lines of at most 79 columns. Pure. */
import type { BackendFigures, DemoFigures } from "./demo-state.ts";
import { formatBytes, formatCount, formatSeconds, formatShare } from "./figures.ts";
import type { PromiseResult } from "./promises.ts";
import type { Style } from "./style.ts";

const BAR_COLUMNS = 12;
const LABEL_COLUMNS = 14;

/** The table while the demo runs. Always of the same height, so that it can be drawn in place. */
export function drawLive(figures: DemoFigures, totalS: number, style: Style): readonly string[] {
  const { bold, dim, good, bad } = style;
  const { latency } = figures;
  const errors = Object.values(figures.errors).reduce((sum, count) => sum + count, 0);
  const line = (label: string, text: string): string =>
    `  ${dim(label.padEnd(LABEL_COLUMNS))}${text}`;
  return [
    line("time", `${bold(formatSeconds(figures.elapsedS))} of ${totalS} s   ${eventText(figures)}`),
    line(
      "requests",
      [
        `${bold(formatCount(figures.requestsPerSecond))} a second`,
        ...(latency === null
          ? []
          : [`p50 ${formatMs(latency.p50Ms)}, p99 ${formatMs(latency.p99Ms)}`]),
        errors === 0 ? good("0 errors") : bad(`${errors} errors`),
      ].join("   "),
    ),
    line(
      "kept open",
      `${figures.keptOpen} connections   ${figures.keptBroken === 0 ? good("0 broken") : bad(`${figures.keptBroken} broken`)}   ${figures.keptMoved} moved with their backend`,
    ),
    "",
    dim(
      columns(
        "backend",
        "state",
        "weight",
        "flows",
        "now".padEnd(BAR_COLUMNS),
        "",
        "packets",
        "bytes",
      ),
    ),
    ...figures.backends.map((backend) => backendLine(backend, style)),
    "",
    line(
      "director",
      `${formatCount(figures.packets)} packets, ${formatCount(figures.dropped)} dropped`,
    ),
    line(
      "",
      `in ${formatBytes(figures.directorInBytes)} by its counters, out ${bold(formatBytes(figures.directorOutBytes))} by tx_bytes of eth0`,
    ),
    line("client", `in ${bold(formatBytes(figures.clientInBytes))} by rx_bytes of eth0`),
    line(
      "bypass",
      `the director sent ${bold(formatShare(bypassShare(figures)))} of what the client received`,
    ),
    line("program", costText(figures, style)),
  ];
}

function backendLine(backend: BackendFigures, { dim, good, bad }: Style): string {
  const filled = Math.round(backend.flowShareNow * BAR_COLUMNS);
  const state = backend.state.padEnd(5);
  return columns(
    backend.name,
    backend.state === "up" ? good(state) : bad(state),
    formatShare(backend.weightShare),
    formatShare(backend.flowShare),
    "█".repeat(filled) + dim("░".repeat(BAR_COLUMNS - filled)),
    formatShare(backend.flowShareNow),
    formatCount(backend.packets),
    formatBytes(backend.bytes),
  );
}

/** `state` and `bar` come as wide as they are shown: they may hold escape codes. */
const columns = (
  name: string,
  state: string,
  weight: string,
  flows: string,
  bar: string,
  now: string,
  packets: string,
  bytes: string,
): string =>
  [
    `  ${name.padEnd(9)} `,
    state,
    weight.padStart(8),
    flows.padStart(9),
    `  ${bar}`,
    now.padStart(8),
    packets.padStart(12),
    bytes.padStart(10),
  ].join("");

function eventText({ events }: DemoFigures): string {
  const last = events.at(-1);
  return last === undefined
    ? "all backends are up"
    : `${last.text} since ${formatSeconds(last.atS)}`;
}

function costText({ nsPerPacket, nsPerPacketEmpty }: DemoFigures, { bold }: Style): string {
  if (nsPerPacket === null || nsPerPacketEmpty === null) return "not run yet";
  const own = Math.max(0, nsPerPacket - nsPerPacketEmpty);
  return `${bold(`${own.toFixed(0)} ns`)} a packet: ${nsPerPacket.toFixed(0)}, less ${nsPerPacketEmpty.toFixed(0)} that an empty program takes`;
}

const bypassShare = ({ directorOutBytes, clientInBytes }: DemoFigures): number =>
  clientInBytes === 0 ? 0 : directorOutBytes / clientInBytes;

/** The end: what was promised and what came of it. */
export function drawSummary(promises: readonly PromiseResult[], style: Style): readonly string[] {
  const columns = Math.max(...promises.map(({ name }) => name.length));
  return promises.flatMap(({ name, held, detail }) => {
    const mark = held ? style.good("✓") : style.bad("✗");
    const [first = "", ...rest] = wrap(detail, 79 - columns - 6);
    return [
      `  ${mark} ${style.bold(name.padEnd(columns))}  ${first}`,
      ...rest.map((line) => " ".repeat(columns + 6) + line),
    ];
  });
}

function wrap(text: string, columns: number): readonly string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > columns) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

const formatMs = (ms: number): string => `${ms.toFixed(1)} ms`;
