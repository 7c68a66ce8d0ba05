/** Spin locks in map values (`bpfSpinLock` in their layout). */
import type { FunctionBuilder } from "./function.ts";
import { Helper } from "./helpers.ts";
import type { BytesPlace } from "./view.ts";

/** Runs `body` with the lock held. It may call nothing, and leaves by its end. */
export function locked(f: FunctionBuilder, lock: BytesPlace, body: () => void): void {
  f.call(Helper.spinLock, lock.pointer);
  f.held("the lock", body);
  f.call(Helper.spinUnlock, lock.pointer);
}
