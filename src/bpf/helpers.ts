/** Kernel helpers, numbered as `enum bpf_func_id` in include/uapi/linux/bpf.h. */

export interface Helper {
  readonly id: number;
  readonly name: string;
  readonly argumentCount: number;
  /** First kernel that has it, when later than the oldest one supported. */
  readonly since?: string;
  /** Whether kernels put it in place, and it overwrites r0 and its arguments only (`allow_fastcall`). */
  readonly fast?: true;
  /** Whether pointers into the packet are dead after it: the verifier forgets their bounds. */
  readonly movesPacket?: true;
}

export const Helper = {
  mapLookup: { id: 1, name: "bpf_map_lookup_elem", argumentCount: 2 },
  mapUpdate: { id: 2, name: "bpf_map_update_elem", argumentCount: 4 },
  mapDelete: { id: 3, name: "bpf_map_delete_elem", argumentCount: 2 },
  ktimeGetNs: { id: 5, name: "bpf_ktime_get_ns", argumentCount: 0 },
  getPrandomU32: { id: 7, name: "bpf_get_prandom_u32", argumentCount: 0 },
  getSmpProcessorId: { id: 8, name: "bpf_get_smp_processor_id", argumentCount: 0, fast: true },
  l4CsumReplace: { id: 11, name: "bpf_l4_csum_replace", argumentCount: 5, movesPacket: true },
  tailCall: { id: 12, name: "bpf_tail_call", argumentCount: 3 },
  redirect: { id: 23, name: "bpf_redirect", argumentCount: 2 },
  csumDiff: { id: 28, name: "bpf_csum_diff", argumentCount: 5 },
  skbPullData: { id: 39, name: "bpf_skb_pull_data", argumentCount: 2, movesPacket: true },
  csumUpdate: { id: 40, name: "bpf_csum_update", argumentCount: 2 },
  xdpAdjustHead: { id: 44, name: "bpf_xdp_adjust_head", argumentCount: 2, movesPacket: true },
  skbAdjustRoom: { id: 50, name: "bpf_skb_adjust_room", argumentCount: 4, movesPacket: true },
  redirectMap: { id: 51, name: "bpf_redirect_map", argumentCount: 3 },
  xdpAdjustMeta: { id: 54, name: "bpf_xdp_adjust_meta", argumentCount: 2, movesPacket: true },
  xdpAdjustTail: { id: 65, name: "bpf_xdp_adjust_tail", argumentCount: 2, movesPacket: true },
  fibLookup: { id: 69, name: "bpf_fib_lookup", argumentCount: 4 },
  spinLock: { id: 93, name: "bpf_spin_lock", argumentCount: 1 },
  spinUnlock: { id: 94, name: "bpf_spin_unlock", argumentCount: 1 },
  jiffies64: { id: 118, name: "bpf_jiffies64", argumentCount: 0 },
  ringbufOutput: { id: 130, name: "bpf_ringbuf_output", argumentCount: 4 },
  ringbufReserve: { id: 131, name: "bpf_ringbuf_reserve", argumentCount: 3 },
  ringbufSubmit: { id: 132, name: "bpf_ringbuf_submit", argumentCount: 2 },
  ringbufDiscard: { id: 133, name: "bpf_ringbuf_discard", argumentCount: 2 },
  ringbufQuery: { id: 134, name: "bpf_ringbuf_query", argumentCount: 2 },
  perCpuPtr: { id: 153, name: "bpf_per_cpu_ptr", argumentCount: 2 },
  thisCpuPtr: { id: 154, name: "bpf_this_cpu_ptr", argumentCount: 1 },
  ktimeGetCoarseNs: { id: 160, name: "bpf_ktime_get_coarse_ns", argumentCount: 0 },
  forEachMapElem: { id: 164, name: "bpf_for_each_map_elem", argumentCount: 4 },
  timerInit: { id: 169, name: "bpf_timer_init", argumentCount: 3 },
  timerSetCallback: { id: 170, name: "bpf_timer_set_callback", argumentCount: 2 },
  timerStart: { id: 171, name: "bpf_timer_start", argumentCount: 3 },
  timerCancel: { id: 172, name: "bpf_timer_cancel", argumentCount: 1 },
  loop: { id: 181, name: "bpf_loop", argumentCount: 4 },
  mapLookupPerCpu: { id: 195, name: "bpf_map_lookup_percpu_elem", argumentCount: 3 },
  dynptrFromMem: { id: 197, name: "bpf_dynptr_from_mem", argumentCount: 4 },
  ringbufReserveDynptr: { id: 198, name: "bpf_ringbuf_reserve_dynptr", argumentCount: 4 },
  ringbufSubmitDynptr: { id: 199, name: "bpf_ringbuf_submit_dynptr", argumentCount: 2 },
  ringbufDiscardDynptr: { id: 200, name: "bpf_ringbuf_discard_dynptr", argumentCount: 2 },
  dynptrRead: { id: 201, name: "bpf_dynptr_read", argumentCount: 5 },
  dynptrWrite: { id: 202, name: "bpf_dynptr_write", argumentCount: 5 },
  dynptrData: { id: 203, name: "bpf_dynptr_data", argumentCount: 3 },
} as const satisfies Record<string, Helper>;

const names = new Map<number, string>(Object.values(Helper).map(({ id, name }) => [id, name]));

/** The kernel's name for a helper, `unknown` when this file does not list it. */
export const helperName = (id: number): string => names.get(id) ?? "unknown";
