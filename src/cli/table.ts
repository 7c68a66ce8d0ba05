/** Columns for people: a header in capitals, two spaces between, numbers to the right. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const numeric = header.map((_, column) =>
    rows.every((row) => /^-?\d+(\.\d+)?( %)?$/.test(row[column] ?? "")),
  );
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return numeric[column] === true ? cell.padStart(width) : cell.padEnd(width);
      })
      .join("  ")
      .trimEnd();
  return [line(header.map((title) => title.toUpperCase())), ...rows.map(line)].join("\n");
}
