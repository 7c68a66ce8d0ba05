/** Why the system did not open or read a file, as the end of a sentence. */
export function faultText(fault: unknown): string {
  const code = fault instanceof Error && "code" in fault ? String(fault.code) : "";
  switch (code) {
    case "ENOENT":
      return "it does not exist";
    case "ENOTDIR":
      return "a part of its path is not a directory";
    case "EISDIR":
      return "it is a directory";
    case "EACCES":
    case "EPERM":
      return `permission denied (running as uid ${process.geteuid?.()})`;
    case "ELOOP":
      return "its symbolic links form a loop";
    default:
      return fault instanceof Error ? fault.message : String(fault);
  }
}
