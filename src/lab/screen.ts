/** The demo's live table and its summary as lines, at most 79 columns wide. Pure. */
import type { BackendFigures, DemoFigures } from "./demo-state.ts";
import { formatBytes, formatCount, formatSeconds, formatShare } from "./figures.ts";
import type { PromiseResult } from "./promises.ts";
import type { Style } from "./style.ts";

const BAR_COLUMNS = 16;

/** The table while the demo runs. */
export function drawLive(figures: DemoFigures, totalS: number, style: Style): readonly string[] {
  const { latency } = figures;
  const errors = Object.values(figures.errors).reduce((sum, count) => sum + count, 0);
  const head = [
    style.bold(`${formatSeconds(figures.elapsedS)} of ${totalS} s`),
    `${style.bold(formatCount(figures.requestsPerSecond))} requests/s`,
    latency === null ? "" : `p50 ${formatMs(latency.p50Ms)}, p99 ${formatMs(latency.p99Ms)}`,
    errors === 0 ? style.good("errors 0") : style.bad(`errors ${errors}`),
  ];
  return [
    ` ${head.filter((part) => part !== "").join("   ")}`,
    "",
    style.dim(" backend  state    weight    flows    now                      packets    bytes"),
    ...figures.backends.map((backend) => backendLine(backend, style)),
    "",
    ...trafficLines(figures, style),
    ` kept connections  ${figures.keptOpen} open, ${brokenText(figures, style)}, ${figures.keptMoved} moved with their backend`,
  ];
}

function backendLine(backend: BackendFigures, style: Style): string {
  const filled = Math.round(backend.flowShareNow * BAR_COLUMNS);
  const bar = "█".repeat(filled) + style.dim("·".repeat(BAR_COLUMNS - filled));
  const state = backend.state.padEnd(7);
  return [
    ` ${backend.name.padEnd(8)}`,
    backend.state === "up" ? style.good(state) : style.bad(state),
    formatShare(backend.weightShare).padStart(7),
    formatShare(backend.flowShare).padStart(8),
    formatShare(backend.flowShareNow).padStart(7),
    bar,
    formatCount(backend.packets).padStart(11),
    formatBytes(backend.bytes).padStart(8),
  ].join(" ");
}

function trafficLines(figures: DemoFigures, style: Style): readonly string[] {
  const out = figures.directorOutBytes;
  const part = figures.clientInBytes === 0 ? 0 : out / figures.clientInBytes;
  const cost =
    figures.nsPerPacket === null
      ? "no packet yet"
      : `${style.bold(`${figures.nsPerPacket.toFixed(0)} ns`)} a packet in the director's program`;
  return [
    ` director in ${formatBytes(figures.directorInBytes)}, out ${formatBytes(out)}; client received ${style.bold(formatBytes(figures.clientInBytes))}`,
    ` answers bypass the director: it sent ${style.bold(formatShare(part))} of what the client received`,
    ` ${cost}, ${formatCount(figures.packets)} packets, ${formatCount(figures.dropped)} dropped`,
  ];
}

const brokenText = ({ keptBroken }: DemoFigures, style: Style): string =>
  keptBroken === 0 ? style.good("0 broken") : style.bad(`${keptBroken} broken`);

/** The end: what was promised and what came of it. */
export function drawSummary(
  figures: DemoFigures,
  promises: readonly PromiseResult[],
  style: Style,
): readonly string[] {
  const width = Math.max(...promises.map(({ name }) => name.length));
  return [
    ...promises.flatMap(({ name, held, detail }) => [
      ` ${held ? style.good("✓") : style.bad("✗")} ${style.bold(name.padEnd(width))}`,
      ...wrap(detail, 75).map((line) => `   ${line}`),
    ]),
    "",
    ` ${formatCount(figures.requests)} requests, ${formatCount(figures.downloads)} downloads of 1 MB`,
  ];
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
