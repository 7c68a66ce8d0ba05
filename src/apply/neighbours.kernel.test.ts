/** Which entries of the kernel's neighbour table a director keeps, and gives back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Netns } from "../kernel/netns.ts";
import { Rtnetlink } from "../kernel/rtnetlink.ts";
import { RtnetlinkEvents } from "../kernel/rtnetlink-events.ts";
import { formatIp, ip } from "../net/address.ts";
import { Neighbours, releaseAllNeighbours, RTPROT_CAROM } from "./neighbours.ts";

const skip = process.getuid?.() === 0 ? false : "needs root to create network namespaces";
const options = { skip, timeout: 20_000 };

const ROUTER = ip("192.0.2.1");
const BACKEND_1 = ip("192.0.2.11");
const BACKEND_6 = ip("2001:db8:2::11");
/** Kept by somebody else. */
const OTHER = ip("192.0.2.99");
const OTHERS_PROTOCOL = 203;

/** A namespace with an interface, and what follows neighbours there. */
function world() {
  const netns = Netns.create();
  const rtnetlink = netns.run(() => Rtnetlink.open());
  rtnetlink.createVeth({ name: "eth0", ifindex: 11 }, { name: "peer", ifindex: 12 });
  for (const ifindex of [11, 12]) rtnetlink.setLink(ifindex, { up: true });
  rtnetlink.addAddress({ ifindex: 11, address: ip("192.0.2.2"), prefixLength: 24 });
  rtnetlink.addAddress({
    ifindex: 11,
    address: ip("2001:db8:2::2"),
    prefixLength: 64,
    flags: ["nodad"],
  });
  const neighbours = new Neighbours({
    rtnetlink,
    nowMs: () => performance.now(),
    onChange: () => {},
    onError: (_, error) => {
      throw error;
    },
  });
  const kept = (): readonly string[] =>
    rtnetlink
      .neighbours()
      .filter(({ managed }) => managed)
      .map(({ address, protocol }) => `${formatIp(address)} by ${protocol}`)
      .toSorted();
  const close = (): void => {
    neighbours.close();
    rtnetlink.close();
    netns.close();
  };
  return { netns, rtnetlink, neighbours, kept, [Symbol.dispose]: close };
}

const follow = (neighbours: Neighbours, ...addresses: ReturnType<typeof ip>[]): void => {
  for (const neighbour of addresses) neighbours.follow({ ifindex: 11, neighbour });
};
const ours = (...addresses: ReturnType<typeof ip>[]): readonly string[] =>
  addresses.map((address) => `${formatIp(address)} by ${RTPROT_CAROM}`);

test("retain() gives back neighbours that are no longer wanted, release() all", options, () => {
  using w = world();
  w.rtnetlink.keepNeighbour(11, OTHER, OTHERS_PROTOCOL);
  follow(w.neighbours, ROUTER, BACKEND_1, BACKEND_6, OTHER);
  const others = `${formatIp(OTHER)} by ${OTHERS_PROTOCOL}`;
  assert.deepEqual(w.kept(), [...ours(ROUTER, BACKEND_1), others, ...ours(BACKEND_6)]);
  w.neighbours.retain([
    { ifindex: 11, neighbour: ROUTER },
    { ifindex: 11, neighbour: BACKEND_6 },
  ]);
  assert.deepEqual(w.kept(), [...ours(ROUTER), others, ...ours(BACKEND_6)]);
  w.neighbours.release();
  assert.deepEqual(w.kept(), [others]);
});

test("releaseAllNeighbours() finds exactly what a director left", options, () => {
  using w = world();
  w.rtnetlink.keepNeighbour(11, OTHER, OTHERS_PROTOCOL);
  follow(w.neighbours, BACKEND_1, BACKEND_6);
  w.neighbours.close();
  const released = releaseAllNeighbours(w.rtnetlink).map(({ neighbour }) => formatIp(neighbour));
  assert.deepEqual(released.toSorted(), [BACKEND_1, BACKEND_6].map(formatIp));
  assert.deepEqual(w.kept(), [`${formatIp(OTHER)} by ${OTHERS_PROTOCOL}`]);
  assert.deepEqual(releaseAllNeighbours(w.rtnetlink), []);
});

test("a director that runs keeps what somebody else gave back", options, async () => {
  using w = world();
  follow(w.neighbours, BACKEND_1);
  const again = Promise.withResolvers<void>();
  let released = false;
  using _events = w.netns.run(() =>
    RtnetlinkEvents.open((event) => {
      if (event.kind !== "neighbour") return;
      w.neighbours.onEvent(event.change, event.neighbour);
      if (released && event.neighbour.managed) again.resolve();
    }),
  );
  released = true;
  assert.equal(releaseAllNeighbours(w.rtnetlink).length, 1);
  await again.promise;
  assert.deepEqual(w.kept(), ours(BACKEND_1));
});
