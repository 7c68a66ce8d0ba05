/*
 * The sum over the first 64 bytes of a frame (RFC 1071), in a loop, left in the first two bytes.
 * Not unrolled on either side: the loop is what is compared.
 */
#include "bpf.h"

ENTRY int checksum(struct xdp_md *context) {
  u8 *data = (u8 *)(long)context->data;
  u8 *end = (u8 *)(long)context->data_end;
  if (unlikely(data + 64 > end)) return XDP_PASS;
  u64 sum = 0;
#pragma clang loop unroll(disable)
  for (u64 offset = 0; offset < 64; offset += 4) sum += *(u32 *)(data + offset);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum += sum >> 16;
  *(u16 *)data = ~sum;
  return XDP_TX;
}
