/** Kernel helpers, numbered as `enum bpf_func_id` in include/uapi/linux/bpf.h. */

export interface Helper {
  readonly id: number;
  readonly name: string;
  readonly argumentCount: number;
  /** First kernel that has it, when later than the oldest one supported. */
  readonly since?: string;
  /** Whether pointers into the packet are dead after it: the verifier forgets their bounds. */
  readonly movesPacket?: true;
}

export const Helper = {
  mapLookup: { id: 1, name: "bpf_map_lookup_elem", argumentCount: 2 },
  mapUpdate: { id: 2, name: "bpf_map_update_elem", argumentCount: 4 },
  mapDelete: { id: 3, name: "bpf_map_delete_elem", argumentCount: 2 },
  ktimeGetNs: { id: 5, name: "bpf_ktime_get_ns", argumentCount: 0 },
  getPrandomU32: { id: 7, name: "bpf_get_prandom_u32", argumentCount: 0 },
  getSmpProcessorId: { id: 8, name: "bpf_get_smp_processor_id", argumentCount: 0 },
  tailCall: { id: 12, name: "bpf_tail_call", argumentCount: 3 },
  redirect: { id: 23, name: "bpf_redirect", argumentCount: 2 },
  xdpAdjustHead: { id: 44, name: "bpf_xdp_adjust_head", argumentCount: 2, movesPacket: true },
  jiffies64: { id: 118, name: "bpf_jiffies64", argumentCount: 0 },
} as const satisfies Record<string, Helper>;

const names = new Map<number, string>(Object.values(Helper).map(({ id, name }) => [id, name]));

/** The kernel's name for a helper, `unknown` when this file does not list it. */
export const helperName = (id: number): string => names.get(id) ?? "unknown";
