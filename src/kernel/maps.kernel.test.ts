import assert from "node:assert/strict";
import { test } from "node:test";
import { MapFlag, MapType } from "../bpf/image.ts";
import { struct, u32, u64 } from "../bpf/layout.ts";
import { fault, key, mapSpec, skip, u64s } from "./kernel-fixture.ts";
import { createMap, mapInfo, openMap, UpdateFlag } from "./maps.ts";
import { BPFFS, pin, removePin } from "./pins.ts";

const VALUE = u64s(0x1122334455667788n);

test("BpfMap looks up what was updated, and nothing once it is deleted", { skip }, () => {
  using map = createMap(mapSpec());
  assert.equal(map.lookup(key(7)), undefined);
  map.update(key(7), VALUE);
  assert.deepEqual(map.lookup(key(7)), VALUE);
  assert.equal(map.lookup(key(8)), undefined);
  assert.equal(map.delete(key(7)), true);
  assert.equal(map.delete(key(7)), false);
  assert.equal(map.lookup(key(7)), undefined);
  map.update(key(8), VALUE);
  assert.deepEqual(map.lookup(key(8)), VALUE, "update after delete");
});

test("BpfMap.lookup() returns a copy that later calls leave alone", { skip }, () => {
  using map = createMap(mapSpec());
  map.update(key(1), u64s(1n));
  map.update(key(2), u64s(2n));
  const first = map.lookup(key(1));
  map.lookup(key(2));
  assert.deepEqual(first, u64s(1n));
});

test("BpfMap.update() keeps to its flags", { skip }, () => {
  using map = createMap(mapSpec());
  assert.throws(
    () => map.update(key(1), VALUE, UpdateFlag.BPF_EXIST),
    fault("MAP_ACCESS", /ENOENT/),
  );
  map.update(key(1), VALUE, UpdateFlag.BPF_NOEXIST);
  assert.throws(
    () => map.update(key(1), VALUE, UpdateFlag.BPF_NOEXIST),
    fault("MAP_ACCESS", /EEXIST/),
  );
});

test("BpfMap refuses keys and values of another size, and says when it is full", { skip }, () => {
  using map = createMap(mapSpec({ maxEntries: 2 }));
  assert.throws(() => map.lookup(new Uint8Array(8)), /key of 8 bytes in map "carom_map": 4 needed/);
  assert.throws(() => map.update(key(1), new Uint8Array(4)), /value of 4 bytes given, 8 needed/);
  map.update(key(1), VALUE);
  map.update(key(2), VALUE);
  assert.throws(
    () => map.update(key(3), VALUE),
    fault("MAP_ACCESS", /^Cannot update map "carom_map": E2BIG, it has 2 entries/),
  );
});

for (const [name, type] of Object.entries(MapType)) {
  // Those made of other objects, and arenas, are in tests of their own; a ring has no keys and a size in pages.
  if (name === "BPF_MAP_TYPE_ARRAY_OF_MAPS" || name === "BPF_MAP_TYPE_ARENA") continue;
  test(`createMap() makes a ${name}, as mapInfo() sees it`, { skip }, () => {
    const ring = type === MapType.BPF_MAP_TYPE_RINGBUF;
    const spec = mapSpec({
      type,
      keySize: ring ? 0 : type === MapType.BPF_MAP_TYPE_LPM_TRIE ? 8 : 4,
      valueSize: ring ? 0 : 4,
      maxEntries: ring ? 4096 : 16,
      flags: type === MapType.BPF_MAP_TYPE_LPM_TRIE ? MapFlag.BPF_F_NO_PREALLOC : 0,
    });
    using map = createMap(spec);
    const { id, flags, btfId, ...shape } = mapInfo(map.fd);
    const { keySize, valueSize, maxEntries } = spec;
    assert.deepEqual(shape, { name: "carom_map", type, keySize, valueSize, maxEntries });
    assert.ok(id > 0);
    assert.equal(flags & spec.flags, spec.flags);
    assert.equal(btfId, 0);
  });
}

const Counters = struct("counters", { packets: u64, bytes: u64, lastSeen: u32, flags: u32 });

