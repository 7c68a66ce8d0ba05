/* The flow hash of an IPv6 five-tuple, left in the first four bytes of the frame. */
#include "bpf.h"

ENTRY int flow_hash(struct xdp_md *context) {
  u8 *data = (u8 *)(long)context->data;
  u8 *end = (u8 *)(long)context->data_end;
  if (unlikely(data + ETHERNET + IPV6 + UDP > end)) return XDP_PASS;
  struct ipv6 *ip = (struct ipv6 *)(data + ETHERNET);
  u32 ports = *(u32 *)(data + ETHERNET + IPV6);
  u64 sum = K0 + K1 * ip->source[0] + K2 * ip->source[1] + K3 * ip->source[2] +
            K4 * ip->source[3] + K5 * ip->destination[0] + K6 * ip->destination[1] +
            K7 * ip->destination[2] + K8 * ip->destination[3] + K9 * ports + K10 * ip->next_header;
  *(u32 *)data = finish(sum);
  return XDP_TX;
}
