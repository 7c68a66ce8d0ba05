/**
 * The only file that knows the FFI. libc calls, on the main thread of their process only; everything
 * here blocks for as long as the system call does. Memory handed to the kernel is off the V8 heap
 * (`memory`), since the collector moves small typed arrays.
 */
import koffi from "koffi";

const libc = koffi.load("libc.so.6");

// glibc's syscall(2) and ioctl(2) are variadic; with a fixed prototype of register-sized arguments
// the calling conventions of x86-64 and arm64 are the same.
const calls = {
  syscall: libc.func("long syscall(long nr, long a, void *b, long c)"),
  open: libc.func("int open(const char *path, int flags, int mode)"),
  close: libc.func("int close(int fd)"),
  flock: libc.func("int flock(int fd, int operation)"),
  mmap: libc.func("void *mmap(void *at, size_t size, int prot, int flags, int fd, int64_t offset)"),
  getpagesize: libc.func("int getpagesize()"),
  munmap: libc.func("int munmap(void *at, size_t size)"),
  mount: libc.func(
    "int mount(const char *source, const char *target, const char *type, unsigned long flags, void *data)",
  ),
  setns: libc.func("int setns(int fd, int type)"),
  unshare: libc.func("int unshare(int flags)"),
  ioctl: libc.func("int ioctl(int fd, unsigned long request, void *argument)"),
  socket: libc.func("int socket(int domain, int type, int protocol)"),
  bind: libc.func("int bind(int fd, void *address, uint32_t size)"),
  send: libc.func("long send(int fd, void *data, size_t size, int flags)"),
  recv: libc.func("long recv(int fd, void *data, size_t size, int flags)"),
  recvfrom: libc.func(
    "long recvfrom(int fd, void *data, size_t size, int flags, void *address, void *addressSize)",
  ),
  setsockopt: libc.func("int setsockopt(int fd, int level, int name, void *value, uint32_t size)"),
  getsockopt: libc.func("int getsockopt(int fd, int level, int name, void *value, void *size)"),
};

/** A system call that failed. `code` is the errno's name (`EPERM`), `errno` its number. */
export class SystemError extends Error {
  readonly call: string;
  readonly errno: number;
  readonly code: string;

  constructor(call: string, errno: number) {
    const code = errnoName(errno);
    super(`${call} failed: ${code}`);
    this.name = "SystemError";
    this.call = call;
    this.errno = errno;
    this.code = code;
  }
}

type CallName = keyof typeof calls;
type Argument = number | bigint | string | Uint8Array | null;

/**
 * Calls libc and returns its result.
 * @throws {SystemError} when the result is negative
 */
export function call(name: CallName, ...args: Argument[]): number {
  const result = Number(calls[name](...args));
  if (result < 0) throw new SystemError(name, koffi.errno());
  return result;
}

/** Off-heap memory of `size` bytes, zeroed. Keep the reference until the kernel is done with it. */
export function memory(size: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(Math.max(size, 8)), 0, size);
}

/** A copy of `bytes` off the heap. */
export function offHeap(bytes: Uint8Array): Uint8Array {
  const copy = memory(bytes.length);
  copy.set(bytes);
  return copy;
}

/** A NUL-terminated copy of `text` off the heap. */
export const cString = (text: string): Uint8Array => offHeap(Buffer.from(`${text}\0`));

/** The address of off-heap memory, for pointers inside structures. */
export function addressOf(bytes: Uint8Array): bigint {
  return koffi.address(bytes.buffer) + BigInt(bytes.byteOffset);
}

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;

/**
 * Maps `size` bytes of `fd` into memory, shared.
 * @throws {SystemError} when mmap(2) fails
 */
export function mapShared(
  fd: number,
  size: number,
  options: { readonly offset?: number; readonly readOnly?: boolean } = {},
): { readonly memory: ArrayBuffer; unmap(): void } {
  const protection = options.readOnly === true ? PROT_READ : PROT_READ | PROT_WRITE;
  const at = calls.mmap(null, size, protection, MAP_SHARED, fd, options.offset ?? 0) as bigint;
  if (BigInt.asIntN(64, at) === -1n) throw new SystemError("mmap", koffi.errno());
  return {
    memory: koffi.view(at, size),
    unmap: () => {
      calls.munmap(at, size);
    },
  };
}

/**
 * Calls `onReadable` from the event loop whenever `fd` has something to read or an error to tell
 * (ENOBUFS of a netlink socket), until closed. What it throws becomes an uncaught exception: koffi
 * would keep it pending and fail some later call with it.
 */
export function watchReadable(fd: number, onReadable: () => void): { close(): void } {
  let open = true;
  // koffi 3.3 passes libuv's status first, whatever its declarations say.
  const turn = (...args: readonly unknown[]): void => {
    try {
      if (open) onReadable();
    } catch (error) {
      setImmediate(() => {
        throw error;
      });
    }
    // On POLLERR libuv stops the handle (uv__poll_io in src/unix/poll.c); reading cleared the error.
    if (open && args[0] !== 0) handle.start({ readable: true }, turn);
  };
  const handle = koffi.node.poll(fd, { readable: true }, turn);
  return {
    close: () => {
      open = false;
      handle.close();
    },
  };
}

// Of names that share a number, the ones the man pages use.
const synonyms = new Set(["EWOULDBLOCK", "ENOTSUP", "EDEADLOCK"]);
const names = new Map(
  Object.entries(koffi.os.errno)
    .filter(([name]) => !synonyms.has(name))
    .map(([name, number]) => [number, name]),
);
const errnoName = (errno: number): string => names.get(errno) ?? `errno ${errno}`;