for (const type of [
  MapType.BPF_MAP_TYPE_ARRAY,
  MapType.BPF_MAP_TYPE_PERCPU_ARRAY,
  MapType.BPF_MAP_TYPE_HASH,
  MapType.BPF_MAP_TYPE_LRU_HASH,
] as const) {
  test(`createMap() gives BTF to values with a layout, type ${type}`, { skip }, () => {
    const keySize = type === MapType.BPF_MAP_TYPE_HASH ? 12 : 4;
    using map = createMap(mapSpec({ type, keySize, valueSize: Counters.size, value: Counters }));
    assert.ok(mapInfo(map.fd).btfId > 0);
  });
}

test("createMap() says what the kernel does not make", { skip }, () => {
  assert.throws(
    () => createMap(mapSpec({ keySize: 0 })),
    fault("MAP_CREATE", /type BPF_MAP_TYPE_HASH, key 0, value 8, 16 entries/),
  );
  assert.throws(
    () => createMap(mapSpec({ name: "a_name_too_long_" })),
    /16 characters, the kernel/,
  );
});

test("BpfMap.mmap() and look-ups see the same memory", { skip }, () => {
  using map = createMap(
    mapSpec({
      type: MapType.BPF_MAP_TYPE_ARRAY,
      valueSize: 4,
      maxEntries: 3000,
      flags: MapFlag.BPF_F_MMAPABLE,
    }),
  );
  const mapped = map.mmap();
  try {
    assert.equal(mapped.strideBytes, 8);
    assert.equal(mapped.bytes.length, 24_000);
    mapped.bytes.set(key(0xabcdef), 2999 * mapped.strideBytes);
    assert.deepEqual(map.lookup(key(2999)), key(0xabcdef));
    map.update(key(5), key(55));
    assert.deepEqual(mapped.bytes.slice(5 * 8, 5 * 8 + 4), key(55));
    map.close();
    assert.deepEqual(mapped.bytes.slice(5 * 8, 5 * 8 + 4), key(55), "outlives the descriptor");
  } finally {
    mapped.unmap();
  }
});

test("BpfMap.mmap() of a map that is not for it says so", { skip }, () => {
  using map = createMap(mapSpec({ type: MapType.BPF_MAP_TYPE_ARRAY }));
  assert.throws(() => map.mmap(), fault("MAP_ACCESS", /^Cannot map the memory of map "carom_map"/));
});

test("A map of maps takes inner maps by file descriptor", { skip }, () => {
  const innerSpec = mapSpec({ type: MapType.BPF_MAP_TYPE_ARRAY, flags: MapFlag.BPF_F_INNER_MAP });
  using template = createMap(innerSpec);
  using larger = createMap({ ...innerSpec, maxEntries: 99 });
  using outer = createMap(mapSpec({ type: MapType.BPF_MAP_TYPE_ARRAY_OF_MAPS, valueSize: 4 }), {
    inner: template,
  });
  outer.update(key(3), key(larger.fd));
  assert.deepEqual(outer.lookup(key(3)), key(mapInfo(larger.fd).id), "look-ups give the id");
});

test("openMap() opens a pin, and refuses one of another shape", { skip }, () => {
  const path = `${BPFFS}/carom_open_map`;
  const spec = mapSpec({ type: MapType.BPF_MAP_TYPE_PERCPU_ARRAY });
  {
    using map = createMap(spec);
    pin(map.fd, path);
    map.update(key(1), new Uint8Array(map.userValueSize).fill(3));
  }
  try {
    using again = openMap(path, spec);
    assert.deepEqual(again.lookup(key(1)), new Uint8Array(again.userValueSize).fill(3));
    assert.throws(
      () => openMap(path, { ...spec, valueSize: 16, maxEntries: 17 }),
      fault(
        "MAP_MISMATCH",
        /value size is 8, 16 needed, entries is 16, 17 needed; .* remove the pin/,
      ),
    );
  } finally {
    removePin(path);
  }
});

test("A closed map cannot be used, and closing twice closes once", { skip }, () => {
  const map = createMap(mapSpec());
  map.close();
  using other = createMap(mapSpec({ name: "other" }));
  map.close();
  other.update(key(1), VALUE);
  assert.equal(other.fd, map.fd, "the descriptor's number was given again");
  assert.deepEqual(other.lookup(key(1)), VALUE);
});
