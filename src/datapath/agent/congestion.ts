/**
 * Explicit congestion notification (RFC 3168) when an outer header is taken off: a router between
 * director and agent marks the outer header, and the mark must reach the client's transport.
 * RFC 6040 section 4.2, figure 4, the outer header across, the inner one down:
 *
 *              Not-ECT   ECT(0)    ECT(1)    CE
 *     Not-ECT  Not-ECT   Not-ECT   Not-ECT   drop
 *     ECT(0)   ECT(0)    ECT(0)    ECT(1)    CE
 *     ECT(1)   ECT(1)    ECT(1)    ECT(1)    CE
 *     CE       CE        CE        CE        CE
 */
import { complementOf } from "../checksum.ts";
import type { AgentForm } from "./context.ts";
import type { Exit } from "../../bpf/function.ts";
import type { Value } from "../../bpf/value.ts";
import type { Pointer, View } from "../../bpf/view.ts";
import type { FunctionBuilder } from "../../bpf/function.ts";
import {
  INET_ECN_CE,
  INET_ECN_ECT_0,
  INET_ECN_ECT_1,
  INET_ECN_MASK,
  type Ipv4,
} from "../../packet/headers.ts";

/** The two bits of a header that carry it. */
export interface EcnField {
  /** Emits a load. */
  readonly read: () => Value;
  /** Replaces `before` and keeps the header's checksum as right, or as wrong, as it was. */
  readonly change: (before: Value, after: number) => void;
}

/** Changes the ECN field of the inner header as the outer one demands; leaves when it must be dropped. */
export function emitCongestion(
  p: FunctionBuilder,
  leave: { readonly ecn_not_capable: Exit },
  outer: EcnField,
  inner: EcnField,
): void {
  const arrived = outer.read();
  // Not-ECT and ECT(0), all but congested packets: one test and nothing to do.
  p.if(arrived.has(1), () => {
    const before = inner.read();
    p.if(
      arrived.eq(INET_ECN_CE),
      () => {
        // Its sender knows only losses.
        p.leaveIf(before.eq(0), leave.ecn_not_capable);
        p.if(before.ne(INET_ECN_CE), () => inner.change(before, INET_ECN_CE));
      },
      () => p.if(before.eq(INET_ECN_ECT_0), () => inner.change(before, INET_ECN_ECT_1)),
    );
  });
}

export function ecnOfIpv4(header: View<typeof Ipv4.fields>): EcnField {
  return {
    read: () => header.tos.read().and(INET_ECN_MASK),
    change: (before, after) => {
      header.tos.set(header.tos.read().xor(before.xor(after)));
      // RFC 1624 eqn. 3, HC' = ~(~HC + ~m + m'), where ~m + m' is 0xffff and what m' has more than m.
      const sum = header.checksum
        .read()
        .toHost()
        .xor(0xffff)
        .add(0xffff + after)
        .sub(before);
      const folded = sum.and(0xffff).add(sum.shr(16));
      header.checksum.set(folded.and(0xffff).add(folded.shr(16)).xor(0xffff).toNetwork(2));
    },
  };
}

/** `header`: where the IPv6 header starts. There is no checksum over it. */
export function ecnOfIpv6(header: Pointer, form: Pick<AgentForm, "headerChanged">): EcnField {
  // The second byte: the lower half of the traffic class, then four bits of the flow label.
  const byte = header.plus(1).place(1);
  return {
    read: () => byte.read().shr(4).and(INET_ECN_MASK),
    change: (before, after) => {
      byte.set(byte.read().xor(before.xor(after).shl(4)));
      // The second byte of a word, in the machine's byte order the upper one.
      form.headerChanged(complementOf(before.shl(12)).add(after << 12));
    },
  };
}
