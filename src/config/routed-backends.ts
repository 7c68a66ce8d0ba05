/** Backends of a draft together with the forwarding that holds for them. */
import { ip, type IpAddress } from "../net/address.ts";
import type { Path } from "./finding.ts";
import { quote } from "./finding.ts";
import { places } from "./places.ts";
import { defaultForwarding, type DirectorDraft } from "./schema.ts";

export interface RoutedBackend {
  readonly pool: string | undefined;
  readonly path: Path;
  /** `backend "web-1"`. */
  readonly name: string;
  readonly address: IpAddress;
  readonly forwarding: string;
}

/** Those that could be read. */
export function* routedBackends(draft: DirectorDraft): Generator<RoutedBackend> {
  for (const [path, pool] of places(draft.pools, ["pools"])) {
    const ofPool = "forwarding" in pool ? pool.forwarding : defaultForwarding;
    for (const [backendPath, backend] of places(pool.backends, [...path, "backends"])) {
      const forwarding = "forwarding" in backend ? backend.forwarding : ofPool;
      if (forwarding === undefined || backend.address === undefined) continue;
      yield {
        pool: pool.name,
        path: backendPath,
        name: backend.name === undefined ? "a backend" : `backend ${quote(backend.name)}`,
        address: ip(backend.address),
        forwarding,
      };
    }
  }
}
