/** What programs and user space see of an arena: the same memory, at the same addresses. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { probeTarget } from "../kernel/features.ts";
import { skip } from "../kernel/kernel-fixture.ts";
import { type BpfMap, createMap, type MappedValues } from "../kernel/maps.ts";
import { loadProgram } from "../kernel/programs.ts";
import { runSyscallProgram, TestRun } from "../kernel/test-run.ts";
import { allocatePages, arenaPointer, freePages, fromUserAddress, toUserAddress } from "./arena.ts";
import { struct, u64 } from "./layout.ts";
import { arenaMap } from "./maps.ts";
import { compile, type Program } from "./program.ts";
import { number64, pointerTo, subprogram } from "./subprogram.ts";
import { syscallProgram } from "./syscall.ts";
import { xdp } from "./xdp.ts";

const PAGES = 16;
const pages = arenaMap("pages", PAGES);
const Node = struct("node", { next: u64, value: u64 });
const Request = struct("request", { first: u64, result: u64 });

interface World {
  readonly map: BpfMap;
  readonly shared: MappedValues;
  /** Runs a program on what it is asked. */
  readonly ask: (
    program: Program,
    asked?: { readonly first: bigint },
  ) => ReturnType<typeof Request.read>;
}

/** An arena mapped into this process; `body` is left out where the kernel has none. */
function withArena(t: TestContext, body: (world: World) => void): void {
  const target = probeTarget();
  if (!target.arenas) return t.skip("this kernel has no arenas");
  using map = createMap(pages);
  const shared = map.mmap();
  const ask: World["ask"] = (program, asked = { first: 0n }) => {
    const context = Request.encode({ ...asked, result: 0n });
    using loaded = loadProgram(compile(program, { target }), () => map.fd);
    assert.equal(runSyscallProgram(loaded.fd, context), 0);
    return Request.read(context);
  };
  try {
    body({ map, shared, ask });
  } finally {
    shared.unmap();
  }
}

const word = (shared: MappedValues, offset: number): DataView =>
  new DataView(shared.bytes.buffer, shared.bytes.byteOffset + offset, 8);

test(
  "a program reads what user space wrote into an arena, and the other way round",
  { skip },
  (t) =>
    withArena(t, ({ shared, ask }) => {
      assert.equal(shared.bytes.length, PAGES * shared.strideBytes);
      word(shared, shared.strideBytes + 16).setBigUint64(0, 42n, true);
      const program = syscallProgram("share", Request, (p, request) => {
        const at = arenaPointer(p, pages, shared.strideBytes);
        request.result.set(at.plus(16).place(8));
        at.plus(p.constant(24, 8))
          .place(8)
          .set(1n << 40n);
        at.plus(24).place(8).increase(request.result);
        p.return(0);
      });
      assert.equal(ask(program).result, 42n);
      assert.equal(word(shared, shared.strideBytes + 24).getBigUint64(0, true), (1n << 40n) + 42n);
    }),
);

test("allocatePages() makes a list whose addresses programs and user space follow", { skip }, (t) =>
  withArena(t, ({ map, shared, ask }) => {
    const makeList = syscallProgram("make_list", Request, (p, request) => {
      const first = allocatePages(p, pages, 2, 1);
      const second = first.plus(shared.strideBytes + 8);
      second.as(Node).value.set(7);
      first.as(Node).value.set(5);
      first.as(Node).next.set(toUserAddress(p, pages, second));
      request.first.set(toUserAddress(p, pages, first));
      p.return(0);
    });
    const { first } = ask(makeList);
    assert.equal(first % BigInt(shared.strideBytes), 0n);

    const pageStart = Array.from({ length: PAGES }, (_, page) => page * shared.strideBytes).find(
      (offset) => word(shared, offset + 8).getBigUint64(0, true) === 5n,
    );
    assert.ok(pageStart !== undefined, "user space sees the first node");
    const next = word(shared, pageStart).getBigUint64(0, true);
    assert.equal(next, first + BigInt(shared.strideBytes + 8));

    // Following addresses needs no program that may sleep.
    const sumOf = subprogram("sum_of", [number64, pointerTo(null)], (f, address, total) => {
      const node = fromUserAddress(f, pages, address).as(Node);
      const sum = f.pointer(total).place(8);
      sum.increase(node.value);
      f.return(node.next);
    });
    const follow = xdp("follow", (p) => {
      const total = p.stack(8);
      total.place(8).set(0);
      const packet = p.packet();
      packet.require(64, 99);
      const second = p.call(sumOf, packet.data.place(8), total);
      p.require(p.call(sumOf, second, total).eq(0), 98);
      p.return(total.place(8));
    });
    const packet = new Uint8Array(64);
    new DataView(packet.buffer).setBigUint64(0, first, true);
    using loaded = loadProgram(compile(follow, { target: probeTarget() }), () => map.fd);
    assert.equal(new TestRun(loaded.fd, { maxPacket: 64 }).run(packet).verdict, 12);
  }),
);

test(
  "allocatePages() leaves when there are no more, until freePages() gives some back",
  { skip },
  (t) =>
    withArena(t, ({ ask }) => {
      const take = (count: number): Program =>
        syscallProgram("take", Request, (p, request) => {
          const none = p.exit(() => {
            request.result.set(1);
            p.return(0);
          });
          request.first.set(toUserAddress(p, pages, allocatePages(p, pages, count, none)));
          p.return(0);
        });
      const give = syscallProgram("give", Request, (p, request) => {
        freePages(p, pages, fromUserAddress(p, pages, request.first.read()), PAGES);
        p.return(0);
      });
      const { first, result } = ask(take(PAGES));
      assert.deepEqual([result, first === 0n], [0n, false]);
      assert.equal(ask(take(1)).result, 1n);
      ask(give, { first });
      assert.equal(ask(take(1)).result, 0n);
    }),
);

test("a load where no page is gives 0, a store does nothing", { skip }, (t) =>
  withArena(t, ({ ask }) => {
    const program = syscallProgram("nowhere", Request, (p, request) => {
      const at = arenaPointer(p, pages, 8);
      at.place(8).set(9);
      request.result.set(at.place(8).add(3));
      p.return(0);
    });
    assert.equal(ask(program).result, 3n);
  }),
);
