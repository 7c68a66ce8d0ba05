import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { NetlinkMessage } from "./netlink-message.ts";
import {
  decodeAcknowledgement,
  decodeAttributes,
  decodeMessages,
  encodeAttributes,
  encodeMessage,
  NetlinkDecodeError,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_DONE,
  NLMSG_ERROR,
  nestedAttribute,
  nestedOf,
  textAttribute,
  textOf,
  u32Attribute,
  u32Of,
} from "./netlink-message.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const concat = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const attribute = fc.record({
  type: fc.integer({ min: 0, max: 0x3fff }),
  value: fc.uint8Array({ maxLength: 40 }),
});

test("encodeMessage() writes the header in host order and the payload after it", () => {
  const message = { type: 18, flags: 0x301, sequence: 7, payload: Uint8Array.of(1, 2, 3, 4) };
  assert.equal(hex(encodeMessage(message)), "1400000012000103070000000000000001020304");
});

test("encodeAttributes() pads each attribute to 4 bytes but counts only what is used", () => {
  const bytes = encodeAttributes([textAttribute(3, "lo"), u32Attribute(4, 1500)]);
  assert.equal(hex(bytes), "070003006c6f000008000400dc050000");
});

test("decodeAttributes() gives back what encodeAttributes() wrote, the last of a repeated type", () => {
  fc.assert(
    fc.property(fc.array(attribute), (attributes) => {
      const decoded = decodeAttributes(encodeAttributes(attributes));
      const expected = new Map(attributes.map(({ type, value }) => [type, value]));
      assert.deepEqual(new Map(decoded), expected);
    }),
  );
});

test("decodeMessages() splits what several encodeMessage() wrote", () => {
  const message = fc.record(
    {
      type: fc.integer({ min: 0, max: 0xffff }),
      flags: fc.integer({ min: 0, max: 0xffff }),
      sequence: fc.nat(),
      payload: fc
        .uint8Array({ maxLength: 40 })
        .map((bytes) => bytes.subarray(0, bytes.length & ~3)),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(fc.array(message), (messages) => {
      assert.deepEqual(decodeMessages(concat(...messages.map(encodeMessage))), messages);
    }),
  );
});

test("nestedOf() reads attributes inside an attribute, whose type loses the nested flag", () => {
  const bytes = encodeAttributes([
    nestedAttribute(18, [textAttribute(1, "veth"), u32Attribute(2, 9)]),
  ]);
  const inner = nestedOf(decodeAttributes(bytes), 18);
  assert.ok(inner);
  assert.equal(textOf(inner, 1), "veth");
  assert.equal(u32Of(inner, 2), 9);
  assert.equal(u32Of(inner, 3), undefined);
});

test("decoders of random bytes return or throw NetlinkDecodeError", () => {
  const decoders = [
    decodeMessages,
    (bytes: Uint8Array) => decodeAttributes(bytes),
    (bytes: Uint8Array) => decodeAcknowledgement(errorMessage(bytes, NLM_F_ACK_TLVS)),
    (bytes: Uint8Array) =>
      decodeAcknowledgement(errorMessage(bytes, NLM_F_ACK_TLVS | NLM_F_CAPPED)),
  ];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      for (const decode of decoders) onlyDecodeErrors(() => decode(bytes));
    }),
    { numRuns: 2000 },
  );
});

const EEXIST = 17;
const request = encodeMessage({ type: 20, flags: 5, sequence: 1, payload: new Uint8Array(10) });
const minus = (errno: number): Uint8Array => new Uint8Array(Int32Array.of(-errno).buffer);
const explanation = encodeAttributes([textAttribute(1, "File exists")]);

const acknowledgements: readonly {
  readonly name: string;
  readonly message: NetlinkMessage;
  readonly expected: { readonly errno: number; readonly text: string | null };
}[] = [
  {
    name: "success",
    message: errorMessage(concat(minus(0), request.subarray(0, 16)), NLM_F_CAPPED),
    expected: { errno: 0, text: null },
  },
  {
    name: "an error with the whole request and no attributes",
    message: errorMessage(concat(minus(EEXIST), request), 0),
    expected: { errno: EEXIST, text: null },
  },
  {
    name: "text after the whole request, padded",
    message: errorMessage(
      concat(minus(EEXIST), request, new Uint8Array(2), explanation),
      NLM_F_ACK_TLVS,
    ),
    expected: { errno: EEXIST, text: "File exists" },
  },
  {
    name: "text after the request's header only",
    message: errorMessage(
      concat(minus(EEXIST), request.subarray(0, 16), explanation),
      NLM_F_ACK_TLVS | NLM_F_CAPPED,
    ),
    expected: { errno: EEXIST, text: "File exists" },
  },
  {
    name: "the end of a dump with text and no request",
    message: {
      ...errorMessage(concat(minus(EEXIST), explanation), NLM_F_ACK_TLVS),
      type: NLMSG_DONE,
    },
    expected: { errno: EEXIST, text: "File exists" },
  },
  {
    name: "the end of a dump without status",
    message: { ...errorMessage(new Uint8Array(0), 0), type: NLMSG_DONE },
    expected: { errno: 0, text: null },
  },
];

for (const { name, message, expected } of acknowledgements) {
  test(`decodeAcknowledgement() reads ${name}`, () => {
    assert.deepEqual(decodeAcknowledgement(message), expected);
  });
}

function errorMessage(payload: Uint8Array, flags: number): NetlinkMessage {
  return { type: NLMSG_ERROR, flags, sequence: 1, payload };
}

function onlyDecodeErrors(decode: () => unknown): void {
  try {
    decode();
  } catch (error) {
    assert.ok(error instanceof NetlinkDecodeError, String(error));
  }
}
