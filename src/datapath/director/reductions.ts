/**
 * What a director can do without, should a kernel refuse its program: a verifier may find too complex
 * what others take. Forwarding is never given up, only what goes beyond it, the least missed first.
 */
import type { DirectorVariant } from "./variant.ts";

/** A variant that does less. */
export interface Reduction {
  readonly variant: DirectorVariant;
  /** What is missing, each as the end of "this program is without …"; empty for the whole. */
  readonly without: readonly string[];
}

/**
 * The variant itself, then with less and less. `needsTags`: some next hop's frames have VLAN tags, so
 * looking at tags cannot be left out.
 */
export function reductionsOf(whole: DirectorVariant, needsTags: boolean): readonly Reduction[] {
  const found: Reduction[] = [{ variant: whole, without: [] }];
  let { variant, without } = { variant: whole, without: [] as readonly string[] };
  const leaveOut = (what: string, change: Partial<DirectorVariant>): void => {
    variant = { ...variant, ...change };
    without = [...without, what];
    found.push({ variant, without });
  };
  const { tunnels, addresses, vlanTags } = whole;
  if (tunnels.udpChecksum) {
    leaveOut("checksums of outer UDP headers", { tunnels: { ...tunnels, udpChecksum: false } });
  }
  if (addresses.ipv4 !== null || addresses.ipv6 !== null) {
    leaveOut("answers when a TTL ends", { addresses: { ipv4: null, ipv6: null } });
  }
  if (vlanTags > 0 && !needsTags) leaveOut("packets with VLAN tags", { vlanTags: 0 });
  return found;
}
