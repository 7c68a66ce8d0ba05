/** Functions of the kernel that programs may call (kfuncs); the loader finds them by name. */

export interface Kfunc {
  readonly name: string;
  readonly argumentCount: number;
  /** Whether the kernel puts it in place, and it overwrites r0 and its arguments only (KF_FASTCALL). */
  readonly fast?: true;
}

export const Kfunc = {
  iteratorNew: { name: "bpf_iter_num_new", argumentCount: 3 },
  iteratorNext: { name: "bpf_iter_num_next", argumentCount: 1 },
  iteratorDestroy: { name: "bpf_iter_num_destroy", argumentCount: 1 },
  /** The kernel's own structure behind the context (`struct xdp_buff`, `struct sk_buff`). */
  castToKernelContext: { name: "bpf_cast_to_kern_ctx", argumentCount: 1, fast: true },
  /** Takes an address, and the id of a type in the kernel's BTF it is of; 0 of anything. */
  readOnlyCast: { name: "bpf_rdonly_cast", argumentCount: 2, fast: true },
  arenaAllocPages: { name: "bpf_arena_alloc_pages", argumentCount: 5 },
  arenaFreePages: { name: "bpf_arena_free_pages", argumentCount: 3 },
} as const satisfies Record<string, Kfunc>;
